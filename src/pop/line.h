/* SPDX-License-Identifier: MIT */
/* Lines: cutting commands off a stream of octets that comes in any split. */
#ifndef POP_LINE_H
#define POP_LINE_H

#include "base/err.h"
#include "base/span.h"

/* Octets the caller of a machine owns. Writable: responses are decoded, and secrets wiped, where they are. */
struct pop_input {
	char *ptr;
	size_t len; /* the machine takes from the front: ptr and len move */
};

/* `rest` is what was not taken. */
static inline void pop_input_keep(struct pop_input *in, struct span rest)
{
	in->ptr += in->len - rest.len;
	in->len = rest.len;
}

/*
 * Cuts one line off the front of *in. Lines end in CRLF; a bare LF is taken too, for people
 * at a terminal. *ret_line is the line without its end.
 *
 * 0; ERR_AGAIN: no line end yet, and fewer than `max` octets: give more; ERR_FULL:
 * the line, its end included, is longer than `max` octets. Then *in is unchanged and
 * pop_line_skip() drops the line.
 */
int pop_line_cut(struct span *in, size_t max, struct span *ret_line);

/* Drops octets up to the next line end: true when that was found, false when all of
 * *in was dropped and the line goes on. */
bool pop_line_skip(struct span *in);

/* --- of a client, whose lines may be too long --- */

/* What is left of a line that pop_line_take() has refused goes. False: more of it is to come. */
bool pop_line_resume(struct pop_input *in, bool *skipping);

/* pop_line_cut(), but when ERR_FULL is told the line is gone, too, as far as it is there; `*skipping`: more
 * of it is to come. */
int pop_line_take(struct pop_input *in, size_t max, bool *skipping, struct span *ret_line);

#endif
