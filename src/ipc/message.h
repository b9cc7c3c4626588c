/* SPDX-License-Identifier: MIT */
/*
 * The messages between our processes: one row each in message.c saying who may
 * send it to whom, its fixed size, how long its tail may be, how many
 * descriptors ride on it, and in which states of a session it is in turn. The
 * channel refuses, in both directions, what its row does not allow; a peer that
 * sends such a message is reported to the master, ended and started anew.
 *
 * A message is a struct ipc_head, the fixed struct of its row, and a tail. All
 * processes are one build on one machine: structs travel as they are.
 */
#ifndef IPC_MESSAGE_H
#define IPC_MESSAGE_H

#include "base/network.h"
#include "base/span.h"
#include "ipc/ticket.h"

#include <stdbool.h>
#include <stdint.h>

enum ipc_kind { IPC_MASTER, IPC_WORKER, IPC_AUTH, IPC_KEEPER, IPC_KINDS };

enum ipc_type {
	/* control: the master and each child, over descriptor IPC_CONTROL_FD */
	IPC_SETUP_WORKER,
	IPC_SETUP_AUTH,
	IPC_SETUP_KEEPER,
	IPC_LISTENER,   /* + listening socket */
	IPC_CERT,       /* + sealed memory file: PEM chain and key */
	IPC_TLS_KEYS,   /* session ticket keys, the same for every worker */
	IPC_TICKET_KEY, /* for auth and keeper only: what seals login tickets */
	IPC_PEER,       /* + one end of a socket pair to another process */
	IPC_START,      /* setup is complete: confine yourself and serve */
	IPC_DRAIN,      /* accept nothing new, exit when the last session has ended */
	IPC_STOP,       /* finish what is being made durable, then exit */
	IPC_READY,      /* child: confined and serving */
	IPC_PEER_FAULT, /* child: that peer broke the rules */
	IPC_WANTED,     /* keeper: one of your elders may have this maildrop, */
	IPC_RECALL,     /* who is told so: see DROP_RECALL */
	/* worker and auth */
	IPC_AUTH_BEGIN,     /* tail: user NUL password (AUTH_METHOD_PASSWORD) or the initial response */
	IPC_AUTH_STEP,      /* tail: the client's response, decoded */
	IPC_AUTH_CANCEL,    /* the client sent "*" or is gone; no answer; may cross one, so always in turn */
	IPC_AUTH_CHALLENGE, /* tail: the server's challenge, not encoded */
	IPC_AUTH_LOOKUP,    /* tail: the address of a recipient; answered by AUTH_OK or AUTH_FAIL */
	IPC_AUTH_OK,        /* a ticket for the keeper; ends the exchange */
	IPC_AUTH_FAIL,      /* ends the exchange */
	/* worker and keeper */
	IPC_DROP_TRAYS,  /* + memory file for small messages; once, before all else */
	IPC_DROP_OPEN,   /* a ticket: lock and list the maildrop */
	IPC_DROP_OPENED, /* a short listing as tail, a long one that is at hand as sealed memory file, or none
	                    yet */
	IPC_DROP_FAILED, /* not opened, not locked */
	IPC_DROP_LISTING,   /* the listing, when it did not come with DROP_OPENED; once */
	IPC_DROP_LISTED,    /* + sealed memory file, or why not */
	IPC_DROP_BODY,      /* tail: uint32_t message numbers, 1 to IPC_BODIES_MAX of them */
	IPC_DROP_BODIES,    /* tail: struct ipc_body for the numbers asked, or for the first of them, + a
	                     * descriptor for each good one that is not IPC_BODY_HERE */
	IPC_DROP_COMMIT,    /* deletion bitmap inline as tail, or as one sealed memory file */
	IPC_DROP_COMMITTED, /* durable, or not; the maildrop is closed either way */
	IPC_DROP_CLOSE,    /* the session ended without update; no answer; may cross one, so always in turn */
	IPC_DROP_RECALL,   /* somebody else of this account wants the maildrop: is the session still alive? */
	IPC_DROP_KEEP,     /* it is; a session that is not gets DROP_CLOSE instead. May cross an end */
	IPC_DELIVER_TO,    /* a ticket: one more recipient of the message to come; no answer */
	IPC_DELIVER_BEGIN, /* those were all: a file for the message */
	IPC_DELIVER_FILE,  /* + the file, to be filled; without: there is none, and the delivery is over */
	IPC_DELIVER_COMMIT, /* the file is filled and closed: deliver it */
	IPC_DELIVERED,   /* durable, or not: one for each recipient, in order; the last ends the delivery */
	IPC_DELIVER_END, /* forget it; no answer; may cross one, so always in turn */
	IPC_TYPES
};

