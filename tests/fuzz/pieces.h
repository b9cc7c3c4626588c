/* SPDX-License-Identifier: MIT */
/* A client that sends its octets in pieces, for fuzzers of the server machines. Runs in tests only. */
#ifndef FUZZ_PIECES_H
#define FUZZ_PIECES_H

#include "pop/line.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* The next of a series that the input's seed fixes: 0 to n-1. */
static inline unsigned pieces_pick(unsigned *chance, unsigned n)
{
	*chance = *chance * 1103515245u + 12345u;
	return (*chance >> 16) % n;
}

/* Gives `run` what it left over and a further piece of `octets`, which have `count` octets, until all is sent
 * or it says false: each time in memory of exactly that size, so that a sanitizer sees a read of one more. */
static inline void pieces_send(struct span octets, unsigned piece_max, unsigned *chance,
                               bool (*run)(void *world, struct pop_input *in, size_t count), void *world)
{
	char *kept = malloc(octets.len);
	size_t len = 0;
	bool on = true;
	while (octets.len && on) {
		size_t given = 1 + pieces_pick(chance, piece_max);
		given = given < octets.len ? given : octets.len;
		char *exact = malloc(len + given);
		if (!kept || !exact)
			abort();
		memcpy(exact, kept, len);
		memcpy(exact + len, octets.ptr, given);
		octets = span_after(octets, given);
		struct pop_input in = {exact, len + given};
		on = run(world, &in, given);
		len = in.len;
		memcpy(kept, in.ptr, len);
		free(exact);
	}
	free(kept);
}

#endif
