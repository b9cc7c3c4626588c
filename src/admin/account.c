/* SPDX-License-Identifier: MIT */
/*
 * Reading accounts for commands that work on maildrops. Started as root: whoever owns the accounts file could
 * make it anything, and so could the owner of a maildrop; neither is given root to try it on. A child reads
 * the one as the user auth runs as, and we go on as the user of the other.
 */
#include "admin/account.h"

#include "admin/tool.h"
#include "os/os.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

/* What the child writes for each account. */
struct found {
	uint64_t quota_octets, quota_messages;
	uint8_t disabled; /* a bool may not be just any octet */
	char name[ACCT_NAME_MAX + 1];
	char location[ACCT_LOCATION_MAX];
};

struct reader {
	const struct conf *conf;
	int to;
};

/* --- the child --- */

static int write_whole(int fd, const void *from, size_t size)
{
	for (const char *next = from; size;) {
		ssize_t put = write(fd, next, size);
		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0)
			return ERR_IO;
		next += put;
		size -= (size_t)put;
	}
	return ERR_NONE;
}

static int write_row(void *user, const struct acct_row *row)
{
	const struct reader *reader = user;
	const struct conf *conf = reader->conf;
	struct found found = {
	    .quota_octets = row->quota_octets == ACCT_QUOTA_DEFAULT ? conf->quota_octets : row->quota_octets,
	    .quota_messages =
	        row->quota_messages == ACCT_QUOTA_DEFAULT ? conf->quota_messages : row->quota_messages,
	    .disabled = row->disabled,
	};
	memcpy(found.name, row->name, sizeof found.name);
	memcpy(found.location, row->location, sizeof found.location);
	/* An account without a maildrop is shown as having none. */
	if (!found.location[0] && acct_location(conf->mail_location, span_str(found.name), found.location,
	                                        sizeof found.location) != ERR_NONE)
		found.location[0] = '\0';
	return write_whole(reader->to, &found, sizeof found);
}

static int read_rows(struct acct *acct, const char *name, struct reader *reader)
{
	struct acct_row row;
	int err = name ? acct_find(acct, span_str(name), &row) : acct_list(acct, write_row, reader);
	if (name && err == ERR_NOTFOUND)
		return tool_complain(EX_NOUSER, "there is no account %s.", name);
	if (name && err == ERR_NONE) {
		err = write_row(reader, &row);
		secret_wipe(&row, sizeof row);
	}
	if (err)
		return tool_complain(tool_status_of(err), "accounts file %s: %s.", reader->conf->accounts,
		                     err_text(err));
	return EX_OK;
}

static int become(const char *user, const char *option)
{
	uint32_t uid, gid;
	struct error error = {""};
	if (geteuid() != 0)
		return EX_OK;
	if (os_find_user(user, &uid, &gid) != ERR_NONE)
		return tool_complain(EX_CONFIG, "there is no user %s (%s in the configuration).", user,
		                     option);
	if (os_become(uid, gid, "", &error) != ERR_NONE)
		return tool_complain(EX_OSERR, "%s.", error.text);
	return EX_OK;
}

static int run_child(const struct conf *conf, const char *name, int to)
{
	struct reader reader = {conf, to};
	struct acct *acct = NULL;
	struct error error = {""};
	bool root = geteuid() == 0;
	int status = become(conf->auth_user, "auth.user");
	if (status)
		return status;
	/* Its owner may finish a change that a crash interrupted; others only look. */
	int err = acct_open(conf->accounts, root ? ACCT_CHANGE : ACCT_READ, &acct, &error);
	if (err == ERR_DENIED && !root)
		return tool_complain(EX_NOPERM, "%s. Run this as root, or let uid %u read that file.",
		                     error.text, geteuid());
	if (err)
		return tool_complain(tool_status_of(err), "%s.", error.text);
	status = read_rows(acct, name, &reader);
	acct_close(acct);
	return status;
}

/* --- this process --- */

/* The child has read a file that anybody may have made: what it writes is checked. ERR_CLOSED at the end. */
static int read_found(int fd, struct found *ret)
{
	for (size_t have = 0; have < sizeof *ret;) {
		ssize_t got = read(fd, (char *)ret + have, sizeof *ret - have);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0 || (got == 0 && have))
			return ERR_IO;
		if (got == 0)
			return ERR_CLOSED;
		have += (size_t)got;
	}
	bool whole =
	    memchr(ret->name, '\0', sizeof ret->name) && memchr(ret->location, '\0', sizeof ret->location);
	return whole ? ERR_NONE : ERR_PEER;
}

static int keep(struct accounts *accounts, const struct found *found)
{
	size_t len = strlen(found->location);
	struct account *account = malloc(sizeof *account + len + 1);
	struct account **list = realloc(accounts->list, (accounts->count + 1) * sizeof(struct account *));
	if (list)
		accounts->list = list;
	if (!account || !list) {
		free(account);
		return ERR_NOMEM;
	}
	account->quota = (struct drop_quota){found->quota_octets, found->quota_messages};
	account->disabled = found->disabled;
	memcpy(account->name, found->name, sizeof account->name);
	memcpy(account->location, found->location, len + 1);
	list[accounts->count++] = account;
	return ERR_NONE;
}

static int read_all(int fd, struct accounts *accounts)
{
	struct found found;
	int err;
	while ((err = read_found(fd, &found)) == ERR_NONE) {
		err = keep(accounts, &found);
		if (err)
			break;
	}
	return err == ERR_CLOSED ? ERR_NONE : err;
}

static int wait_for(pid_t child)
{
	int status;
	while (waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			return EX_OSERR;
	return WIFEXITED(status) ? WEXITSTATUS(status) : EX_SOFTWARE;
}

int accounts_read(const struct conf *conf, const char *name, struct accounts *ret)
{
	int ends[2];
	struct accounts accounts = {NULL, 0};
	if (pipe(ends) != 0)
		return tool_complain(EX_OSERR, "a pipe can not be made: %s.", strerror(errno));
	pid_t child = fork();
	if (child == 0) {
		(void)close(ends[0]);
		_exit(run_child(conf, name, ends[1]));
	}
	(void)close(ends[1]);
	int err = child < 0 ? ERR_NOMEM : read_all(ends[0], &accounts);
	(void)close(ends[0]);
	int status = child < 0 ? EX_OSERR : wait_for(child);
	if (err == ERR_NONE && !status && name && accounts.count != 1)
		err = ERR_PEER;
	if (err)
		status = tool_complain(EX_OSERR, "the accounts can not be read: %s.", err_text(err));
	if (status)
		accounts_finish(&accounts);
	else
		*ret = accounts;
	return status;
}

int accounts_become_keeper(const struct conf *conf)
{
	return become(conf->keeper_user, "keeper.user");
}

void accounts_finish(struct accounts *accounts)
{
	for (size_t i = 0; i < accounts->count; i++)
		free(accounts->list[i]);
	free(accounts->list);
	*accounts = (struct accounts){NULL, 0};
}

int account_open_root(const struct conf *conf, struct drop_root *ret, struct error *error)
{
	int err = drop_root_open(conf->mail_root, ret, error);
	if (err == ERR_NONE)
		ret->mbox = (struct drop_mbox_rules){
		    .keep_quotes = conf->mbox_quoting == CONF_MBOXO,
		    .content_length = conf->mbox_content_length,
		};
	return err;
}
