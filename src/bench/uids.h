/* SPDX-License-Identifier: MIT */
/* The unique-ids of one listing: is one there twice? Keeps 8 octets for each, not their text. Used by
 * restante-bench. */
#ifndef BENCH_UIDS_H
#define BENCH_UIDS_H

#include "base/err.h"
#include "base/span.h"

#include <stdint.h>

struct uids {
	uint64_t *marks; /* open addressing; 0: free */
	uint64_t room;   /* a power of two, more than twice the count */
	uint64_t count;
};

/* A zeroed struct uids is empty. ERR_EXISTS: it was there before (or, once in many lives, has the same 64-bit
 * mark as another); ERR_NOMEM. */
int uids_add(struct uids *uids, struct span uid);
void uids_finish(struct uids *uids);

#endif
