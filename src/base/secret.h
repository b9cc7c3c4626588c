/* SPDX-License-Identifier: MIT */
/*
 * A secret wipes itself and has no way to be printed. Its octets are not
 * swapped out where the limits allow (mlock is left to the process).
 */
#ifndef BASE_SECRET_H
#define BASE_SECRET_H

#include "base/span.h"

enum { SECRET_MAX = 1024 }; /* octets of the longest password or key we take */

struct secret {
	char *hidden; /* read through secret_reveal() only */
	size_t len;
};

/* Copies `octets`. ERR_FULL past SECRET_MAX, ERR_NOMEM; then *ret is empty. */
int secret_init(struct secret *ret, struct span octets);

/* Wipes and frees; an all-zero secret is empty and may be finished. */
void secret_finish(struct secret *secret);

/* The octets, for the one call that needs them. */
struct span secret_reveal(const struct secret *secret);

/* Compares in time that depends on the lengths only. */
bool secret_equal(struct span a, struct span b);

/* Overwrites memory in a way no compiler removes. */
void secret_wipe(void *memory, size_t size);

#endif
