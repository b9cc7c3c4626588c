/* SPDX-License-Identifier: MIT */
/*
 * The POP3 server machine (RFC 1939, 2449, 2595, 3206, 5034): octets and time in, octets
 * and wishes out. No descriptor, clock, allocation, log or errno in it, so the same machine runs
 * behind a socket, in a fuzzer and in a simulation.
 *
 * The caller calls pop_server_step() with what the client sent and room for replies, and does
 * what it says (enum pop_want) before it calls again. Feeding the same octets in any split
 * gives the same replies.
 */
#ifndef POP_SERVER_H
#define POP_SERVER_H

#include "base/err.h"
#include "pop/dot.h"
#include "pop/line.h"
#include "pop/listing.h"
#include "pop/parse.h"

struct pop_output {
	char *ptr;
	size_t len; /* the machine adds at the end */
	size_t cap; /* at least POP_REPLY_MAX */
};

/* What one listener's sessions have in common; outlives them. */
struct pop_server_conf {
	const char
	    *mechanisms; /* SASL mechanism names, separated by spaces; all send the password in clear */
	uint32_t bad_commands_max; /* this many in a row close the session; 0: no limit */
	uint32_t login_timeout_ms; /* from connection to login */
	uint32_t autologout_ms;    /* inactivity after login (RFC 1939 section 3: at least ten minutes) */
};

/* A message about to be sent. */
struct pop_body {
	uint64_t length; /* raw octets that will be given */
	uint64_t header; /* raw octets of the header with its blank line */
	bool wire_form;  /* CRLF line ends throughout, no line begins with a dot: may be sent as it is */
};

enum pop_want {
	POP_WANT_INPUT,  /* more of what the client sends; what is left of the input is an unfinished line:
	                    keep it */
	POP_WANT_ROOM,   /* the output is full: send it */
	POP_WANT_LOGIN,  /* ask.user and ask.secret: answer with pop_server_logged_in() or _not_logged_in() */
	POP_WANT_SASL,   /* ask.mechanism, ask.secret: answered as above, or with pop_server_challenge() */
	POP_WANT_CANCEL, /* the SASL exchange is off; nothing to answer: step on */
	POP_WANT_BODY,   /* ask.number: answer with pop_server_body() or pop_server_no_body() */
	POP_WANT_OCTETS, /* the body's next octets: pop_server_octets() or pop_server_octets_sent() */
	POP_WANT_LISTING, /* a command needs the listing's block: pop_server_listed() or _not_listed() */
	POP_WANT_MARKS,   /* the first DELE: pop_server_marks() */
	POP_WANT_TEXT,    /* send some of ask.text, unchanged: pop_server_text_sent() */
	POP_WANT_COMMIT,  /* QUIT: delete what is marked, if anything, unlock: answer with
	                     pop_server_committed() */
	POP_WANT_TLS,     /* send the output, negotiate TLS, then pop_server_tls() */
	POP_WANT_CLOSE,   /* send the output, close; no message is deleted */
};

struct pop_ask {
	struct span
	    mechanism; /* POP_WANT_SASL: to begin with, as conf spells it; empty while an exchange goes on */
	struct span user;   /* POP_WANT_LOGIN */
	struct span secret; /* password, or decoded response; into the input: the caller wipes it */
	bool has_initial;   /* POP_WANT_SASL, beginning: secret is an initial response */
	uint32_t number;    /* POP_WANT_BODY */
	struct span text;   /* POP_WANT_TEXT: of the listing */
};

enum {
	POP_USER_MAX = POP_COMMAND_MAX - 6, /* octets of a name in "USER name" and an LF */
	POP_TEXT_MIN = 16384, /* octets of a listing from which on they are the caller's to send, uncopied */
};

struct pop_server {
	const struct pop_server_conf *conf;
	uint64_t active_ms; /* when the client last did something; before login, when it connected */
	uint32_t bad;       /* bad commands in a row */
	uint8_t state;      /* enum pop_state */
	uint8_t phase;      /* what the machine is in the middle of */
	bool tls, tls_offered, clear_allowed;
	bool quit;     /* the client has said QUIT */
	bool skipping; /* dropping the rest of a line that was too long */
	int answer;    /* the caller's answer to the last wish, to be put into words */
	struct pop_ask ask;
	union {
		struct {                  /* before login */
			uint8_t user_len; /* 0: no USER given */
			char user[POP_USER_MAX];
		};
		struct { /* after */
			struct pop_listing listing;
			unsigned char *marks; /* bit n-1: message n is marked as deleted; NULL: none is */
			uint32_t marked;      /* how many */
			uint32_t next;        /* LIST, UIDL: the next message to list */
			uint64_t octets;      /* of all messages not marked */
			struct pop_body body;
			struct pop_dot dot;
			uint64_t header_left, body_left; /* raw octets */
			uint64_t lines_left;             /* TOP: body lines; UINT64_MAX for RETR */
			uint64_t owed;                   /* wire octets the listing announced */
			uint8_t verb;                    /* enum pop_verb being answered */
			uint32_t removed;                /* answer to POP_WANT_COMMIT */
		};
	};
};

