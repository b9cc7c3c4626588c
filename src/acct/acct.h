/* SPDX-License-Identifier: MIT */
/*
 * Accounts: who may log in, with which password hash, to which maildrop. Used by
 * auth, by `restante user`, and by the commands that work on an account's maildrop.
 *
 * Names are 1 to ACCT_NAME_MAX octets of printable UTF-8 without '/', '%', control
 * characters or a leading '.' or '-'; A-Z and a-z are the same letter. They are compared and stored in the
 * form SASLprep (RFC 4013) gives them, so that a name is the same however its accents were typed.
 */
#ifndef ACCT_ACCT_H
#define ACCT_ACCT_H

#include "base/err.h"
#include "base/secret.h"
#include "base/span.h"

#include <stdint.h>

enum {
	ACCT_NAME_MAX = 128,
	ACCT_HASH_MAX = 384,     /* crypt(3) output, CRYPT_OUTPUT_SIZE */
	ACCT_PASSWORD_MAX = 511, /* octets crypt(3) can take */
	ACCT_LOCATION_MAX = 1024,
};

struct acct; /* an open account store; one thread at a time */

struct acct_row {
	char name[ACCT_NAME_MAX + 1]; /* as stored: the canonical spelling */
	char hash[ACCT_HASH_MAX];
	char location[ACCT_LOCATION_MAX]; /* "" for the configured pattern */
	bool disabled;
	uint64_t quota_octets, quota_messages; /* 0: no limit; ACCT_QUOTA_DEFAULT: as configured for all */
};
#define ACCT_QUOTA_DEFAULT UINT64_MAX
#define ACCT_QUOTA_MAX     ((uint64_t)INT64_MAX) /* the largest limit */

/* --- names, locations, hashes (acct.c) --- */

/* The form in which a name is stored. ERR_SYNTAX for a name no account can have; ERR_NOMEM. */
int acct_name_prepare(struct span name, char ret[ACCT_NAME_MAX + 1]);

/* The one form all spellings of a name share: prepared, and A-Z made a-z. Errors as above. */
int acct_name_fold(struct span name, char ret[ACCT_NAME_MAX + 1]);

/* 0, or ERR_SYNTAX for what is not "scheme:/absolute/path" with a scheme of a-z, no control character and no
 * path component "", "." or "..". */
int acct_location_check(const char *location);

/* Expands a location pattern: %u the name, %n the part before the last '@', %d the part after it
 * ("" without one), %% a percent sign. ERR_SYNTAX: another escape, or a result that acct_location_check()
 * refuses (so that no name leads out of its folder). ERR_FULL: longer than `size` with its NUL. */
int acct_location(const char *pattern, struct span name, char *to, size_t size);

/* Hashes with yescrypt and a fresh salt into ret[ACCT_HASH_MAX]. ERR_SYNTAX: the password is empty,
 * longer than ACCT_PASSWORD_MAX or holds a NUL. ERR_IO, ERR_NOMEM. Takes tens of milliseconds. The password
 * is prepared by SASLprep where that is possible and taken as it is where not, here and in acct_verify(). */
int acct_hash(const struct secret *password, char ret[ACCT_HASH_MAX]);
/* 0 or ERR_CREDENTIALS; constant time given the hash. With a NULL or unusable `hash` it takes as
 * long as a real one and fails, so that time tells nobody which names exist. ERR_NOMEM: no verdict.
 * May run in any thread. */
int acct_verify(const struct secret *password, const char *hash);

/* --- the store (sqlite.c) --- */

/* Errors of everything below, besides those named: ERR_IO, ERR_NOMEM, ERR_BUSY (somebody else is writing
 * and does not finish), ERR_DENIED, ERR_READONLY, ERR_NOSPACE, ERR_CORRUPT (not an accounts file). */

enum acct_mode {
	ACCT_READ,   /* for finding and listing only; needs no write permission */
	ACCT_CHANGE, /* also brings a store of an older version up to date */
	ACCT_CREATE, /* also makes the store (mode 0600) if there is none */
};

/* Opens the store at `path`. ERR_NOTFOUND. */
int acct_open(const char *path, enum acct_mode mode, struct acct **ret, struct error *error);
void acct_close(struct acct *acct);

/* ERR_NOTFOUND (also for a name no account can have). *ret holds a hash: wipe it. */
int acct_find(struct acct *acct, struct span name, struct acct_row *ret);

/* A number that differs once anybody changed any account, also by putting another file into the store's
 * place. Mostly one system call. */
int acct_version(struct acct *acct, uint64_t *ret_version);

/* ERR_EXISTS, ERR_SYNTAX. location "" for the pattern. Durable when it returns, like all changes. */
int acct_add(struct acct *acct, struct span name, const char *hash, const char *location);
/* ERR_NOTFOUND. */
int acct_set_hash(struct acct *acct, struct span name, const char *hash);
int acct_set_disabled(struct acct *acct, struct span name, bool disabled);
/* ERR_NOTFOUND, ERR_RANGE. */
int acct_set_quota(struct acct *acct, struct span name, uint64_t octets, uint64_t messages);
int acct_del(struct acct *acct, struct span name);
/* Calls `each` for every account in order of name, until it returns non-zero; returns that. */
int acct_list(struct acct *acct, int (*each)(void *user, const struct acct_row *row), void *user);

#endif
