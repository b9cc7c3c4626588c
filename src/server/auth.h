/* SPDX-License-Identifier: MIT */
/*
 * Auth: accounts, SASL exchanges, password hashes, verified logins. It sees names and
 * passwords, never mail, and makes the tickets by which the keeper opens a maildrop.
 *
 * auth.c is the process, auth_exchange.c what workers ask, auth_check.c the check of a password,
 * auth_lookup.c the recipients of mail, auth_cache.c the verified logins.
 */
#ifndef SERVER_AUTH_H
#define SERVER_AUTH_H

#include "acct/acct.h"
#include "sasl/sasl.h"
#include "server/auth_cache.h"
#include "server/child.h"

enum {
	AUTH_EXCHANGES_MAX = 16384, /* exchanges open at once for one worker; further ones are told to wait */
	AUTH_BUCKETS = 1024,
};

struct auth_peer;
struct auth_check;

struct auth {
	struct child *child;
	struct ipc_setup_auth setup;
	struct acct *acct;
	struct sasl *sasl;
	struct auth_cache *cache; /* NULL: none wanted */
	struct ipc_ticket_key key;
	uint64_t nonce;  /* of the last ticket */
	uint32_t checks; /* passwords being hashed or waiting for it */
	struct auth_peer *peers;
	bool serving;
};

/* A login on its way, from AUTH_BEGIN to the answer. */
struct auth_exchange {
	struct auth_exchange *next; /* in its bucket */
	struct auth_peer *peer;
	uint64_t session;
	enum ipc_when state;
	struct sasl_session *sasl; /* NULL: method PASSWORD */
	struct auth_check *check;  /* NULL: no password is being checked */
	struct ipc_auth_begin begin;
};

/* --- auth_exchange.c --- */

/* Takes over `fd`, a link to that worker, in every case. It is listened to from auth_serve() on, as before
 * that there is nothing to answer from. ERR_NOMEM, ERR_IO. */
int auth_add_peer(struct auth *auth, uint32_t id, int fd);
int auth_serve(struct auth *auth);
void auth_drop_peers(struct auth *auth);

/* The answers; each ends and frees the exchange. */
void auth_grant(struct auth_exchange *exchange, const char *account, const char *location);
void auth_refuse(struct auth_exchange *exchange, int err);
struct auth *auth_of(const struct auth_exchange *exchange);

/* Logs a login that failed; `reason` is a literal. */
void auth_log_failure(const struct auth_exchange *exchange, struct span name, const char *reason);

/* --- auth_lookup.c --- */

/* The account that mail to this address is for, as it was given by LMTP; the row holds a hash: wipe it.
 * ERR_NOTFOUND; ERR_DENIED: disabled; otherwise as acct_find(). */
int auth_find_recipient(struct auth *auth, struct span address, struct acct_row *ret);
/* Where the account's maildrop is. An error, which is logged: the pattern gives it none. */
int auth_locate(const struct auth *auth, const struct acct_row *row, char ret[ACCT_LOCATION_MAX]);

/* --- auth_check.c --- */

/* Checks name and password and answers, at once or once the hash is computed. */
void auth_check(struct auth_exchange *exchange, struct span name, struct span password);
/* Nobody waits for the verdict any more. */
void auth_forget(struct auth_check *check);

#endif
