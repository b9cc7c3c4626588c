/* SPDX-License-Identifier: MIT */
/*
 * The LMTP server machine (RFC 2033: SMTP's commands, with PIPELINING, 8BITMIME, SMTPUTF8, SIZE and
 * ENHANCEDSTATUSCODES): octets and time in, octets and wishes out, as pop/server.h does it. No
 * descriptor, clock, allocation, log or errno in it.
 *
 * A transaction: each RCPT is a wish with an answer; DATA asks for a place to write to; then
 * the message's octets come in pieces, as files hold them; its end asks for a verdict for each recipient that
 * was accepted, in order.
 */
#ifndef LMTP_SERVER_H
#define LMTP_SERVER_H

#include "base/err.h"
#include "pop/server.h"

enum {
	LMTP_COMMAND_MAX = 1024, /* octets of a command with its CRLF; RFC 5321 wants 512 and what extensions
	                          * add */
	LMTP_ADDRESS_MAX = 320,  /* octets of a mailbox: 64 @ 255 (RFC 5321 section 4.5.3.1) */
	LMTP_DOMAIN_MAX = 255,   /* octets of what LHLO says */
	LMTP_RECIPIENTS_MAX = 100, /* accepted in one transaction, as many as RFC 5321 asks for */
};

struct lmtp_server_conf {
	const char *hostname;      /* in greeting and replies */
	uint64_t message_max;      /* octets of a message, as SIZE announces; 0: no limit */
	uint32_t bad_commands_max; /* this many in a row end the session; 0: no limit */
	uint32_t idle_ms;          /* inactivity after which it is closed */
	bool over_quota_defers;    /* a full mailbox is a temporary failure */
};

enum lmtp_want {
	LMTP_WANT_INPUT,     /* more of what the client sends; what is left is an unfinished line: keep it */
	LMTP_WANT_ROOM,      /* the output is full: send it */
	LMTP_WANT_RECIPIENT, /* ask.mailbox: answer with lmtp_server_recipient() */
	LMTP_WANT_DATA,      /* a place for the message: answer with lmtp_server_data() */
	LMTP_WANT_OCTETS,    /* the input holds octets of the message: take them with lmtp_server_octets() */
	LMTP_WANT_VERDICT,   /* the message is complete: make it durable; lmtp_server_verdict() on the next
	                      * recipient */
	LMTP_WANT_RESET,     /* the transaction is off: forget it; nothing to answer: step on */
	LMTP_WANT_CLOSE,     /* send the output, close */
};

/* What is said of a recipient. */
enum lmtp_verdict {
	LMTP_GOOD,     /* RCPT: exists; at the end: delivered, durably */
	LMTP_UNKNOWN,  /* no such mailbox */
	LMTP_DISABLED, /* it takes no mail */
	LMTP_OVER_QUOTA,
	LMTP_TOO_LARGE, /* the message, for this server */
	LMTP_NO_SPACE,  /* the disk is full */
	LMTP_BUSY,      /* a limit of ours is reached */
	LMTP_MAILDROP,  /* trouble with this maildrop */
	LMTP_TROUBLE,   /* trouble of ours */
	LMTP_VERDICTS
};

struct lmtp_ask {
	struct span mailbox; /* LMTP_WANT_RECIPIENT: without the angle brackets; into the input */
};

struct lmtp_server {
	const struct lmtp_server_conf *conf;
	uint64_t active_ms;
	uint32_t bad; /* bad commands in a row */
	uint8_t phase;
	bool greeted;    /* LHLO was given */
	bool has_sender; /* MAIL was given */
	bool utf8;       /* it has SMTPUTF8 */
	bool skipping;   /* dropping the rest of a line that was too long */
	bool quit;
	uint8_t recipients; /* accepted */
	uint8_t judged;     /* of them, at the end */
	uint8_t answer;     /* the caller's to the last wish, enum lmtp_verdict */
	uint8_t failure;    /* why nobody gets the message: said after its end */
	uint16_t sender_len, client_len;
	struct pop_undot undot;
	struct lmtp_ask ask;
	char sender[LMTP_ADDRESS_MAX]; /* empty: <> */
	char client[LMTP_DOMAIN_MAX];  /* as LHLO said */
};

/* A session begins: the greeting is the first output; `admitted`: this client may deliver, others hear that
 * they may not. */
void lmtp_server_init(struct lmtp_server *server, const struct lmtp_server_conf *conf, bool admitted,
                      uint64_t now_ms);

/* Goes on as far as input and room allow. A wish that waits for an answer is repeated until it is answered.
 * The output's `cap` is at least POP_REPLY_MAX + LMTP_DOMAIN_MAX. */
enum lmtp_want lmtp_server_step(struct lmtp_server *server, struct pop_input *in, struct pop_output *out,
                                uint64_t now_ms);

/* --- answers --- */

void lmtp_server_recipient(struct lmtp_server *server, enum lmtp_verdict verdict);
/* LMTP_GOOD, or why there is no place for a message now. */
void lmtp_server_data(struct lmtp_server *server, enum lmtp_verdict verdict);
/* Takes the message's octets from the front of the input into `to` (room for in->len + POP_UNDOT_HELD),
 * unstuffed, with LF for CRLF; returns how many. */
size_t lmtp_server_octets(struct lmtp_server *server, struct pop_input *in, char *to);
/* The message cannot be stored: the rest is read and dropped, and the verdicts are to be this one. */
void lmtp_server_fail(struct lmtp_server *server, enum lmtp_verdict verdict);
/* Of the next accepted recipient, in the order of the RCPTs. */
void lmtp_server_verdict(struct lmtp_server *server, enum lmtp_verdict verdict);

/* --- looking --- */

/* Why nobody may get the message, LMTP_GOOD while nothing is wrong with it. */
static inline enum lmtp_verdict lmtp_server_failure(const struct lmtp_server *server)
{
	return (enum lmtp_verdict)server->failure;
}
static inline void lmtp_server_active(struct lmtp_server *server, uint64_t now_ms)
{
	server->active_ms = now_ms;
}
/* The client has been idle too long: close. */
bool lmtp_server_expired(const struct lmtp_server *server, uint64_t now_ms);
/* "too large": a word for the log. */
const char *lmtp_verdict_text(enum lmtp_verdict verdict);

#endif