enum {
	IPC_CONTROL_FD = 3,   /* a child's channel to the master */
	IPC_LOG_FD = 4,       /* a child's log pipe */
	IPC_TAIL_MAX = 32768, /* octets of the longest tail; more goes into a memory file */
	IPC_FDS_MAX = 32,
	IPC_BODIES_MAX = IPC_FDS_MAX, /* message numbers in one request */
	IPC_TRAYS = 16,               /* answers with small messages that a worker has not dealt with yet */
	IPC_TRAY_SIZE = 131072,       /* octets of them in one answer */
	IPC_TRAY_NONE = IPC_TRAYS,
	IPC_HOSTNAME_MAX = 256,
	IPC_PATH_MAX = 1024,
	IPC_ADDR_MAX = 64,    /* "[2001:db8::1]:65535" and a NUL */
	IPC_LISTEN_MAX = 128, /* "unix:/run/restante/lmtp" and a NUL */
	IPC_TLS_KEY_SIZE = 80,
	IPC_MECHANISMS_MAX = 256,
	IPC_AUTH_NAME_MAX = 24,    /* SASL mechanism names are at most 20 octets */
	IPC_AUTH_TAIL_MAX = 16384, /* octets of a SASL message, decoded */
	IPC_MAILBOX_MAX = 320,     /* octets of a recipient's address */
	IPC_RECIPIENTS_MAX = 100,  /* of one message */
	IPC_DELIVERIES_MAX = 4096, /* of one worker */
	IPC_MESSAGE_EXTRA = 4096,  /* octets of lines a message gets on its way in, at most */
	IPC_DELIMITER_MAX = 8,
	IPC_DOMAINS_MAX = 1024,
};

/* States in which a session-bound message is in turn, as the receiver sees the session. */
enum ipc_when {
	IPC_WHEN_ANY = 0,     /* not bound to a session */
	IPC_WHEN_ABSENT = 1,  /* no such session here yet */
	IPC_WHEN_WAITING = 2, /* auth: a challenge is out; keeper: the maildrop is open, nothing asked */
	IPC_WHEN_WORKING = 4, /* an answer is owed */
	/* keeper, of deliveries */
	IPC_WHEN_GATHERING = 8,   /* recipients are being named */
	IPC_WHEN_FILLING = 16,    /* the file is with the worker */
	IPC_WHEN_DELIVERING = 32, /* an answer is owed */
};

struct ipc_row {
	const char *name;
	uint8_t from, to; /* enum ipc_kind as bits */
	uint8_t fds_min, fds_max;
	uint8_t when;   /* enum ipc_when as bits, for the messages a worker sends */
	bool control;   /* about no session */
	bool secret;    /* may hold a password or key: copies are wiped */
	uint32_t fixed; /* octets of the fixed struct, exactly */
	uint32_t tail_max;
	/* Whether fixed part, tail and number of descriptors belong together; NULL: nothing to check. */
	bool (*fits)(const void *fixed, struct span tail, unsigned fd_count);
};

extern const struct ipc_row ipc_rows[IPC_TYPES];

struct ipc_head {
	uint32_t type;    /* enum ipc_type */
	uint32_t unused;  /* zero */
	uint64_t session; /* the worker's number for the session, never reused; 0 in control messages */
};

/* Where the tail begins, counted from the end of the head: the fixed part's size rounded up to 8, so that
 * structs in a tail are aligned. The octets between are zero. */
static inline size_t ipc_tail_at(const struct ipc_row *row)
{
	return (row->fixed + 7u) & ~(size_t)7u;
}

/* The checks of a row on a message from `from` to `to`: who, session number, lengths, descriptors, reserved
 * octets, terminated strings, and `fits`. NULL when the message is well-formed, else why not (a literal).
 * `fixed` is aligned to 8 and has the row's size. */
const char *ipc_find_flaw(enum ipc_type type, enum ipc_kind from, enum ipc_kind to, uint64_t session,
                          const void *fixed, struct span tail, unsigned fd_count);

/* --- fixed parts; a message without one below has none --- */

