/* SPDX-License-Identifier: MIT */
/* The checksum of the index file. Runs in the keeper on octets that may be anything. */
#include "drop/sum.h"

#include <string.h>

#define PRIME UINT64_C(0x9e3779b97f4a7c15) /* odd: multiplying loses nothing */

void sum_begin(struct sum *sum, uint64_t seed)
{
	for (unsigned i = 0; i < SUM_LANES; i++)
		sum->lane[i] = (seed + i) * PRIME;
	sum->octets = 0;
}

/* Four lanes, because one would wait for its own multiplication. Each step can be undone, so two
 * inputs that differ in one word never meet again. */
static void add_block(uint64_t lane[SUM_LANES], const char *block)
{
	uint64_t word[SUM_LANES];
	memcpy(word, block, sizeof word);
	for (unsigned i = 0; i < SUM_LANES; i++) {
		lane[i] = (lane[i] ^ word[i]) * PRIME;
		lane[i] = lane[i] << 29 | lane[i] >> 35;
	}
}

void sum_add(struct sum *sum, struct span octets)
{
	uint64_t lane[SUM_LANES];
	memcpy(lane, sum->lane, sizeof lane);
	size_t at = 0;
	for (; octets.len - at >= SUM_BLOCK; at += SUM_BLOCK)
		add_block(lane, octets.ptr + at);
	if (at < octets.len) {
		char block[SUM_BLOCK] = {0};
		memcpy(block, octets.ptr + at, octets.len - at);
		add_block(lane, block);
	}
	memcpy(sum->lane, lane, sizeof lane);
	sum->octets += octets.len;
}

uint64_t sum_end(const struct sum *sum)
{
	uint64_t end = sum->octets;
	for (unsigned i = 0; i < SUM_LANES; i++) {
		end = (end ^ sum->lane[i]) * PRIME;
		end ^= end >> 32;
	}
	return end;
}

uint64_t sum_of(uint64_t seed, struct span octets)
{
	struct sum sum;
	sum_begin(&sum, seed);
	sum_add(&sum, octets);
	return sum_end(&sum);
}
