/* SPDX-License-Identifier: MIT */
/*
 * The keeper: the process that holds maildrops. Inside of it, a peer is a worker's link, and a session is
 * what that worker opened a maildrop for, or gathers recipients of a message for.
 */
#ifndef SERVER_KEEPER_H
#define SERVER_KEEPER_H

#include "drop/drop.h"
#include "log/log.h"
#include "server/child.h"
#include "server/keeper_ticket.h"
#include "server/tally.h"

enum {
	KEEPER_FDS_PER_DROP = 2,     /* its folder and its index */
	KEEPER_LISTINGS_MAX = 256,   /* listings of long maildrops kept for their next session */
	KEEPER_FDS_PER_DELIVERY = 4, /* its file, the folder of that, and what linking it takes */
	KEEPER_ELDERS_TRIES = 5,     /* attempts to get a maildrop that an older keeper may have, */
	KEEPER_ELDERS_MS = 200,      /* with this time between them */
	KEEPER_WAIT_MS = 5000, /* how long a login waits for the end of the session that has the maildrop */
};
#define KEEPER_LISTINGS_OCTETS (UINT64_C(512) << 20) /* of memory they may take together */

struct keeper_listing {
	struct drop_identity identity;
	int fd;      /* a sealed memory file */
	uint64_t id; /* never another listing's */
	uint64_t octets, used;
};

struct keeper_listings {
	struct keeper_listing kept[KEEPER_LISTINGS_MAX];
	unsigned count, max; /* as the limit on descriptors allows */
	uint64_t octets, turn, last_id;
};

struct keeper {
	struct child *child;
	struct ipc_setup_keeper setup;
	struct drop_root root;
	struct keeper_tickets tickets;
	struct keeper_peer *peers;
	struct keeper_listings listings;
	struct tally sessions_of;     /* client networks */
	struct keeper_place **places; /* by location */
	uint32_t place_slots, place_count;
	uint32_t open;       /* maildrops open, about to be, or waited for */
	uint32_t deliveries; /* with a file */
	uint32_t
	    unfinished; /* commits, deliveries and long indexings under way: the process stays for them */
	bool stopping;
};

struct keeper_session {
	struct keeper_session *next; /* in its peer's table */
	uint64_t id;
	struct keeper_peer *peer; /* NULL: nobody waits for the answer any more */
	uint32_t worker;          /* its id, for the log */
	struct keeper *keeper;
	struct network network; /* of its client */
	struct keeper_place *place;
	struct keeper_session *place_next;
	struct drop *drop;        /* NULL while it is opened */
	struct keeper_wait *wait; /* while the login waits for another session's end, NULL */
	bool working;             /* an answer is owed */
	bool listed;              /* it has its listing, or has asked for it */
	uint8_t tries;            /* KEEPER_ELDERS_TRIES */
	bool committing;
	bool recalled;             /* its worker was asked whether it is alive */
	struct delivery *delivery; /* NULL: the session is of a maildrop */
	char account[];
};

struct keeper_peer {
	struct keeper_peer *next;
	struct keeper *keeper;
	struct link *link;
	uint32_t id;
	struct keeper_session **slots; /* sessions by id */
	uint32_t slot_count, count;    /* a power of two, or 0; sessions */
	uint32_t deliveries;           /* sessions of that kind */
	struct keeper_trays *trays;    /* shared with it, for small messages */
};

/* --- keeper_table.c --- */

struct keeper_session *keeper_find(const struct keeper_peer *peer, uint64_t id);
/* A new session of `peer`, or NULL without memory. */
struct keeper_session *keeper_add(struct keeper_peer *peer, uint64_t id, const char *account);
/* Takes a session out of its peer's table; it is the caller's then. */
void keeper_take(struct keeper_session *session);

/* One request in a disk thread. */
struct keeper_job {
	uv_work_t work;
	struct keeper_session *session;
	struct error error;
};

/* --- keeper_open.c: what workers ask for; ERR_PEER and a literal in *why for what none would --- */

int keeper_open(struct keeper_peer *peer, const struct ipc_in *in, const char **why);
int keeper_list(struct keeper_session *session, const char **why);
/* Opens the maildrop for a new session, or one that has waited; the worker gets its answer. */
void keeper_try_open(struct keeper_session *session);
/* The maildrop is not to be had: tells the worker, and ends the session. */
void keeper_turn_away(struct keeper_session *session, int err);

