/* SPDX-License-Identifier: MIT */
/*
 * Finds the messages of an mbox, and what must be known of each. Fed with the file's octets; does no I/O.
 *
 * A message begins with a From_ line (mbox_line.h) at the beginning of the file or behind an empty line. That
 * empty line belongs to neither message; so does one at the end of the file. Empty lines at the beginning of
 * the file count for nothing. Lines end in LF, with or without a CR before it.
 */
#ifndef DROP_MBOX_PARSE_H
#define DROP_MBOX_PARSE_H

#include "drop/mbox_line.h"
#include "drop/mbox_quote.h"
#include "drop/measure.h"
#include "drop/sum.h"

enum {
	MBOX_LOOK =
	    MBOX_SEPARATOR_MAX + 2, /* octets that decide about a line: an empty one, and a From_ line */
	MBOX_IDENTITY = 32,         /* hexadecimal digits */
};

struct mbox_message {
	uint64_t at;       /* of its From_ line in the file */
	uint64_t stored;   /* octets behind the From_ line, as they lie there */
	uint16_t from_len; /* octets of the From_ line */
	uint8_t trail;     /* octets of the empty line behind it, if any */
	struct facts
	    facts;    /* of the message without quoting; `raw` is less than `stored` when there is any */
	uint64_t sum; /* of its From_ line and of what is stored: mbox_sum_*() */
	char identity[MBOX_IDENTITY]; /* the same as long as it is the same message: over the From_ line and
	                               * all but the header fields that programs rewrite */
};

/* A sum that is fed in any split. */
struct mbox_sum {
	struct sum sum;
	unsigned carried;
	char carry[SUM_BLOCK];
};

void mbox_sum_begin(struct mbox_sum *sum);
void mbox_sum_add(struct mbox_sum *sum, struct span octets);
uint64_t mbox_sum_end(struct mbox_sum *sum);

struct mbox_parser {
	bool unquote;
	void *owner;
	/* Called with each message; an error ends the parsing. */
	int (*message)(void *owner, const struct mbox_message *message);
	/* NULL, or whether a message may end at `end` in the file: Content-Length is believed then. */
	bool (*may_end)(void *owner, uint64_t end);

	uint64_t at;    /* in the file: where the next octet lies */
	uint64_t bound; /* up to here the body goes on, whatever it holds; 0: not known */
	bool open;      /* in a message */
	bool in_header, in_line;
	bool mutable;            /* the current field is one */
	uint64_t content_length; /* UINT64_MAX: none */
	struct mbox_message now;
	void *hash; /* of its header */
	struct mbox_sum sum, body_sum;
	struct mbox_quoter quoter;
	struct measure measure;
};

/* `at`: where in the file parsing begins: its beginning, or a From_ line. ERR_NOMEM. */
int mbox_parser_init(struct mbox_parser *parser, uint64_t at);
void mbox_parser_finish(struct mbox_parser *parser);

/* Takes octets; what is left over, less than MBOX_LOOK octets, comes again at the front of the next
 * ones, which are at least MBOX_LOOK unless they are the `last`. ERR_CORRUPT: the file does not begin like an
 * mbox; ERR_NOMEM; or what message() said. */
int mbox_parser_feed(struct mbox_parser *parser, struct span octets, bool last, size_t *ret_used);

#endif