struct ipc_setup_worker {
	uint32_t id; /* "worker.3" is id 3; unique over the life of the master */
	uint32_t max_sessions;
	uint32_t login_timeout_ms; /* before login */
	uint32_t autologout_ms;    /* after login, at least 600,000 unless a test says otherwise */
	uint32_t dead_peer_ms;     /* without an answer from the client's machine */
	uint32_t takeover_ms;      /* without an octet moved, a session gives way to another; 0: never */
	uint32_t bad_commands_max;
	uint32_t strangers_max;    /* sessions that have not logged in */
	uint32_t strangers_of_max; /* those of one network; 0: no limit */
	uint64_t memory_max;       /* octets from which on nobody is let in; 0: no limit */
	uint8_t cleartext_always;  /* 1: passwords in clear from anywhere; 0: TLS or loopback only */
	uint8_t log_level;
	uint8_t over_quota_defers; /* LMTP: a full maildrop is a temporary failure */
	uint8_t lmtp_remote;       /* 1: mail is taken from other machines too */
	uint32_t lmtp_idle_ms;
	uint64_t message_max;                /* octets of a message by LMTP; 0 for no limit */
	char hostname[IPC_HOSTNAME_MAX];     /* what LMTP greets with */
	char mechanisms[IPC_MECHANISMS_MAX]; /* SASL mechanisms, separated by spaces, best first */
	char empty_root[IPC_PATH_MAX];       /* chroot here when root; "" for none */
	uint32_t uid, gid;                   /* become this; (uint32_t)-1 for no change */
};

struct ipc_setup_auth {
	uint32_t id;
	uint32_t uid, gid;
	uint32_t hash_threads;
	uint32_t hash_queue_max; /* logins waiting for a hash; more are told to try later */
	uint32_t cache_ms;       /* life of a verified login; 0 for no cache */
	uint8_t log_level;
	uint8_t lmtp; /* 1: mail comes in, so recipients may be looked up */
	uint8_t reserved[2];
	uint64_t quota_octets, quota_messages; /* of accounts without their own; 0 for no limit */
	char delimiter[IPC_DELIMITER_MAX];     /* between a name and a detail in an address; "" for none */
	char domains[IPC_DOMAINS_MAX]; /* whose accounts are named without their domain, separated by spaces;
	                                * "*" for all */
	char accounts[IPC_PATH_MAX];   /* the SQLite file */
	char location[IPC_PATH_MAX];   /* pattern for accounts without their own, e.g. maildir:/srv/mail/%u */
};

struct ipc_setup_keeper {
	uint32_t id;
	uint32_t uid, gid;
	uint32_t threads;     /* disk threads */
	uint32_t max_open;    /* maildrops open at once, all workers together */
	uint32_t per_account; /* of one account */
	uint32_t per_network; /* of one client network; 0: no limit */
	uint32_t elders;      /* 1: an older keeper may have maildrops */
	uint8_t log_level;
	uint8_t shared;                                /* 1: several sessions may have a maildrop at once */
	uint8_t mbox_keep_quotes, mbox_content_length; /* struct drop_mbox_rules */
	uint32_t max_deliveries;      /* messages on their way in at once, all workers together */
	uint64_t message_max;         /* octets of a message by LMTP; 0 for no limit */
	char mail_root[IPC_PATH_MAX]; /* every maildrop lies below it */
};

struct ipc_listener {
	uint8_t tls;  /* implicit TLS (RFC 8314) */
	uint8_t lmtp; /* LMTP, not POP3 */
	uint8_t reserved[6];
	char address[IPC_LISTEN_MAX]; /* for the log */
};

struct ipc_cert {
	uint64_t octets; /* length of the memory file: PEM, the chain and then the key */
};

struct ipc_tls_keys {
	uint8_t current[IPC_TLS_KEY_SIZE];
	uint8_t previous[IPC_TLS_KEY_SIZE]; /* accepted, not issued */
};

struct ipc_ticket_key {
	uint32_t epoch; /* grows by one with each key */
	uint8_t key[TICKET_KEY_SIZE];
};

struct ipc_peer {
	uint32_t kind; /* enum ipc_kind of the other end */
	uint32_t id;
};

struct ipc_peer_fault {
	uint32_t kind, id;
	char reason[128]; /* NUL-terminated, printable */
};

struct ipc_wanted {
	char account[TICKET_ACCOUNT_MAX];
	char location[TICKET_LOCATION_MAX];
};

