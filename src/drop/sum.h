/* SPDX-License-Identifier: MIT */
/*
 * A fast checksum for our own cache files: one changed octet always shows. Against
 * accidents only; whoever may write the file can also make the sum fit.
 */
#ifndef DROP_SUM_H
#define DROP_SUM_H

#include "base/span.h"

#include <stdint.h>

enum { SUM_LANES = 4, SUM_BLOCK = SUM_LANES * 8 };

struct sum {
	uint64_t lane[SUM_LANES];
	uint64_t octets;
};

void sum_begin(struct sum *sum, uint64_t seed);
/* A multiple of SUM_BLOCK octets each time, except for the last. */
void sum_add(struct sum *sum, struct span octets);
uint64_t sum_end(const struct sum *sum);

/* All of it at once. */
uint64_t sum_of(uint64_t seed, struct span octets);

#endif
