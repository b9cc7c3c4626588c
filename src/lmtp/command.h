/* SPDX-License-Identifier: MIT */
/* The grammar of LMTP commands: one row per command, and the parser that reads it. */
#ifndef LMTP_COMMAND_H
#define LMTP_COMMAND_H

#include "base/err.h"
#include "base/span.h"

#include <stdint.h>

enum lmtp_verb {
	LMTP_LHLO,
	LMTP_MAIL,
	LMTP_RCPT,
	LMTP_DATA,
	LMTP_RSET,
	LMTP_NOOP,
	LMTP_VRFY,
	LMTP_HELP,
	LMTP_QUIT,
	LMTP_HELO,
	LMTP_EHLO,
	LMTP_VERBS
};

enum lmtp_args {
	LMTP_ARGS_NONE,
	LMTP_ARGS_TEXT,   /* anything, or nothing */
	LMTP_ARGS_DOMAIN, /* a domain or an address literal */
	LMTP_ARGS_FROM,   /* FROM:<mailbox or nothing> and parameters */
	LMTP_ARGS_TO,     /* TO:<mailbox> */
};

/* What must have been said before, as bits. */
enum lmtp_needs { LMTP_NEEDS_LHLO = 1, LMTP_NEEDS_MAIL = 2, LMTP_NEEDS_NO_MAIL = 4, LMTP_NEEDS_RCPT = 8 };

struct lmtp_verb_row {
	char word[5];
	uint8_t args;  /* enum lmtp_args */
	uint8_t needs; /* enum lmtp_needs as bits */
	const char *syntax;
	const char *rfc;
};

extern const struct lmtp_verb_row lmtp_verbs[LMTP_VERBS];

struct lmtp_command {
	const struct lmtp_verb_row *row;
	struct span text;  /* LHLO: the domain; MAIL, RCPT: the mailbox, without brackets and source route */
	uint64_t size;     /* MAIL SIZE=; 0 when not given, UINT64_MAX when past all reason */
	bool utf8;         /* MAIL SMTPUTF8 */
	bool text_is_utf8; /* the text has octets beyond ASCII */
};

/* ERR_UNSUPPORTED: no such command (row is NULL); ERR_SYNTAX: not of the row's shape; ERR_RANGE: a parameter
 * that was not offered. `line` is without its end. */
int lmtp_parse(struct span line, struct lmtp_command *ret);

#endif
