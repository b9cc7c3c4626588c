/* SPDX-License-Identifier: MIT */
/* Lines: cutting commands off a stream of octets that comes in any split. */
#ifndef POP_LINE_H
#define POP_LINE_H

#include "base/err.h"
#include "base/span.h"

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

#endif
