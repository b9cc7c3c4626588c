/* SPDX-License-Identifier: MIT */
/* Between server.c (the machine) and server_command.c (what each command does). */
#ifndef POP_SERVER_INT_H
#define POP_SERVER_INT_H

#include "pop/server.h"

#include <string.h>

/* What the machine is in the middle of. */
enum {
	PHASE_GREETING,
	PHASE_COMMAND,
	PHASE_LOGIN,    /* an answer is owed by the caller */
	PHASE_SASL,     /* likewise */
	PHASE_RESPONSE, /* the client owes a response */
	PHASE_CANCEL,
	PHASE_BODY, /* an answer is owed by the caller */
	PHASE_OCTETS,
	PHASE_END,           /* of a body: its last line end and the dot */
	PHASE_LISTING,       /* LIST or UIDL */
	PHASE_TEXT,          /* lines the caller sends */
	PHASE_LACKS_LISTING, /* an answer is owed by the caller; then the command is read again */
	PHASE_LACKS_MARKS,   /* likewise */
	PHASE_UNLISTED,      /* there is no listing: say so */
	PHASE_COMMIT,
	PHASE_TLS,
	PHASE_LOGIN_ANSWER, /* the caller has answered: say so */
	PHASE_BODY_ANSWER,
	PHASE_COMMIT_ANSWER,
	PHASE_CLOSE,
};

static inline void put_span(struct pop_output *out, struct span text)
{
	memcpy(out->ptr + out->len, text.ptr, text.len);
	out->len += text.len;
}
#define put(out, literal) put_span((out), SPAN(literal))
void put_number(struct pop_output *out, uint64_t value);

/* Writes a whole reply line and counts it as a bad command if it is one. */
void reply_bad(struct pop_server *server, struct pop_output *out, struct span line);

/* The wire octets of message `number`. */
static inline uint64_t octets_of(const struct pop_server *server, uint32_t number)
{
	return server->listing.octets[number - 1];
}
static inline bool is_marked(const struct pop_server *server, uint32_t number)
{
	return server->marks && server->marks[(number - 1) / 8] >> ((number - 1) % 8) & 1;
}
static inline uint32_t left(const struct pop_server *server)
{
	return server->listing.count - server->marked;
}

/* Carries out one well-formed command in its right state. */
void command_run(struct pop_server *server, const struct pop_command *command, struct pop_output *out,
                 struct pop_input *in);
/* One response line of a SASL exchange. */
void command_response(struct pop_server *server, struct span line, struct pop_output *out);
/* Scan or unique-id listings, as far as there is room or until the caller is to send some. */
void command_list(struct pop_server *server, struct pop_output *out);

/* Puts the caller's answers into words. */
void reply_login(struct pop_server *server, struct pop_output *out);
void reply_body(struct pop_server *server, struct pop_output *out);
void reply_commit(struct pop_server *server, struct pop_output *out);

#endif
