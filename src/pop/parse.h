/* SPDX-License-Identifier: MIT */
/* Parsing a command line by its row (RFC 1939 section 3, RFC 2449 section 3, RFC 5034 section 5). */
#ifndef POP_PARSE_H
#define POP_PARSE_H

#include "base/err.h"
#include "pop/verb.h"

struct pop_command {
	const struct pop_verb_row *row;
	bool bare;          /* no argument was given */
	uint32_t number;    /* message-number, 1 to 4294967295; 0 when none was given */
	uint64_t lines;     /* TOP */
	struct span text;   /* USER name, PASS string, AUTH mechanism, APOP name; into the line */
	struct span second; /* AUTH initial response, APOP digest; into the line */
	bool has_second;
};

/*
 * Parses one line without its end. Spaces at the end of the line are forgiven, except in PASS
 * where they belong to the password.
 *
 * ERR_UNSUPPORTED: no such command, ret->row is NULL. ERR_SYNTAX: the arguments are not of the row's
 * shape; ERR_RANGE: a number no message can have. With both, ret->row says which command it was.
 */
int pop_parse(struct span line, struct pop_command *ret);

#endif
