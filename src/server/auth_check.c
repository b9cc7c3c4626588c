/* SPDX-License-Identifier: MIT */
/*
 * Is this the password of this account? Runs in auth, on names and passwords from the network. A login
 * verified a short while ago is answered at once; any other costs a hash, which is computed in
 * the thread pool. An unknown name, a disabled account and a wrong password take the same way and the
 * same time, and get the same answer.
 */
#include "server/auth.h"

#include "base/time.h"
#include "log/log.h"

#include <stdlib.h>
#include <string.h>

/* What a client claims. */
struct login {
	char name[ACCT_NAME_MAX + 1];     /* folded; "" for what no account can be named */
	uint64_t version;                 /* of the accounts it is judged by */
	uint8_t mac[AUTH_CACHE_MAC_SIZE]; /* when there is a cache and a name */
};

/* A login whose password is being hashed or waits for it. */
struct auth_check {
	uv_work_t work;
	struct auth *auth;
	struct auth_exchange *exchange; /* NULL: nobody waits for the verdict any more */
	struct login login;
	struct secret password;
	bool known; /* there is such an account: row */
	struct acct_row row;
	int verdict;                   /* of the hash; set by the thread */
	char given[ACCT_NAME_MAX + 1]; /* the name as the client spelt it, cut, for the log */
};

static void free_check(struct auth_check *check)
{
	secret_finish(&check->password);
	secret_wipe(check, sizeof *check);
	free(check);
}

void auth_forget(struct auth_check *check)
{
	if (!check)
		return;
	check->exchange = NULL;
	(void)uv_cancel((uv_req_t *)&check->work); /* succeeds when no thread has begun */
}

static void fail_for_now(struct auth_exchange *exchange, const char *what, int err)
{
	struct log_line line;
	log_begin(&line, LOG_ERROR, "auth-error");
	log_text(&line, "what", what);
	log_text(&line, "file", auth_of(exchange)->setup.accounts);
	log_err(&line, "error", err);
	log_end(&line);
	auth_refuse(exchange, ERR_IO);
}

/* --- the verdict --- */

/* Why the login fails, or NULL: it does not. */
static const char *find_reason(const struct auth_check *check)
{
	if (!check->known)
		return "unknown user";
	if (check->verdict)
		return "wrong password";
	return check->row.disabled ? "account disabled" : NULL;
}

/* While the hash was computed somebody may have changed the account: then what was verified has to be the
 * password still. */
static int refresh(struct auth_check *check)
{
	uint64_t version;
	struct acct_row row = {0};
	int err = acct_version(check->auth->acct, &version);
	if (err || version == check->login.version)
		return err;
	check->login.version = version;
	err = acct_find(check->auth->acct, span_str(check->login.name), &row);
	if (err == ERR_NOTFOUND || (!err && strcmp(row.hash, check->row.hash) != 0))
		check->verdict = ERR_CREDENTIALS;
	else if (!err)
		check->row = row;
	secret_wipe(&row, sizeof row);
	return err == ERR_NOTFOUND ? ERR_NONE : err;
}

static void grant(struct auth_check *check)
{
	struct auth *auth = check->auth;
	char location[ACCT_LOCATION_MAX];
	const struct acct_row *row = &check->row;
	if (auth_locate(auth, row, location) != ERR_NONE) {
		auth_refuse(check->exchange, ERR_IO);
		return;
	}
	if (auth->cache)
		auth_cache_add(auth->cache, check->login.version, time_mono_ms(), check->login.mac, row->name,
		               location);
	auth_grant(check->exchange, row->name, location);
}

static void decide(struct auth_check *check)
{
	struct auth_exchange *exchange = check->exchange;
	exchange->check = NULL;
	int err = check->verdict == ERR_NOMEM ? ERR_NOMEM : ERR_NONE;
	if (!err && !find_reason(check))
		err = refresh(check);
	if (err) {
		fail_for_now(exchange, "checking a password", err);
		return;
	}
	const char *reason = find_reason(check);
	if (!reason) {
		grant(check);
		return;
	}
	auth_log_failure(exchange, span_str(check->given), reason);
	auth_refuse(exchange, ERR_CREDENTIALS);
}

/* --- the hash --- */

static void compute_hash(uv_work_t *work)
{
	struct auth_check *check = work->data;
	check->verdict = acct_verify(&check->password, check->known ? check->row.hash : NULL);
}

static void hash_computed(uv_work_t *work, int status)
{
	struct auth_check *check = work->data;
	(void)status; /* cancelled only by auth_forget() */
	check->auth->checks--;
	if (check->exchange)
		decide(check);
	free_check(check);
}

static void note_given(struct auth_check *check, struct span name)
{
	struct span shown = name.len < sizeof check->given ? name : span_first(name, sizeof check->given - 1);
	memcpy(check->given, shown.ptr, shown.len);
}

static int start_check(struct auth_exchange *exchange, const struct login *login, struct span name,
                       struct span password)
{
	struct auth *auth = auth_of(exchange);
	struct auth_check *check = calloc(1, sizeof *check);
	if (!check)
		return ERR_NOMEM;
	check->work.data = check;
	check->auth = auth;
	check->login = *login;
	note_given(check, name);
	int err = acct_find(auth->acct, span_str(login->name), &check->row);
	check->known = err == ERR_NONE;
	if (err == ERR_NOTFOUND)
		err = ERR_NONE;
	if (!err) /* longer than any password: stands for none, which fails after the same time */
		err = secret_init(&check->password, password.len <= SECRET_MAX ? password : SPAN(""));
	if (!err && uv_queue_work(auth->child->loop, &check->work, compute_hash, hash_computed) != 0)
		err = ERR_NOMEM;
	if (err) {
		free_check(check);
		return err;
	}
	auth->checks++;
	check->exchange = exchange;
	exchange->check = check;
	return ERR_NONE;
}

/* --- the way in --- */

static int describe_login(struct auth *auth, struct span name, struct span password, struct login *ret)
{
	if (acct_name_fold(name, ret->name) != ERR_NONE)
		ret->name[0] = '\0';
	int err = acct_version(auth->acct, &ret->version);
	if (!err && auth->cache && ret->name[0])
		err = auth_cache_compute(auth->cache, ret->name, password, ret->mac);
	return err;
}

void auth_check(struct auth_exchange *exchange, struct span name, struct span password)
{
	struct auth *auth = auth_of(exchange);
	struct login login = {0};
	int err = describe_login(auth, name, password, &login);
	const struct auth_cache_entry *entry = NULL;
	if (!err && auth->cache && login.name[0])
		entry = auth_cache_find(auth->cache, login.version, time_mono_ms(), login.mac);
	if (entry) {
		auth_grant(exchange, entry->account, entry->location);
		return;
	}
	if (!err && auth->checks >= auth->setup.hash_threads + auth->setup.hash_queue_max) {
		auth_log_failure(exchange, name, "too many logins are waiting");
		auth_refuse(exchange, ERR_FULL);
		return;
	}
	if (!err)
		err = start_check(exchange, &login, name, password);
	if (err)
		fail_for_now(exchange, "looking up an account", err);
}
