/* SPDX-License-Identifier: MIT */
/*
 * Whose maildrop an address is. Runs in auth, on addresses that a mail server gave a worker.
 *
 * An account is looked for by the address as it is, and then without a detail ("alice+news@example.org" is
 * alice@example.org); and where the domain's accounts are named without it, the same by what is before
 * the @. The first account there is, is the one.
 */
#include "server/auth.h"

#include "log/log.h"

#include <string.h>

int auth_locate(const struct auth *auth, const struct acct_row *row, char ret[ACCT_LOCATION_MAX])
{
	if (row->location[0]) {
		memcpy(ret, row->location, sizeof row->location);
		return ERR_NONE;
	}
	int err = acct_location(auth->setup.location, span_str(row->name), ret, ACCT_LOCATION_MAX);
	if (err)
		log_note(LOG_ERROR, "the location pattern %s gives account %s no maildrop: %s",
		         auth->setup.location, row->name, err_text(err));
	return err ? ERR_IO : ERR_NONE;
}

/* What stands before and after the last @; a quoted name without its quotes (RFC 5321 section 4.1.2). */
struct address {
	char local[IPC_MAILBOX_MAX];
	size_t local_len;
	struct span domain; /* empty without an @ */
};

static void split_address(struct span text, struct address *ret)
{
	size_t at = text.len;
	while (at && text.ptr[at - 1] != '@')
		at--;
	struct span local = at ? span_first(text, at - 1) : text;
	ret->domain = at ? span_after(text, at) : SPAN("");
	ret->local_len = 0;
	bool quoted = local.len >= 2 && local.ptr[0] == '"' && local.ptr[local.len - 1] == '"';
	if (quoted)
		local = span_of(local.ptr + 1, local.len - 2);
	for (size_t i = 0; i < local.len; i++) {
		if (quoted && local.ptr[i] == '\\' && i + 1 < local.len)
			i++;
		ret->local[ret->local_len++] = local.ptr[i];
	}
}

/* The name without its detail; the whole name when it has none. */
static struct span cut_detail(struct span local, const char *delimiter)
{
	size_t len = strlen(delimiter);
	for (size_t i = 1; len && i + len <= local.len; i++)
		if (memcmp(local.ptr + i, delimiter, len) == 0)
			return span_first(local, i);
	return local;
}

static bool is_listed(struct span domain, const char *domains)
{
	struct span rest = span_str(domains);
	while (rest.len) {
		struct span one = span_cut(&rest, ' ');
		if (span_equal(one, SPAN("*")) || (one.len && span_equal_nocase(one, domain)))
			return true;
	}
	return false;
}

static int find(struct auth *auth, struct span local, struct span domain, struct acct_row *ret)
{
	char name[2 * IPC_MAILBOX_MAX];
	memcpy(name, local.ptr, local.len);
	size_t len = local.len;
	if (domain.len) {
		name[len++] = '@';
		memcpy(name + len, domain.ptr, domain.len);
		len += domain.len;
	}
	return acct_find(auth->acct, span_of(name, len), ret);
}

int auth_find_recipient(struct auth *auth, struct span text, struct acct_row *ret)
{
	struct address address;
	split_address(text, &address);
	struct span local = span_of(address.local, address.local_len);
	struct span base = cut_detail(local, auth->setup.delimiter);
	if (!address.domain.len && address.local_len < text.len && text.ptr[text.len - 1] == '@')
		return ERR_NOTFOUND; /* an @ with nothing behind it */
	int err = find(auth, local, address.domain, ret);
	if (err == ERR_NOTFOUND && base.len < local.len)
		err = find(auth, base, address.domain, ret);
	bool bare = address.domain.len && is_listed(address.domain, auth->setup.domains);
	if (err == ERR_NOTFOUND && bare)
		err = find(auth, local, SPAN(""), ret);
	if (err == ERR_NOTFOUND && bare && base.len < local.len)
		err = find(auth, base, SPAN(""), ret);
	return !err && ret->disabled ? ERR_DENIED : err;
}
