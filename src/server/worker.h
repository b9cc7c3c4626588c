/* SPDX-License-Identifier: MIT */
/*
 * The worker: client sockets, TLS, sessions, deletion marks. It opens no
 * file, knows no account, and holds a maildrop only as the keeper's listing and
 * descriptors. One loop; a session has one owner and is run to its next wait in one go.
 *
 * worker.c is the process, worker_link.c its links, worker_session.c a session's octets, worker_pop.c
 * what POP3 is to it, worker_mail.c what a POP3 session asks of auth and keeper, worker_lmtp.c and
 * worker_deliver.c the same for LMTP.
 */
#ifndef SERVER_WORKER_H
#define SERVER_WORKER_H

#include "base/buf.h"
#include "lmtp/server.h"
#include "log/log.h"
#include "net/conn.h"
#include "net/listen.h"
#include "pop/server.h"
#include "server/child.h"
#include "server/tally.h"

enum {
	WORKER_IN_SIZE = 65536,  /* octets read at once, and kept for a session that cannot take them yet */
	WORKER_RAW_SIZE = 65536, /* octets of a message file read at once */
	WORKER_OUT_SIZE =
	    196608, /* octets of replies written at once, and kept for a client that does not read */
	WORKER_SEND_FILE_MIN = 16384, /* octets from which on sendfile() is cheaper than copying */
	WORKER_WAITING_MANY = 32,  /* sessions whose clients do not read; from then on each has less room */
	WORKER_UNSENT_MAX = 65536, /* octets: that much, in the kernel */
	WORKER_LISTENERS_MAX = 32,
	WORKER_ACCEPT_MAX = 16,         /* connections taken before the loop looks at others again */
	WORKER_PROBE_EVERY = 16,        /* how often a calm listener is asked for more than one */
	WORKER_TURN_OCTETS = 1048576,   /* in and out of one session before the loop looks at others again */
	WORKER_SWEEP_MS = 1000,         /* how often timeouts are looked for */
	WORKER_AHEAD_MS = 2000,         /* how long messages are kept that a client has not asked for yet */
	WORKER_FDS_OWN = 16,            /* descriptors of the worker itself, beside its listeners */
	WORKER_LISTINGS_IDLE = 64,      /* long listings kept mapped that no session has just now */
	WORKER_LISTING_IDLE_MS = 60000, /* and how long */
	WORKER_SLOT_BITS = 24, /* of a session's number: its place in the table; the rest never repeats */
};

/* Whose answer a session waits for. */
enum worker_await {
	AWAIT_NOTHING,
	AWAIT_AUTH,
	AWAIT_OPEN,
	AWAIT_LISTING,
	AWAIT_BODY,
	AWAIT_COMMIT,
	/* LMTP */
	AWAIT_RECIPIENT,
	AWAIT_FILE,
	AWAIT_DELIVERY,
};

/* What the session does next. */
enum next {
	NEXT_STEP,  /* the machine goes on */
	NEXT_READ,  /* wait until the socket is readable */
	NEXT_WRITE, /* wait until it is writable */
	NEXT_WAIT,  /* wait for auth or keeper */
	NEXT_ENDED, /* the session is gone */
};

struct session;

/* What a protocol is to a session that speaks it. */
struct protocol {
	const char *refusal; /* begins what is said instead of a greeting; the reason follows */
	bool strangers;      /* clients are unknown until they log in */
	/* The machine begins. `local`: the client is on this machine. ERR_NOMEM. */
	int (*begin)(struct session *session, bool tls, bool local);
	/* One step of the machine, and what it wishes. */
	enum next (*step)(struct session *session, struct pop_input *in, struct pop_output *out);
	/* The client took octets we had waiting. */
	void (*active)(struct session *session, uint64_t now_ms);
	bool (*expired)(const struct session *session, uint64_t now_ms);
	/* TLS that the client asked for by a command is on. NULL: there is no such command. */
	void (*tls)(struct session *session);
	/* What there is to say in the log at its end. */
	void (*describe)(const struct session *session, struct log_line *line);
	/* Gives up whatever the session holds or has asked of auth and keeper. */
	void (*release)(struct session *session);
	/* Answers of auth and keeper for the session. ERR_PEER: not in turn. */
	int (*auth)(struct session *session, struct ipc_in *in);
	int (*keeper)(struct session *session, struct ipc_in *in);
	/* They are gone. */
	void (*auth_lost)(struct session *session);
	void (*keeper_lost)(struct session *session);
};

/* A message the keeper has opened, or read, for us. */
struct worker_body {
	struct ipc_body facts;
	int fd; /* -1 when it was read: see session.here; or when facts.err says why not */
};

struct session {
	uint64_t id;
	struct worker *worker;
	const struct protocol *protocol;
	struct conn conn;
	uv_poll_t poll;
	uint8_t events; /* what is polled for: UV_READABLE, UV_WRITABLE */
	uint8_t await;  /* enum worker_await */
	bool readable;  /* the socket may hold more than we have read */
	bool shaking;   /* in the TLS handshake */
	bool stls;      /* the handshake came by STLS */
	bool opened;    /* the keeper has the maildrop open for us */
	struct pop_server machine;
	struct buf in;   /* input the machine could not take yet */
	struct buf out;  /* output the socket had no room for */
	size_t out_sent; /* octets of `out` that are gone */

