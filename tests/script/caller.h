/* SPDX-License-Identifier: MIT */
/*
 * The server machine's caller in a player of transcripts: it has the one account, the
 * maildrop and the clock, and hands octets over in the pieces it is told. Runs in tests only.
 */
#ifndef SCRIPT_CALLER_H
#define SCRIPT_CALLER_H

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

	uint64_t *octets; /* the listing */
	uint32_t *uid_at;
	struct buf uids;
	unsigned char *marks;

	struct buf asked_user, asked_secret; /* copies: the spans live for one step */
	bool login_name_known;               /* SASL LOGIN: the user name has come */
	struct span raw;                     /* of the message being sent: what is left of it */
	bool *removed;                       /* by a commit; NULL when there was none */

	/* injected faults */
	int login_err, commit_err;
	uint64_t commit_removed;
	int *body_err;            /* for each message */
	const struct step **body; /* for each message: another content, or NULL */
};

void caller_init(struct caller *caller, const struct script *script, const struct caller_way *way, bool tls);
void caller_finish(struct caller *caller);

/* The client sends this. */
void caller_feed(struct caller *caller, struct span octets);
/* False if the machine does not want it now. */
bool caller_start_tls(struct caller *caller);
/* Time passes, or from now on something fails. */
void caller_event(struct caller *caller, const struct step *step);

/* The wire form of a message, octet by octet as RFC 1939 says it, by other code than pop/dot. */
void wire_form(struct span raw, bool stuffed, struct buf *to);

#endif