enum ipc_auth_method { IPC_AUTH_PASSWORD, IPC_AUTH_SASL };

struct ipc_auth_begin {
	uint8_t method;      /* enum ipc_auth_method */
	uint8_t has_initial; /* SASL: the tail is an initial response, perhaps empty */
	uint8_t tls;
	uint8_t reserved;
	char mechanism[IPC_AUTH_NAME_MAX]; /* upper case, NUL-terminated; SASL only */
	char address[IPC_ADDR_MAX];        /* of the client, for the log */
};

struct ipc_auth_ok {
	struct ticket ticket;
};

struct ipc_auth_fail {
	int32_t err; /* ERR_CREDENTIALS; ERR_SYNTAX: not what the mechanism expects; ERR_UNSUPPORTED: no such
	              * mechanism; ERR_FULL: too many logins waiting; of a lookup: ERR_NOTFOUND; ERR_DENIED:
	              * the account is disabled; else a temporary failure */
};

struct ipc_drop_open {
	struct ticket ticket;
	struct network network; /* of the client */
};

/* A listing is a block as pop/listing.h has it. */
struct ipc_drop_opened {
	uint32_t count;
	uint32_t reserved;
	uint64_t octets; /* of all messages, on the wire */
	uint64_t
	    listing_octets;  /* length of the listing, as tail or in the memory file; 0: to be asked for */
	uint64_t listing_id; /* of a memory file: the same number is the same listing; else 0 */
};

struct ipc_drop_listed {
	int32_t err; /* 0, then the descriptor is there */
	uint32_t reserved;
	uint64_t listing_octets; /* length of the memory file */
	uint64_t listing_id;     /* likewise */
};

struct ipc_drop_failed {
	int32_t err; /* ERR_BUSY: locked by another session; ERR_CROWDED; ERR_DENIED: the ticket is stale;
	              * ERR_FULL; ERR_CORRUPT: needs an administrator; else temporary */
};

/* Small messages are not worth a descriptor each. The keeper shares a memory file with each worker, which the
 * worker can only read, cut into IPC_TRAYS of IPC_TRAY_SIZE octets. An answer may use a tray that is free;
 * the worker gives it back with a later request, of any session. */
struct ipc_drop_body {
	uint32_t count;
	uint32_t returned; /* trays dealt with since the last request: tray n is bit n */
};

enum ipc_body_flag {
	IPC_BODY_CRLF = 1,    /* every line end is CRLF already, the last line included */
	IPC_BODY_NO_DOTS = 2, /* no line begins with a dot: nothing to stuff */
	IPC_BODY_HERE = 4,    /* a small message: its octets are in the answer's tray */
};

struct ipc_body {
	uint32_t number;
	int32_t err; /* 0, then a descriptor follows; ERR_NOTFOUND, ERR_CHANGED, ERR_NOTREGULAR, ERR_DENIED,
	                ... */
	uint64_t offset; /* where the message begins in the file, octets; IPC_BODY_HERE: in the tray */
	uint64_t length; /* raw octets from there */
	uint64_t wire;   /* octets on the wire, as listed */
	uint64_t header; /* raw octets of the header with its blank line */
	uint32_t flags;  /* enum ipc_body_flag */
	uint32_t reserved;
};

struct ipc_drop_bodies {
	uint32_t count;
	uint32_t tray; /* IPC_TRAY_NONE when no body is IPC_BODY_HERE */
};

struct ipc_deliver_to {
	struct ticket ticket;
};

struct ipc_deliver_file {
	int32_t
	    err; /* 0, then a descriptor follows; ERR_FULL: too many at once; else no file could be made */
};

struct ipc_delivered {
	uint32_t recipient; /* counted from 0 */
	int32_t err;        /* 0: the message is in the maildrop, durably; ERR_QUOTA; ERR_NOSPACE; ... */
	uint64_t raw;       /* octets of its file */
};

struct ipc_drop_commit {
	uint32_t count; /* messages to delete: the bits set */
	uint32_t total; /* messages in the snapshot: the bitmap has (total + 7) / 8 octets, bit n-1 is message
	                 * n, bit 0 of octet 0 is message 1; there is none when there is nothing to delete */
};

struct ipc_drop_committed {
	int32_t err;      /* 0: every deletion is durable */
	uint32_t removed; /* messages that are gone now */
};

#endif
