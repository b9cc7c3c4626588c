/* SPDX-License-Identifier: MIT */
/*
 * The server machine's caller in a player of transcripts: it has the one account, the
 * maildrop and the clock, and hands octets over in the pieces it is told. Runs in tests only.
 */
#ifndef SCRIPT_CALLER_H
#define SCRIPT_CALLER_H

#include "lmtp/server.h"
#include "pop/server.h"
#include "script/script.h"

enum caller_split { SPLIT_NONE, SPLIT_OCTETS, SPLIT_RANDOM };

struct caller_way {
	enum caller_split split;
	unsigned seed;
	size_t usual; /* SPLIT_RANDOM: octets of most pieces, at most */
};

struct caller {
	const struct script *script;
	struct caller_way way;
	struct pop_server_conf conf;
	struct pop_server server;
	uint64_t now_ms;
	struct buf in;      /* an unfinished line the machine left over */
	struct buf got;     /* all the server has sent */
	enum pop_want want; /* when it last stopped */
	bool closed;
	const char *fault; /* the machine broke its word */

	uint64_t *octets; /* what the listing is made of */
	uint32_t *uid_at;
	struct buf uids;
	char *listing;
	uint64_t listing_size;
	unsigned char *marks; /* NULL while none were asked for */

	struct buf asked_user, asked_secret; /* copies: the spans live for one step */
	bool login_name_known;               /* SASL LOGIN: the user name has come */
	struct span raw;                     /* of the message being sent: what is left of it */
	bool *removed;                       /* by a commit; NULL when there was none */

	/* injected faults */
	int login_err, commit_err;
	uint64_t commit_removed;
	int *body_err;            /* for each message */
	const struct step **body; /* for each message: another content, or NULL */

	/* a caller of the LMTP machine */
	struct lmtp_server_conf lmtp_conf;
	struct lmtp_server lmtp;
	struct buf accepted;  /* recipients of this transaction, one a line */
	size_t judged;        /* octets of it that have their verdict */
	struct buf stored;    /* the message */
	struct buf delivered; /* as `accepted`: who got the last message */
	enum lmtp_verdict data_verdict, write_verdict;
	const struct step *one_verdict; /* of one recipient, when the message is there */
};

void caller_init(struct caller *caller, const struct script *script, const struct caller_way *way, bool tls);
void caller_finish(struct caller *caller);

/* The client sends this. */
void caller_feed(struct caller *caller, struct span octets);
/* False if the machine does not want it now. */
bool caller_start_tls(struct caller *caller);
/* Time passes, or from now on something fails. */
void caller_event(struct caller *caller, const struct step *step);

/* --- between caller.c and caller_lmtp.c --- */

/* A number from 1 to `max` by the way of this playing. */
size_t caller_piece(struct caller *caller, size_t max);
bool caller_coin(struct caller *caller);
/* Memory of exactly this size, so that a sanitizer sees one octet too many. */
char *caller_copy(struct span octets);
void caller_keep(struct buf *to, struct span octets);
void caller_take_output(struct caller *caller, struct pop_output *out);

void lmtp_caller_init(struct caller *caller);
void lmtp_caller_finish(struct caller *caller);
/* One step of the machine and what it wants; false: it waits for the client. */
bool lmtp_caller_step(struct caller *caller, struct pop_input *in, struct pop_output *out);
bool lmtp_caller_event(struct caller *caller, const struct step *step);

/* The wire form of a message, octet by octet as RFC 1939 says it, by other code than pop/dot. */
void wire_form(struct span raw, bool stuffed, struct buf *to);

#endif
