/* SPDX-License-Identifier: MIT */
/*
 * The configuration file: one table of option rows (option.c) drives the loader
 * (libconfuse), -t, -T and the check of the manual page. Used by the master and by
 * `restante`.
 */
#ifndef CONF_CONF_H
#define CONF_CONF_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum {
	CONF_LISTEN_MAX = 16,
	CONF_CERT_MAX = 32,
	CONF_ERRORS_MAX = 50,     /* complaints in one go */
	CONF_OPTIONS_MAX = 96,    /* rows of the table */
	CONF_VALUE_MAX = 1024,    /* octets of a value with its NUL */
	CONF_ADDRESS_MAX = 128,   /* octets of an address with its NUL */
	CONF_FILE_MAX = 1 << 20,  /* octets of the file */
	CONF_COMPLAINT_MAX = 400, /* octets of a complaint with its NUL */
};

/* listen.protocol */
enum conf_protocol { CONF_POP3, CONF_LMTP };

/* lmtp.over_quota: what a full maildrop is to a message. */
enum conf_over_quota { CONF_REJECT, CONF_DEFER };

/* maildrop.sharing: who may have a maildrop at once. */
enum conf_sharing { CONF_EXCLUSIVE, CONF_SNAPSHOT };
enum conf_mbox { CONF_MBOXRD, CONF_MBOXO };

struct conf_listen {
	unsigned line;     /* where its section ends in the file */
	bool tls;          /* implicit TLS */
	uint64_t protocol; /* enum conf_protocol */
	char
	    address[CONF_ADDRESS_MAX]; /* "127.0.0.1:1110", "[::1]:995", "*:110", "unix:/run/restante/lmtp" */
	char mode[8];                  /* of a Unix socket, octal */
	char group[64];                /* of a Unix socket; "": of who makes it */
};
#define CONF_UNIX "unix:"

struct conf_cert {
	unsigned line;
	char chain[CONF_VALUE_MAX]; /* PEM: certificate, then intermediates */
	char key[CONF_VALUE_MAX];   /* PEM */
};

struct conf {
	struct conf_listen listen[CONF_LISTEN_MAX];
	uint64_t listen_count;
	struct conf_cert cert[CONF_CERT_MAX];
	uint64_t cert_count;
	uint64_t workers; /* 0: one per core */
	uint64_t worker_max_sessions;
	uint64_t login_timeout_s;
	uint64_t autologout_s;
	uint64_t bad_commands_max;
	bool cleartext_always;
	uint64_t auth_cache_s;
	uint64_t hash_threads;
	uint64_t hash_queue_max;
	uint64_t keeper_threads;
	uint64_t max_open;
	uint64_t max_deliveries;
	char lmtp_hostname[256]; /* "": the system's */
	bool lmtp_remote;
	uint64_t message_max; /* 0: no limit */
	uint64_t over_quota;  /* enum conf_over_quota */
	uint64_t lmtp_idle_s;
	char delimiter[8];
	char lmtp_domains[CONF_VALUE_MAX]; /* separated by spaces */
	uint64_t takeover_s;               /* 0: only when the connection is gone */
	uint64_t dead_peer_s;
	uint64_t per_account, per_address;        /* sessions */
	uint64_t strangers_max, strangers_of_max; /* connections that have not logged in */
	uint64_t worker_memory;                   /* octets; 0: no limit */
	uint64_t sharing;                         /* enum conf_sharing */
	char worker_user[CONF_VALUE_MAX], auth_user[CONF_VALUE_MAX], keeper_user[CONF_VALUE_MAX];
	char mechanisms[256];          /* SASL, separated by spaces, best first */
	char accounts[CONF_VALUE_MAX]; /* SQLite file */
	char mail_root[CONF_VALUE_MAX];
	char mail_location[CONF_VALUE_MAX]; /* pattern */
	uint64_t mbox_quoting;              /* enum conf_mbox */
	bool mbox_content_length;
	uint64_t quota_octets, quota_messages; /* of an account that has none of its own; 0: none */
	char empty_root[CONF_VALUE_MAX];       /* "": the worker's root stays */
	char log_file[CONF_VALUE_MAX];         /* "-": standard error */
	uint64_t log_level;                    /* enum log_level */
	unsigned lines[CONF_OPTIONS_MAX];      /* by row: where the option is set, 0 for its default */
};

struct conf_complaint {
	unsigned line; /* 0: of no line */
	bool warning;  /* good enough to run with */
	char text[CONF_COMPLAINT_MAX];
};

struct conf_errors {
	unsigned count;  /* complaints kept */
	unsigned errors; /* of them no warnings, and those that had no room */
	struct conf_complaint list[CONF_ERRORS_MAX];
};

/* Loads the file over the defaults. 0, perhaps with warnings; ERR_CONFIG and every complaint,
 * in the order of the lines. ERR_NOTFOUND, ERR_DENIED, ERR_IO: the file cannot be read (one complaint
 * says so). *ret is written in every case: on failure only what was understood. Only one at a time. */
int conf_load(const char *path, struct conf *ret, struct conf_errors *ret_errors);

/* One more complaint, by who checks further: about the option of row `name` ("worker.user"). */
void conf_complain(struct conf_errors *errors, unsigned line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
unsigned conf_line(const struct conf *conf, const char *name);

/* Writes the complaints as "FILE:LINE: text", errors marked as such. */
void conf_print_errors(const struct conf_errors *errors, const char *path, FILE *to);

/* Writes every setting in the syntax of the file; loading that gives the same again. */
void conf_print(const struct conf *conf, FILE *to);

#endif
