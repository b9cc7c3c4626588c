/* SPDX-License-Identifier: MIT */
/*
 * Line ends and dots: the one place that knows them (RFC 1939 sections 3 and 11).
 *
 * Wire form of a message: every LF that no CR precedes becomes CRLF; CRLF stays;
 * a lone CR and NUL stay as they are; a message that is not empty and does not end in LF
 * gets a CRLF. Sizes count these octets. For sending, a dot is put before each line
 * that begins with one, and ".CRLF" ends it all; neither is counted.
 */
#ifndef POP_DOT_H
#define POP_DOT_H

#include "base/span.h"

#include <stdint.h>

/* --- sending: raw octets in, multi-line reply out, in any split --- */

struct pop_dot {
	uint64_t octets; /* wire octets so far, stuffed dots not counted */
	bool in_line;    /* the last octet was not an LF */
	bool after_cr;   /* the last octet was a CR */
};

enum { POP_DOT_END_MAX = 5 }; /* octets pop_dot_finish() writes at most */

/* Encodes from the front of *raw into `to` until one of them is used up; returns the octets written.
 * A zeroed struct pop_dot is a beginning. `size` of less than two may make no progress. */
size_t pop_dot_encode(struct pop_dot *dot, struct span *raw, char *to, size_t size);

/* Ends the reply: CRLF if the last line has none, then ".CRLF". Returns the octets written. */
size_t pop_dot_finish(struct pop_dot *dot, char to[POP_DOT_END_MAX]);

/* Octets of `raw` up to and with its `*lines`th LF, or all of it; *lines is lowered by the LFs
 * found. For TOP. */
size_t pop_dot_lines(struct span raw, uint64_t *lines);

/* --- receiving: a multi-line reply (or LMTP's DATA) in, the message's octets out --- */

struct pop_undot {
	uint64_t octets; /* wire octets of the message so far, stuffed dots not counted */
	bool to_lf; /* given before the first octet: CRLF comes out as LF, as files have it, unless a CR is
	             * before it; else in wire form. Either way encoding gives what was on the wire, if that
	             * had no LF without CR */
	uint8_t at; /* internal */
	bool ended; /* the terminating line was seen; what follows is something else */
};

/* Decodes from the front of *wire into `to` (room for wire->len + POP_UNDOT_HELD octets) until *wire is
 * used up or the message has ended; returns the octets written. A line ends in CRLF and in nothing else here:
 * only CRLF.CRLF ends a message, only behind CRLF a dot is stuffing, and an LF or CR by itself is content.
 * So nobody's idea of another line end can make two messages of one. */
enum { POP_UNDOT_HELD = 2 }; /* octets that may be held back between calls */
size_t pop_undot_decode(struct pop_undot *undot, struct span *wire, char *to);

/* --- taking text in from elsewhere: any line ends in, lines that end in LF out --- */

struct pop_lf {
	bool cr;  /* held back until it is known what follows */
	bool crs; /* another one was before it */
};

/* CRLF becomes LF, but behind another CR it stays; so does a CR or LF by itself. Writes at most raw.len + 1
 * octets and returns how many. */
size_t pop_lf_feed(struct pop_lf *lf, struct span raw, char *to);

/* What was held back; 0 or 1 octet. */
size_t pop_lf_finish(struct pop_lf *lf, char to[1]);

#endif
