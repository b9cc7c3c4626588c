/* SPDX-License-Identifier: MIT */
/*
 * The '>' that keeps a line of a message from being taken for a From_ line: put there when a message is
 * stored, and taken away when it is read. Fed with octets in any split; holds at most six back.
 */
#ifndef DROP_MBOX_QUOTE_H
#define DROP_MBOX_QUOTE_H

#include "base/span.h"

#include <stdint.h>

enum mbox_quoting {
	MBOX_QUOTE_ALL,   /* mboxrd: one '>' more before "From ", ">From ", ">>From ", ... */
	MBOX_QUOTE_PLAIN, /* mboxo: a '>' before "From " */
	MBOX_UNQUOTE,     /* mboxrd, on its way out: one '>' less before ">From ", ">>From ", ... */
	MBOX_AS_IS,
};

typedef void mbox_octets(void *owner, struct span octets);

struct mbox_quoter {
	enum mbox_quoting how;
	mbox_octets *out;
	void *owner;
	uint64_t altered; /* lines */
	uint8_t matched;  /* octets of "From " held back */
	bool in_line;     /* past what decides */
	bool run;         /* the line began with a '>' ... */
	bool held;        /* ... of which the last is held back */
};

void mbox_quoter_init(struct mbox_quoter *quoter, enum mbox_quoting how, mbox_octets *out, void *owner);
void mbox_quoter_feed(struct mbox_quoter *quoter, struct span octets);
/* Gives out what is held back. */
void mbox_quoter_end(struct mbox_quoter *quoter);

#endif
