/* SPDX-License-Identifier: MIT */
/*
 * Judges the body of a RETR reply at memory speed: counts the message's octets, finds
 * its terminator, and refuses a bare LF. It keeps nothing and copies nothing; and it shares no code with
 * the server's dot coding, which it is the judge of.
 */
#ifndef BENCH_BODY_H
#define BENCH_BODY_H

#include "base/err.h"
#include "base/span.h"

#include <stdint.h>

struct body {
	uint64_t octets; /* of the message: no stuffed dots, no terminator */
	uint8_t at;      /* internal */
	bool ended;      /* the terminator was seen */
};

/* Takes octets off the front of *wire until it is used up or the body has ended; a zeroed
 * struct body is a beginning. ERR_SYNTAX: a bare LF, or a dot at the beginning of a line that was not
 * stuffed. */
int body_feed(struct body *body, struct span *wire);

#endif
