/* SPDX-License-Identifier: MIT */
/*
 * One session of a POP3 client under load, without I/O: octets from the server go in, octets for
 * the server and wishes come out. It goes through the steps of a profile and checks every reply.
 */
#ifndef BENCH_CLIENT_H
#define BENCH_CLIENT_H

#include "base/buf.h"
#include "base/err.h"
#include "bench/account.h"
#include "bench/body.h"
#include "bench/uids.h"

#include <stdint.h>

enum {
	CLIENT_STEPS_MAX = 12,          /* steps of a session, login and end included */
	CLIENT_WINDOW_MAX = 1000,       /* commands sent ahead of their replies */
	CLIENT_MESSAGES_MAX = 16000000, /* messages of a maildrop we are willing to list */
	CLIENT_OUT_MAX = 64 * 1024,     /* octets of commands waiting to be sent */
	CLIENT_CAPA_MAX = 1000,         /* lines of CAPA we are willing to read */
	CLIENT_UID_MAX = 70,            /* octets of a unique-id: RFC 1939 section 7 */
};

enum step {
	STEP_CLOSED, /* nothing more may come but the end of the connection */
	STEP_GREETING,
	STEP_STLS,
	STEP_USER,
	STEP_PASS,
	STEP_CAPA,
	STEP_STAT,
	STEP_LIST,
	STEP_UIDL,
	STEP_RETR, /* each message */
	STEP_DELE, /* each message */
	STEP_HOLD, /* stay, silent, until client_proceed() */
	STEP_QUIT,
	STEPS
};

/* What a session does between login and end; see profile.c. */
struct profile {
	const char *name;
	const char *summary;
	uint8_t steps[CLIENT_STEPS_MAX - 5]; /* enum step, then STEP_CLOSED */
};

extern const struct profile profiles[];
extern const unsigned profiles_count;

/* NULL: there is none of this name. */
const struct profile *profile_find(const char *name);
bool profile_has(const struct profile *profile, enum step step);

/* What all sessions of a run have in common. */
struct client_plan {
	const struct profile *profile;
	bool stls;
	uint32_t window;  /* RETR and DELE: commands sent ahead */
	uint32_t passes;  /* RETR: times each message is fetched in a session */
	int64_t messages; /* in every maildrop, when known; -1 if not */
};

enum client_wish {
	CLIENT_GO,   /* send what is in `out`, feed what comes */
	CLIENT_TLS,  /* begin TLS, then call client_proceed() */
	CLIENT_HOLD, /* logged in and silent: call client_proceed() when it is time to go */
	CLIENT_DONE, /* all said: the server closes */
};

struct client {
	const struct client_plan *plan;
	const struct account *account;
	enum client_wish wish;
	struct buf out; /* to be sent and consumed by the caller */
	/* What was done. */
	bool greeted, logged_in;
	uint64_t messages_fetched;
	uint64_t octets_fetched;
	uint64_t messages_deleted; /* once QUIT was answered */
	uint64_t
	    message_ns; /* from a RETR to the end of its reply; 0: none has ended. Consumed by the caller */
	/* Inside. */
	struct buf line;                 /* the first part of a line whose end has not come */
	uint8_t steps[CLIENT_STEPS_MAX]; /* of this session */
	uint8_t at;                      /* index of the step */
	uint8_t within;                  /* which part of a reply comes next */
	struct body body;
	uint64_t count, asked, answered; /* commands of this step */
	uint64_t due;                    /* replies that can be among the octets at hand */
	int64_t messages;                /* -1 while unknown */
	int64_t octets;                  /* of the maildrop, by STAT; -1 while unknown */
	uint64_t *sizes;                 /* by LIST */
	uint64_t listed, listed_octets, sizes_room;
	struct uids uids; /* by UIDL */
	uint64_t marked;  /* by DELE */
	uint64_t now_ns;
	uint64_t timed,
	    timed_from_ns; /* the RETR that is timed, one at a time, by its place in the step; 0: none */
};

/* Begins a session; the plan and the account must outlive it. */
void client_init(struct client *client, const struct client_plan *plan, const struct account *account);
void client_finish(struct client *client);

/* Takes octets from the server, in any split, and the time by any steady clock. A negative `enum err` ends
 * the session and says why in *error: the server broke the protocol or refused, or its figures do not agree.
 */
int client_feed(struct client *client, struct span in, uint64_t now_ns, struct error *error);

/* The connection was closed: 0 if it was time. */
int client_closed(const struct client *client, struct error *error);

/* What the client wished for, TLS or the end of the hold, has come. */
int client_proceed(struct client *client, uint64_t now_ns);

#endif
