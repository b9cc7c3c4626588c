/* SPDX-License-Identifier: MIT */
/*
 * Accounts: who may log in, with which password hash, to which maildrop. Used by
 * auth and by `restante user`.
 *
 * Names are 1 to ACCT_NAME_MAX octets of printable UTF-8 without '/', '%', control
 * characters or a leading '.' or '-'; A-Z and a-z are the same letter.
 */
#ifndef ACCT_ACCT_H
#define ACCT_ACCT_H

#include "base/err.h"
#include "base/secret.h"
#include "base/span.h"

#include <stdint.h>
#include <stdio.h>

enum {
	ACCT_NAME_MAX = 128,
	ACCT_HASH_MAX = 384, /* crypt(3) output, CRYPT_OUTPUT_SIZE */
	ACCT_LOCATION_MAX = 1024,
};

struct acct; /* an open account store */

struct acct_row {
	char name[ACCT_NAME_MAX + 1]; /* as stored: the canonical spelling */
	char hash[ACCT_HASH_MAX];
	char location[ACCT_LOCATION_MAX]; /* "" for the configured pattern */
	bool disabled;
};

/* 0, or ERR_SYNTAX for a name no account can have. */
int acct_name_check(struct span name);

/* Opens the store at `path`; with `create` it is made (mode 0600). */
int acct_open(const char *path, bool create, struct acct **ret, struct error *error);
void acct_close(struct acct *acct);

/* ERR_NOTFOUND, ERR_IO. */
int acct_find(struct acct *acct, struct span name, struct acct_row *ret);

/* A number that differs once anybody changed any account; ERR_IO. */
int acct_version(struct acct *acct, uint64_t *ret_version);

/* ERR_EXISTS, ERR_SYNTAX, ERR_IO. location "" for the pattern. */
int acct_add(struct acct *acct, struct span name, const char *hash, const char *location);
/* ERR_NOTFOUND, ERR_IO. */
int acct_set_hash(struct acct *acct, struct span name, const char *hash);
int acct_set_disabled(struct acct *acct, struct span name, bool disabled);
int acct_del(struct acct *acct, struct span name);
/* Calls `each` for every account in order of name, until it returns non-zero. */
int acct_list(struct acct *acct, int (*each)(void *user, const struct acct_row *row), void *user);

/* Hashes with yescrypt and a fresh salt into ret[ACCT_HASH_MAX]. ERR_SYNTAX: the password is empty,
 * too long or holds a NUL. ERR_IO. Takes tens of milliseconds. */
int acct_hash(const struct secret *password, char ret[ACCT_HASH_MAX]);
/* 0 or ERR_CREDENTIALS; constant time given the hash. With a NULL or unusable `hash` it takes as
 * long as a real one and fails, so that time tells nobody which names exist. */
int acct_verify(const struct secret *password, const char *hash);

/* Expands a location pattern: %u the name, %n the part before the last '@', %d the part after it
 * ("" without one), %% a percent sign. ERR_SYNTAX: another escape, or a part that could leave its
 * folder ("", ".", ".."). ERR_FULL: longer than `size`. */
int acct_location(const char *pattern, struct span name, char *to, size_t size);

#endif
