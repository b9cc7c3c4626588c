/* SPDX-License-Identifier: MIT */
/* Maildrops for administrator's commands. Runs as the user the maildrops belong to; their contents are
 * anybody's. */
#include "admin/maildrop.h"

#include "admin/tool.h"
#include "base/num.h"
#include "base/time.h"

#include <sysexits.h>
#include <unistd.h>

enum { RETRY_US = 100000 };

int maildrop_open_root(const struct conf *conf, struct drop_root *ret)
{
	struct error error = {""};
	int err = account_open_root(conf, ret, &error);
	return err ? tool_complain(tool_status_of(err), "%s.", error.text) : EX_OK;
}

static int complain(const struct account *account, int err, const struct error *error, uint64_t wait_s)
{
	if (err == ERR_BUSY)
		return tool_complain(EX_TEMPFAIL,
		                     "account %s: a session has its maildrop, and went on for %u s; --wait "
		                     "waits longer.",
		                     account->name, (unsigned)wait_s);
	return tool_complain(tool_status_of(err), "account %s: %s.", account->name,
	                     error->text[0] ? error->text : err_text(err));
}

static int open_waiting(const struct account *account, uint64_t wait_s, struct maildrop *maildrop,
                        struct error *error)
{
	uint64_t end = time_mono_ms() + wait_s * 1000;
	for (;;) {
		int err = drop_open(&maildrop->root, account->location, 0, &maildrop->drop, &maildrop->report,
		                    error);
		if (err != ERR_BUSY || time_mono_ms() >= end)
			return err;
		(void)usleep(RETRY_US);
	}
}

int maildrop_open(const struct conf *conf, const struct account *account, uint64_t wait_s,
                  struct maildrop *ret)
{
	struct error error = {""};
	struct maildrop maildrop = {.root.fd = -1};
	int status = maildrop_open_root(conf, &maildrop.root);
	if (status)
		return status;
	int err = open_waiting(account, wait_s, &maildrop, &error);
	if (err == ERR_NONE)
		err = drop_listing(maildrop.drop, 0, &maildrop.report, &maildrop.listing, &error);
	if (err) {
		maildrop_close(&maildrop);
		return complain(account, err, &error, wait_s);
	}
	*ret = maildrop;
	return EX_OK;
}

void maildrop_close(struct maildrop *maildrop)
{
	drop_listing_end(&maildrop->listing);
	drop_close(maildrop->drop);
	drop_root_close(&maildrop->root);
	*maildrop = (struct maildrop){.root.fd = -1};
}

struct span maildrop_unique_id(const struct maildrop *maildrop, uint32_t number)
{
	const struct drop_listing *listing = &maildrop->listing;
	uint32_t at = listing->uid_at[number - 1];
	return span_of(listing->uids + at, listing->uid_at[number] - at);
}

int maildrop_parse_wait(const char *text, uint64_t *ret_s)
{
	if (num_parse(span_str(text), MAILDROP_WAIT_MAX_S, ret_s) == ERR_NONE)
		return EX_OK;
	return tool_complain(EX_USAGE, "--wait takes a number of seconds up to %d, not %s.",
	                     MAILDROP_WAIT_MAX_S, text);
}
