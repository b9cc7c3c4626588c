/* SPDX-License-Identifier: MIT */
/* `restante reindex`: makes the index of a maildrop anew from its messages. Run by administrators. */
#include "admin/maildrops.h"
#include "admin/tool.h"

#include <inttypes.h>
#include <sysexits.h>

const char tool_name[] = "reindex";

static int reindex(struct maildrops *maildrops, const struct account *account, json_t *result)
{
	struct maildrop maildrop;
	int status = maildrop_open(&maildrops->conf, account, maildrops->wait_s, &maildrop);
	if (status)
		return status;
	drop_discard_index(maildrop.drop);
	maildrop_close(&maildrop);
	status = maildrop_open(&maildrops->conf, account, maildrops->wait_s, &maildrop);
	if (status)
		return status;
	const struct drop_report report = maildrop.report; /* it is closed when this is shown */
	uint32_t count = drop_count(maildrop.drop);
	uint64_t octets = drop_octets(maildrop.drop);
	if (report.unwritten)
		status =
		    tool_complain(EX_CANTCREAT, "account %s: the index can not be written.", account->name);
	maildrop_close(&maildrop);
	if (!result)
		printf("%s: %" PRIu32 " messages, %" PRIu64 " octets, %" PRIu32 " files read, %" PRIu32
		       " unreadable\n",
		       account->name, count, octets, report.read, report.unreadable);
	else if (json_object_set_new(result, "messages", json_integer((json_int_t)count)) != 0 ||
	         json_object_set_new(result, "octets", json_integer((json_int_t)octets)) != 0)
		return tool_complain(EX_OSERR, "no memory.");
	return status;
}

int main(int argc, char **argv)
{
	static struct maildrops maildrops = {
	    .about = "Makes the index of a maildrop anew. Unique-ids stay; message numbers may change.",
	    .work = reindex,
	};
	return maildrops_main(argc, argv, &maildrops);
}