	char *user;                          /* account name once logged in */
	struct worker_listing *long_listing; /* NULL while it was not needed, or when it is short */
	char *listing;                       /* a short one, from malloc; NULL likewise */
	unsigned char *marks;                /* of deletion; NULL while there is none */
	struct worker_body *ahead;           /* messages opened ahead, from ahead_at to ahead_count */
	uint8_t ahead_at, ahead_count;
	uint8_t window;       /* messages opened ahead of what the client asked for, last time */
	uint32_t last_number; /* the last one asked of the keeper */
	uint8_t reserved;     /* of worker->body_fds, for what was asked for */
	bool sending;         /* a message: */
	struct worker_body body;
	uint64_t body_at; /* its next raw octet, as an offset in the file */
	struct span here; /* what is left of the tray with small messages in it... */
	size_t here_at;   /* ...from this offset on */
	char *here_kept;  /* our memory it lies in; NULL: the tray itself, for this turn only */

	uint64_t began_ms, octets_in, octets_out;
	uint64_t moved_ms; /* when an octet last came in, went out, or was acknowledged */
	bool narrow;       /* the kernel takes less for it */
	bool stranger;     /* counted as not logged in */
	struct network network;
	uint32_t unacked; /* octets of ours that the client had not acknowledged when last looked */
	uint32_t fetched; /* bodies sent whole or in part */
	char address[NET_ADDRESS_MAX];

	struct lmtp_session *lmtp; /* NULL: POP3 is spoken */
};

/* Somebody a message is for. */
struct lmtp_recipient {
	char *address; /* as RCPT had it */
	char *account;
	uint8_t verdict; /* enum lmtp_verdict, when it has come */
	uint64_t raw;    /* octets of the file */
};

/* What a session has that speaks LMTP. */
struct lmtp_session {
	struct lmtp_server machine;
	struct lmtp_recipient
	    *recipients;      /* LMTP_RECIPIENTS_MAX have room; the last one may be looked up yet */
	uint32_t count;       /* accepted */
	uint32_t heard, told; /* of their verdicts: come, and passed on */
	bool begun;           /* the keeper knows of the delivery */
	bool committed;       /* and was told that the file is filled */
	int fd;               /* the message's file, -1 */
	uint32_t delivered;   /* messages, for the log: one for each recipient */
	uint64_t data_ms;     /* when DATA came */
};

/* A long listing. */
struct worker_listing {
	struct worker_listing *next;
	uint64_t id; /* the keeper's; 0: of a keeper that is gone */
	const char *map;
	uint64_t size, left_ms; /* when the last session left it */
	uint32_t sessions;
};

struct worker_listener {
	struct worker *worker;
	uv_poll_t poll;
	const struct protocol *protocol;
	int fd;
	bool tls;
	bool listening; /* polled; not while no descriptor is left for a connection */
	bool busy;      /* several connections were waiting last time */
	unsigned calm;  /* readinesses with one */
	char address[IPC_LISTEN_MAX];
};

struct worker {
	struct child *child;
	struct ipc_setup_worker setup;
	struct pop_server_conf conf;
	struct lmtp_server_conf lmtp_conf;
	struct tls *tls;
	struct worker_listener listeners[WORKER_LISTENERS_MAX];
	unsigned listener_count;
	struct link *auth, *keeper; /* NULL while there is none */
	const char *trays;          /* the keeper's, for small messages: ipc/message.h */
	uint32_t returned_trays;    /* to be given back with the next request */
	struct worker_listing *listings;
	uv_timer_t sweep;
	bool draining, stopping;

	struct session **slots; /* setup.max_sessions of them */
	uint32_t *free_slots;   /* a stack of free_count */
	uint32_t free_count;
	uint32_t session_count;
	uint32_t waiting;          /* sessions that wait for their clients to read */
	uint32_t strangers;        /* sessions that have not logged in */
	struct tally strangers_of; /* networks */
	bool short_of_memory;
	uint32_t session_max;            /* setup.max_sessions, or what the limit on descriptors allows */
	uint32_t body_fds, body_fds_max; /* descriptors of messages: promised, and allowed */
	uint32_t deliveries;             /* the keeper knows of */
	uint64_t serial;                 /* sessions begun so far */

	char in[WORKER_IN_SIZE], raw[WORKER_RAW_SIZE], out[WORKER_OUT_SIZE]; /* of the session being run */
};

/* --- worker.c --- */

/* The session with this number, or NULL when it has ended. */
struct session *worker_find(struct worker *worker, uint64_t id);
/* A session has ended: its place is free, and a draining worker may be done. */
void worker_forget(struct worker *worker, struct session *session);

/* --- worker_limit.c --- */

/* Why nobody may come in from there now; NULL: welcome. */
const char *limit_admit(const struct worker *worker, const struct protocol *protocol,
                        const struct network *network);
