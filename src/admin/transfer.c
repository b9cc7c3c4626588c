/* SPDX-License-Identifier: MIT */
/* The result of administrator's commands that copy messages. */
#include "admin/transfer.h"

#include "admin/tool.h"

#include <inttypes.h>
#include <jansson.h>
#include <sysexits.h>

static int print_json(const struct transfer *transfer, const char *done, const char *name, bool complete)
{
	json_t *object =
	    json_pack("{s:s, s:I, s:I, s:I, s:I, s:b}", "account", name, done, (json_int_t)transfer->done,
	              "octets", (json_int_t)transfer->octets, "present", (json_int_t)transfer->present,
	              "failed", (json_int_t)transfer->failed, "complete", complete);
	int failed = !object || json_dumpf(object, stdout, JSON_INDENT(2)) != 0;
	json_decref(object);
	printf("\n");
	return failed ? tool_complain(EX_OSERR, "no memory.") : EX_OK;
}

int transfer_report(const struct transfer *transfer, const char *begin, const char *into,
                    const struct account *account, bool json, int status)
{
	char done[16]; /* "imported" */
	int printed = EX_OK;
	if (!status && transfer->failed)
		status = EX_IOERR;
	(void)snprintf(done, sizeof done, "%sed", tool_name);
	if (json)
		printed = print_json(transfer, done, account->name, !status);
	else
		printf("%s%" PRIu64 " messages %s %s %s (%" PRIu64 " octets), %" PRIu64
		       " were there already, %" PRIu64 " failed.\n",
		       begin, transfer->done, done, into, account->name, transfer->octets, transfer->present,
		       transfer->failed);
	if (!printed)
		printed = tool_flush();
	return status ? status : printed;
}
