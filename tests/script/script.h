/* SPDX-License-Identifier: MIT */
/* Transcripts (README.md) as the player sees them. Runs in tests only; trusts the files of this folder. */
#ifndef SCRIPT_SCRIPT_H
#define SCRIPT_SCRIPT_H

#include "base/buf.h"
#include "lmtp/server.h"

#include <stdint.h>

enum step_kind {
	STEP_SEND,        /* the client sends `text` */
	STEP_LINE,        /* the server sends this line */
	STEP_PREFIX,      /* the server sends a line that begins so */
	STEP_MESSAGE,     /* the server sends message `number`, dots stuffed, without the last line */
	STEP_TIME,        /* `number` seconds pass */
	STEP_TLS,         /* both sides negotiate TLS */
	STEP_CLOSED,      /* the server has closed, and sent nothing else */
	STEP_CUT_OFF,     /* the server has closed in the middle of a reply */
	STEP_LEAVES,      /* the client closes */
	STEP_DELETED,     /* these messages are gone: `text` is one octet for each message, 1 or 0 */
	STEP_FAIL_LOGIN,  /* from now on ... fails with `err` */
	STEP_FAIL_BODY,   /* opening message `number` */
	STEP_FAIL_COMMIT, /* `number` messages are removed all the same */
	STEP_ALTER,       /* the file of message `number` is now of another length */
	/* LMTP */
	STEP_FAIL_DATA,  /* from now on there is no place for a message; `err` is an enum lmtp_verdict here */
	STEP_FAIL_WRITE, /* octets of a message cannot be stored */
	STEP_FAIL_ONE,   /* delivering to `text` */
	STEP_DELIVERED,  /* the last message was delivered to these addresses, one a line, and no others */
	STEP_HOLDS,      /* and its file holds this */
};

struct step {
	enum step_kind kind;
	unsigned line; /* in the file */
	struct buf text;
	uint64_t number;
	int err;
};

struct message {
	struct buf raw;
	struct buf uid;
};

enum {
	SCRIPT_STEPS_MAX = 8000,
	SCRIPT_MESSAGES_MAX = 2000,
	SCRIPT_RECIPIENTS_MAX = 10,
	SCRIPT_TEXT_MAX = 32 << 20
};

enum script_over { OVER_PLAIN = 1, OVER_STLS = 2, OVER_TLS = 4 };

/* Whom an LMTP server knows. */
struct recipient {
	struct buf address;
	int verdict; /* enum lmtp_verdict */
};

struct script {
	const char *name; /* of the file */
	bool lmtp;        /* its name ends so */
	struct recipient *recipients;
	uint32_t recipient_count;
	bool defer;
	uint64_t message_max;
	struct buf user, pass, mechanisms;
	struct message *messages;
	struct step *steps;
	uint32_t message_count, step_count;
	unsigned over; /* enum script_over as bits */
	bool no_stls, no_clear, whole;
	uint64_t bad_commands, login_timeout_s, autologout_s;
};

/* Reads a transcript; on an error says what is wrong where and ends the program. */
struct script *script_read(const char *path);
void script_free(struct script *script);

#endif
