/* SPDX-License-Identifier: MIT */
/* Sizes of messages. Runs in the keeper's disk threads on message files: any octets are fine. */
#include "drop/measure.h"

#include <string.h>

/* Octets counted in one go: few enough for an octet-sized counter, a constant, so that compilers
 * make vector instructions of the loop. */
enum { BLOCK = 128 };

struct counts {
	uint64_t bare_lf, dots;
};

static void count_octet(char before, char c, struct counts *counts)
{
	counts->bare_lf += c == '\n' && before != '\r';
	counts->dots += c == '.' && before == '\n';
}

/* Counts in BLOCK octets from text[1]; text[0] is the octet before them. */
static void count_block(const char *text, struct counts *counts)
{
	uint8_t bare_lf = 0, dots = 0;
	for (unsigned i = 1; i <= BLOCK; i++) {
		bare_lf = (uint8_t)(bare_lf + ((text[i] == '\n') & (text[i - 1] != '\r')));
		dots |= (uint8_t)((text[i] == '.') & (text[i - 1] == '\n'));
	}
	counts->bare_lf += bare_lf;
	counts->dots += dots;
}

/* Looks for the end of the header in octets that begin at measure->raw. */
static void find_blank_line(struct measure *measure, struct span octets)
{
	size_t at = 0; /* in `octets`, where the current line begins or goes on */
	while (at < octets.len) {
		uint64_t begin = measure->raw + at;
		if (begin == measure->line_at)
			measure->line_first = octets.ptr[at];
		const char *lf = memchr(octets.ptr + at, '\n', octets.len - at);
		if (!lf)
			return;
		at = (size_t)(lf - octets.ptr) + 1;
		uint64_t line = measure->raw + at - measure->line_at;
		if (line == 1 || (line == 2 && measure->line_first == '\r')) {
			measure->header = measure->raw + at;
			return;
		}
		measure->line_at = measure->raw + at;
	}
}

void measure_add(struct measure *measure, struct span octets)
{
	if (octets.len == 0)
		return;
	if (!measure->header)
		find_blank_line(measure, octets);
	struct counts counts = {0};
	count_octet(measure->raw ? measure->last : '\n', octets.ptr[0], &counts);
	size_t at = 1;
	for (; octets.len - at >= BLOCK; at += BLOCK)
		count_block(octets.ptr + at - 1, &counts);
	for (; at < octets.len; at++)
		count_octet(octets.ptr[at - 1], octets.ptr[at], &counts);
	measure->bare_lf += counts.bare_lf;
	measure->dots |= counts.dots > 0;
	measure->raw += octets.len;
	measure->last = octets.ptr[octets.len - 1];
}

void measure_add_hole(struct measure *measure, uint64_t count)
{
	static const char nul[1];
	if (count == 0)
		return;
	measure_add(measure, span_of(nul, 1)); /* a line may begin with it; the others are text in a line */
	measure->raw += count - 1;
}

struct facts measure_end(const struct measure *measure)
{
	bool unended = measure->raw && measure->last != '\n';
	uint64_t wire = measure->raw + measure->bare_lf + (unended ? 2 : 0);
	return (struct facts){
	    .raw = measure->raw,
	    .wire = wire,
	    .header = measure->header ? measure->header : measure->raw,
	    .crlf = wire == measure->raw,
	    .no_dots = !measure->dots,
	};
}
