/* SPDX-License-Identifier: MIT */
/*
 * A maildrop's listing in the words of POP: made once by whoever has the maildrop, then served to any number
 * of sessions as it is. One block of octets without pointers, so that it can travel and be shared: uint64_t
 * octets[count]; uint32_t list_at[count + 1], uidl_at[count + 1]; the lines of LIST; the lines of UIDL. Line
 * n of each is the text from at[n - 1] up to at[n], with its number and its CRLF.
 */
#ifndef POP_LISTING_H
#define POP_LISTING_H

#include "base/span.h"

#include <stdint.h>

enum {
	POP_UID_MAX = 70,                        /* octets of a unique-id: RFC 1939 section 7 */
	POP_LINE_MAX = 10 + 1 + POP_UID_MAX + 2, /* number, space, unique-id, CRLF: the longest line */
};

/* What it is made of. Unique-id n is uids[uid_at[n - 1]] up to uids[uid_at[n]]. */
struct pop_source {
	uint32_t count;
	const uint64_t *octets; /* wire octets (RFC 1939 section 11) */
	const uint32_t *uid_at; /* count + 1 */
	const char *uids;       /* 1 to POP_UID_MAX octets of 0x21-0x7e each */
};

/* Octets of the block. */
uint64_t pop_listing_size(const struct pop_source *source);
/* Writes the block. */
void pop_listing_make(const struct pop_source *source, char *to);

struct pop_lines {
	const uint32_t *at; /* count + 1 */
	struct span text;
};

struct pop_listing {
	uint32_t count;
	uint64_t total;         /* wire octets of all messages */
	const uint64_t *octets; /* of message n at n - 1; NULL: the block is not here */
	struct pop_lines list, uidl;
};

/* Points ret->octets and the lines into a block, aligned to 8, of ret->count messages. ERR_PEER: it cannot be
 * one. Not all of it is looked at, so that using a listing of millions costs what is used of it: the lines
 * are safe to ask for whatever the block holds. */
int pop_listing_open(struct span block, struct pop_listing *ret);

/* The lines of messages `from` up to and with `to` (from 1); one line is at most POP_LINE_MAX octets. Where
 * the block does not hold: an empty line. */
struct span pop_listing_lines(const struct pop_lines *lines, uint32_t from, uint32_t to);

#endif
