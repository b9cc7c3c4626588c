/* SPDX-License-Identifier: MIT */
/* How many of something each client network has just now. Used by worker and keeper; networks come from
 * the kernel, or from a worker that may have been taken over. */
#ifndef SERVER_TALLY_H
#define SERVER_TALLY_H

#include "base/network.h"

#include <stdint.h>

struct tally_entry {
	struct network network;
	uint32_t count; /* 0: free */
};

/* Zeros: nothing counted. */
struct tally {
	struct tally_entry *entries; /* a power of two of them, at most half in use */
	uint32_t size, used;
};

/* One more: how many it has now; 0 without memory. The network that stands for none is not counted: 1. */
uint32_t tally_add(struct tally *tally, const struct network *network);
/* One less, of those that were added. */
void tally_remove(struct tally *tally, const struct network *network);
/* How many it has; 0 of the network that stands for none. */
uint32_t tally_count(const struct tally *tally, const struct network *network);
void tally_finish(struct tally *tally);

#endif
