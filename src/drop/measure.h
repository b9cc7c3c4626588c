/* SPDX-License-Identifier: MIT */
/*
 * What must be known of a message before it can be listed: its octets on the wire, by the
 * rules of pop/dot.h, and facts that make sending it cheap. Fed with the file's
 * octets in any split.
 */
#ifndef DROP_MEASURE_H
#define DROP_MEASURE_H

#include "base/span.h"

#include <stdint.h>

struct facts {
	uint64_t raw;    /* octets of the file */
	uint64_t wire;   /* octets on the wire (RFC 1939 section 11), stuffed dots not counted */
	uint64_t header; /* raw octets of the header with its blank line; all when there is no blank line */
	bool crlf;       /* every line ends in CRLF already, the last one too */
	bool no_dots;    /* no line begins with a dot */
};

/* A zeroed one is a beginning. */
struct measure {
	uint64_t raw, bare_lf;
	uint64_t line_at; /* where the current line begins, while the header is not over */
	uint64_t header;  /* 0 while the blank line was not seen */
	char line_first;  /* first octet of the current line, while the header is not over */
	char last;        /* last octet; what precedes the first octet counts as an LF */
	bool dots;
};

void measure_add(struct measure *measure, struct span octets);
/* The same as adding `count` NULs (the hole of a sparse file), at once. */
void measure_add_hole(struct measure *measure, uint64_t count);
struct facts measure_end(const struct measure *measure);

#endif