/* A session has begun. */
void limit_enter(struct session *session);
/* The session is a stranger no more, or no more. */
void limit_leave(struct session *session);
/* Looks how much memory there is in use. */
void limit_measure(struct worker *worker);

/* --- worker_session.c --- */

/* Takes over the connection; on failure it is closed. */
void session_begin(struct worker *worker, const struct worker_listener *listener, int fd,
                   const struct sockaddr *address);
/* Runs the session as far as it goes. It may have ended (and be freed) afterwards. */
void session_run(struct session *session);
/* So many octets went out. */
void session_sent(struct session *session, size_t count);
/* Looks whether the client has taken something of what is on its way to it. */
void session_note_progress(struct session *session);
/* Nothing has come from the client's machine for long, though octets are on their way to it. */
bool session_is_lost(const struct session *session);
/* Another session of the account wants the maildrop. False: this one has ended, because its client is gone,
 * is idle, or had said QUIT. */
bool session_keeps(struct session *session);
/* Ends it now: no update, unless one is done already. `result` is for the log. */
void session_end(struct session *session, const char *result);

/* For protocols. Each says what the session does next, or NEXT_STEP: it is done. */

/* session_end() */
enum next session_over(struct session *session, const char *result);
/* Sends the output; what the socket does not take is kept. `more`: further octets follow at once. */
enum next session_flush(struct session *session, struct pop_output *out, bool more);
/* Writes octets until done or the socket is full (ERR_AGAIN); *ret_sent says how far it got. */
int session_write(struct session *session, struct span octets, bool more, size_t *ret_sent);
/* More input, behind what there is. */
enum next session_read(struct session *session, struct pop_input *in);
enum next session_start_tls(struct session *session, struct pop_output *out);
/* Waits for auth or keeper; what is answered already is not held back meanwhile. */
enum next session_wait(struct session *session, struct pop_output *out);
/* All is said: sends it and ends. When the client has not asked for it there may be more from it on its way,
 * and closing on unread octets would take our last word from it. */
enum next session_close(struct session *session, struct pop_output *out, bool asked);

/* --- worker_pop.c --- */

extern const struct protocol protocol_pop;

/* --- worker_listing.c --- */

/* The listing of this number for one more session: `fd`, a sealed memory file, is mapped unless it is
 * already. ERR_PEER, ERR_NOMEM, ... */
int listing_take(struct worker *worker, uint64_t id, int fd, uint64_t size, struct worker_listing **ret);
/* A session needs it no more. NULL is fine. */
void listing_leave(struct worker *worker, struct worker_listing *listing);
/* Lets go of those that nobody has needed for long. */
void listings_sweep(struct worker *worker, uint64_t now_ms);
/* The keeper is gone: the next one numbers its listings anew. */
void listings_forget(struct worker *worker);

/* --- worker_mail.c --- */

/* The machine's wishes. True: there is an answer already, go on; false: wait. */
bool mail_login(struct session *session);
bool mail_sasl(struct session *session);
void mail_cancel(struct session *session);
bool mail_commit(struct session *session);
bool mail_listing(struct session *session);
bool mail_marks(struct session *session);
/* Gives up whatever the session holds or has asked for. */
void mail_release(struct session *session);

/* --- worker_body.c --- */

/* The machine wants a message. True: it has it, or never will; false: wait. `input` is what the client has
 * sent beyond that. */
bool body_ask(struct session *session, struct span input);
/* The message is sent. */
void body_done(struct session *session);
/* Takes octets of a small message from the front of session->here. */
void body_take_here(struct session *session, size_t count);
/* The client does nothing: gives up what was read ahead for it. */
void body_rest(struct session *session);
/* Gives up all messages. */
void body_release(struct session *session);
/* Answers of the keeper; `session` is NULL when it has ended. ERR_PEER. */
int body_answer(struct worker *worker, struct session *session, struct ipc_in *in);
int body_take_trays(struct worker *worker, const struct ipc_in *in);
void body_keeper_gone(struct worker *worker);

/* struct protocol */
int mail_auth(struct session *session, struct ipc_in *in);
int mail_keeper(struct session *session, struct ipc_in *in);
void mail_auth_lost(struct session *session);
void mail_keeper_lost(struct session *session);

/* --- worker_lmtp.c --- */

extern const struct protocol protocol_lmtp;

/* --- worker_deliver.c --- */

/* The machine's wishes, as for POP3. */
bool deliver_recipient(struct session *session);
bool deliver_data(struct session *session);
void deliver_octets(struct session *session, struct pop_input *in);
bool deliver_verdict(struct session *session);
/* The transaction is over: gives up whatever belongs to it. */
void deliver_forget(struct session *session);

/* struct protocol */
int deliver_auth(struct session *session, struct ipc_in *in);
int deliver_keeper(struct session *session, struct ipc_in *in);
void deliver_auth_lost(struct session *session);
void deliver_keeper_lost(struct session *session);

/* --- worker_link.c --- */

/* A link to auth or keeper; takes over `fd`. */
int worker_link(struct worker *worker, enum ipc_kind kind, uint32_t id, int fd);

#endif
