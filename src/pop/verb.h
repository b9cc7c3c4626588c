/* SPDX-License-Identifier: MIT */
/*
 * The grammar of POP: one row per command. A reply cannot be framed without
 * knowing its command, so the server, the client, the decoder, the tester and
 * the fuzzers' dictionary all read this table; no second list of command words
 * exists.
 */
#ifndef POP_VERB_H
#define POP_VERB_H

#include "base/span.h"

#include <stdint.h>

enum pop_verb {
	POP_APOP,
	POP_AUTH,
	POP_CAPA,
	POP_DELE,
	POP_LIST,
	POP_NOOP,
	POP_PASS,
	POP_QUIT,
	POP_RETR,
	POP_RSET,
	POP_STAT,
	POP_STLS,
	POP_TOP,
	POP_UIDL,
	POP_USER,
	POP_VERBS
};

/* States a command is legal in, as bits (RFC 1939 section 3). */
enum pop_state { POP_AUTHORIZATION = 1, POP_TRANSACTION = 2 };

enum pop_args {
	POP_ARGS_NONE,
	POP_ARGS_NAME, /* one token */
	POP_ARGS_TEXT, /* the rest of the line, spaces included (RFC 1939, PASS) */
	POP_ARGS_MSG,  /* a message-number */
	POP_ARGS_MSG_OR_NONE,
	POP_ARGS_MSG_LINES, /* a message-number and a count of lines */
	POP_ARGS_MECHANISM, /* none, or a SASL mechanism and perhaps an initial response */
	POP_ARGS_NAME_DIGEST,
};

enum pop_reply {
	POP_REPLY_LINE,
	POP_REPLY_MULTI,         /* multi-line when positive */
	POP_REPLY_MULTI_IF_BARE, /* multi-line when positive and given no argument */
	POP_REPLY_EXCHANGE,      /* "+ " challenges, then a line; multi-line when bare */
};

enum {
	POP_COMMAND_MAX = 255,     /* octets of a command line with its CRLF: RFC 2449 section 4 */
	POP_AUTH_LINE_MAX = 16386, /* octets of an AUTH line or response: 12,288 decoded and CRLF. RFC 5034
	                            * keeps AUTH to 255 too, but clients with long tokens do not. */
	POP_REPLY_MAX = 512,       /* octets of a reply's first line with its CRLF */
};

struct pop_verb_row {
	char word[5];   /* upper case */
	uint8_t served; /* the server machine answers it; else it is known to client and decoder only */
	uint8_t states; /* enum pop_state as bits */
	uint8_t args;   /* enum pop_args */
	uint8_t reply;  /* enum pop_reply */
	uint8_t ends_pipeline; /* nothing may be sent behind it before its reply is seen */
	uint16_t line_max;     /* octets of the longest line, CRLF included */
	const char *syntax;    /* for people */
	const char *rfc;
};

extern const struct pop_verb_row pop_verbs[POP_VERBS];

/* The row whose word this is, in any case; NULL for none. */
const struct pop_verb_row *pop_verb_find(struct span word);

#endif