/* A session begins: the greeting is the first output. `tls`: over TLS from the start; `tls_offered`: STLS
 * works; `clear_allowed`: passwords are taken without TLS. */
void pop_server_init(struct pop_server *server, const struct pop_server_conf *conf, bool tls,
                     bool tls_offered, bool clear_allowed, uint64_t now_ms);

/* Goes on as far as input and room allow. A wish that waits for an answer is repeated until it is answered.
 */
enum pop_want pop_server_step(struct pop_server *server, struct pop_input *in, struct pop_output *out,
                              uint64_t now_ms);

/* --- answers --- */

/* The login is good and the maildrop is locked. The listing's count and total are known; its block, which
 * stays where it is until the session ends, may be here or be asked for when a command needs it. */
void pop_server_logged_in(struct pop_server *server, const struct pop_listing *listing);
/* ERR_CREDENTIALS, ERR_BUSY (maildrop locked), ERR_CROWDED (the session ends), ERR_SYNTAX and ERR_UNSUPPORTED
 * (the SASL exchange), ERR_CORRUPT, ERR_FULL; anything else is a temporary failure. */
void pop_server_not_logged_in(struct pop_server *server, int err);
/* `challenge` not encoded; written to `out` at once. ERR_FULL if its base64 and framing do not fit. */
int pop_server_challenge(struct pop_server *server, struct span challenge, struct pop_output *out);

/* The block of the maildrop whose count and total are known. */
void pop_server_listed(struct pop_server *server, const struct pop_listing *listing);
/* It cannot be had: the session says so and ends, without update. */
void pop_server_not_listed(struct pop_server *server);
/* Zeroed memory of (count + 7) / 8 octets, until the session ends. */
void pop_server_marks(struct pop_server *server, unsigned char *marks);
/* `count` octets from the front of ask.text are sent. */
void pop_server_text_sent(struct pop_server *server, size_t count);

void pop_server_body(struct pop_server *server, const struct pop_body *body);
/* ERR_NOTFOUND, ERR_CHANGED, ERR_NOTREGULAR, ERR_DENIED; anything else is temporary. */
void pop_server_no_body(struct pop_server *server, int err);
/* Encodes from the front of *raw. 0; ERR_CORRUPT: the message is not as listed: close the connection now, so
 * that the client cannot take what it got for the whole. */
int pop_server_octets(struct pop_server *server, struct span *raw, struct pop_output *out);
/* How many raw octets the caller may send by itself, unchanged; 0 if none. Then it says how many it sent. */
uint64_t pop_server_octets_as_is(const struct pop_server *server);
int pop_server_octets_sent(struct pop_server *server, uint64_t count);
/* Raw octets of the body not given yet. */
uint64_t pop_server_octets_left(const struct pop_server *server);

/* 0, or why some marked messages are still there. */
void pop_server_committed(struct pop_server *server, int err, uint32_t removed);
/* TLS is on; the session begins anew in AUTHORIZATION, without greeting. */
void pop_server_tls(struct pop_server *server);

/* --- looking --- */

/* The client did something else that counts, e.g. took octets we had waiting. Before login nothing counts:
 * the login timeout runs from the connection on. */
static inline void pop_server_active(struct pop_server *server, uint64_t now_ms)
{
	if (server->state == POP_TRANSACTION)
		server->active_ms = now_ms;
}
/* The login timeout or autologout has come: close without a reply and without update. */
bool pop_server_expired(const struct pop_server *server, uint64_t now_ms);

/* Message numbers that RETR and TOP commands waiting in `in` ask for, in order, as far as they can be told
 * now; at most `max`. For reading ahead. */
unsigned pop_server_ahead(const struct pop_server *server, struct span in, uint32_t *numbers, unsigned max);
/* The first message behind `number` that is not marked as deleted, 0 for none. */
uint32_t pop_server_following(const struct pop_server *server, uint32_t number);

#endif
