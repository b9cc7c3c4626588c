/* SPDX-License-Identifier: MIT */
/*
 * Fuzzes pop/line: octets from the network, cut into lines. The first octet of the input is the limit, the
 * second the size of pieces: the lines must be the same in pieces as in one.
 */
#include "base/err.h"
#include "pop/line.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { LINES_MAX = 4096 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What came of one stream: the lines' lengths, -1 for one too long. */
struct lines {
	long lengths[LINES_MAX];
	size_t count;
};

static void add(struct lines *lines, long length)
{
	if (lines->count < LINES_MAX)
		lines->lengths[lines->count++] = length;
}

/* Takes what lines there are; returns the octets used. */
static size_t take(struct span given, size_t max, bool *skipping, struct lines *lines)
{
	struct span in = given, line;
	for (;;) {
		if (*skipping) {
			*skipping = !pop_line_skip(&in);
			if (*skipping)
				return given.len;
		}
		const char *before = in.ptr;
		int err = pop_line_cut(&in, max, &line);
		if (err == ERR_AGAIN) {
			if (in.len >= max)
				abort();
			return given.len - in.len;
		}
		if (err == ERR_FULL) {
			*skipping = true;
			add(lines, -1);
			continue;
		}
		size_t end = (size_t)(in.ptr - before) - line.len;
		if (line.ptr != before || line.len + end > max || end < 1 || end > 2 || in.ptr[-1] != '\n' ||
		    memchr(line.ptr, '\n', line.len))
			abort();
		add(lines, (long)line.len);
	}
}

static void run(const uint8_t *data, size_t size, size_t max, size_t piece, struct lines *lines)
{
	char *kept = malloc(max + piece + 1); /* an unfinished line is shorter than the limit */
	size_t len = 0;
	bool skipping = false;
	if (!kept)
		abort();
	lines->count = 0;
	while (size) {
		size_t given = size < piece ? size : piece;
		memcpy(kept + len, data, given);
		len += given;
		size_t used = take(span_of(kept, len), max, &skipping, lines);
		memmove(kept, kept + used, len - used);
		len -= used;
		if (len > max)
			abort();
		data += given;
		size -= given;
	}
	free(kept);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct lines whole, pieces;
	if (size < 2)
		return 0;
	size_t max = 2u + data[0], piece = 1u + data[1] % 16;
	run(data + 2, size - 2, max, size, &whole);
	run(data + 2, size - 2, max, piece, &pieces);
	if (whole.count != pieces.count ||
	    memcmp(whole.lengths, pieces.lengths, whole.count * sizeof whole.lengths[0]) != 0)
		abort();
	return 0;
}