/* --- keeper_place.c --- */

/* From the ticket on, every session is at the place of its maildrop. ERR_NOMEM. */
int keeper_place_enter(struct keeper_session *session, const char *location);
const char *keeper_place_location(const struct keeper_session *session);
/* Returns the place, for keeper_place_changed() once the lock is given up. */
struct keeper_place *keeper_place_leave(struct keeper_session *session);
/* A session has left or is done with opening: who waits may go on. Frees a place that nobody needs. */
void keeper_place_changed(struct keeper *keeper, struct keeper_place *place);
/* Sessions of this one's account at the maildrop, those that wait and itself included. */
uint32_t keeper_count_account(const struct keeper_session *session);
/* Whether another session of ours keeps this one from opening the maildrop. */
bool keeper_is_taken(const struct keeper_session *session);
/* The maildrop is taken. 0: the session waits, and will be tried again or turned away; ERR_BUSY: there is
 * nothing to wait for; ERR_NOMEM. */
int keeper_wait(struct keeper_session *session);
/* Nobody of ours has the maildrop. True: an older keeper may, and is asked to see to that; the session is
 * tried again in a moment. */
bool keeper_ask_elders(struct keeper_session *session);
/* A younger keeper asks. */
void keeper_recall(struct keeper *keeper, const struct ipc_wanted *wanted);
/* DROP_KEEP: ERR_PEER if nobody has asked. */
int keeper_keep(struct keeper_session *session);

/* --- keeper_listing.c --- */

/* The listing of this identity, with a descriptor of the caller's own. ERR_NOTFOUND. */
int keeper_listing_find(struct keeper_listings *listings, const struct drop_identity *identity,
                        struct keeper_listing *ret);
/* Gives *listing its number, keeps it, by a descriptor of its own, and lets go of the oldest ones. */
void keeper_listing_keep(struct keeper_listings *listings, struct keeper_listing *listing);
void keeper_listings_finish(struct keeper_listings *listings);

/* --- keeper_body.c: likewise --- */

int keeper_body(struct keeper_session *session, const struct ipc_in *in, const char **why);
/* The memory for small messages. ERR_NOMEM, ERR_FULL. */
int keeper_trays_open(struct keeper_peer *peer);
/* One user less; the last one's end is theirs. */
void keeper_trays_leave(struct keeper_trays *trays);

/* --- keeper_drop.c: likewise --- */

int keeper_commit(struct keeper_session *session, struct ipc_in *in, const char **why);
/* ERR_DENIED: the maildrop is of a user that the keeper is not. */
int keeper_check_owner(const struct ticket *ticket);
/* Ends a session: at once, or when the disk has done what it is at. */
void keeper_close(struct keeper_session *session);

/* Has a thread do `work` on `data`, then the loop `after`; the session is `working` meanwhile. */
int keeper_queue(struct keeper_job *job, void *data, uv_work_cb work, uv_after_work_cb after);
/* Sends to the session's worker, which is there. */
void keeper_send(const struct keeper_session *session, enum ipc_type type, const void *fixed,
                 struct span tail, const int *fds, unsigned fd_count);
/* Begins a log line about the session. */
void keeper_log(struct log_line *line, enum log_level level, const char *event,
                const struct keeper_session *session);
/* Ends a session that is not working, and gives its maildrop back. */
void keeper_end(struct keeper_session *session);
/* --- keeper_deliver.c: likewise --- */

int keeper_deliver_to(struct keeper_peer *peer, struct keeper_session *session, const struct ipc_in *in,
                      const char **why);
void keeper_deliver_begin(struct keeper_session *session);
int keeper_deliver_commit(struct keeper_session *session, const char **why);
/* Ends a delivery, as keeper_close() does a session. */
void keeper_deliver_end(struct keeper_session *session);
/* Which messages are in turn. */
enum ipc_when keeper_deliver_when(const struct keeper_session *session);

/* --- keeper_peer.c --- */

/* Serves the worker at the other end of `fd`, which is closed in every case in the end. */
int keeper_link(struct keeper *keeper, enum ipc_kind kind, uint32_t id, int fd);
/* Ends the process, once what is unfinished is done, or what it has so far is kept. */
void keeper_stop(struct keeper *keeper);
void keeper_finished(struct keeper *keeper);

#endif
