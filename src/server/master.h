/* SPDX-License-Identifier: MIT */
/*
 * The master: sockets, configuration and children, and no octet of a client's. Inside restanted only.
 *
 * One configuration is served by one *generation* of children: auth, keeper and the workers. Another
 * configuration, or another certificate, gets another generation; when all of it is ready, the old one
 * is drained: its workers serve their sessions to the end, then it goes.
 */
#ifndef SERVER_MASTER_H
#define SERVER_MASTER_H

#include "conf/conf.h"
#include "log/log.h"
#include "server/link.h"

#include <sys/stat.h>

enum {
	MASTER_WORKERS_MAX = 256,
	MASTER_GENERATIONS_MAX = 8,  /* alive at once; with more reloads the oldest is stopped */
	MASTER_FAILURES_MAX = 5,     /* ends before READY, in a row, after which a generation is given up */
	MASTER_FILES = 1 << 20,      /* RLIMIT_NOFILE, where we may set it */
	MASTER_START_MS = 30 * 1000, /* from spawn to READY */
	MASTER_STOP_WORKER_MS = 10 * 1000,
	MASTER_STOP_HELPER_MS = 20 * 1000, /* for commits that are running */
	MASTER_BACKOFF_MS = 100,           /* before the second restart in a row; doubles with each */
	MASTER_BACKOFF_MAX_MS = 5 * 1000,
	MASTER_STEADY_MS = 30 * 1000,   /* a child that lived so long begins its count anew */
	MASTER_WATCH_MS = 2 * 1000,     /* how often the certificate files are looked at */
	MASTER_KEY_MS = 60 * 60 * 1000, /* life of a TLS session ticket key */
};

/* --- master_log.c: the log file, and what children write --- */

struct log_pipe;

/* Opens the log of the configuration; the old one goes on if the new one cannot be opened. */
int log_open(const struct conf *conf, struct error *error);
/* Relays what comes from `fd` (taken over) under `name`, until the end of file. NULL: no memory; fd is
 * closed. */
struct log_pipe *log_pipe_open(uv_loop_t *loop, int fd, const char *name);
/* Relays what is still in it, and closes it. NULL is fine. */
void log_pipe_close(struct log_pipe *pipe);

/* --- master_cert.c: certificates --- */

struct cert_mark { /* which version of a file it was */
	dev_t dev;
	ino_t ino;
	off_t size;
	struct timespec modified;
};
struct cert {
	int fd; /* sealed memory file: chain and key; -1 for none */
	uint64_t octets;
	struct cert_mark chain, key;
};
struct cert_set {
	struct cert list[CONF_CERT_MAX];
	unsigned count;
};

/* Loads every pair and checks that it is one. ERR_CONFIG and a complaint for each that is not; then *ret is
 * empty, but for its marks. */
int cert_load(const struct conf *conf, struct cert_set *ret, struct conf_errors *errors);
void cert_free(struct cert_set *set);
/* Whether a file is another than it was. */
bool cert_changed(const struct conf *conf, const struct cert_set *set);

/* --- master_listen.c: listening sockets, one for each address and worker slot --- */

/* Makes what is missing for this configuration. ERR_BUSY, ERR_DENIED, ... */
int listen_open(const struct conf *conf, unsigned workers, struct error *error);
/* A copy for a worker; -1 for none. */
int listen_copy(const char *address, unsigned slot);
/* Closes what this configuration does not name; NULL: everything. */
void listen_close_others(const struct conf *conf, unsigned workers);

/* --- master_check.c --- */

/* Checks what the file cannot say: users, folders, programs. */
void check_surroundings(const struct conf *conf, const char *libexec, struct conf_errors *errors);
unsigned worker_count(const struct conf *conf);

/* --- master_process.c: one child --- */

struct generation;
struct process {
	struct generation *generation;
	enum ipc_kind kind;
	unsigned slot; /* of a worker */
	uint32_t id;   /* "worker.3" is 3; another with each start */
	pid_t pid;     /* 0: does not run */
	bool ready;
	bool told;     /* to stop or drain: its end is no surprise */
	bool hopeless; /* it ended with EX_CONFIG before READY */
	struct link *control;
	struct log_pipe *log;
	uint64_t started_ms;
	unsigned failures;      /* ends in a row without having been steady */
	unsigned early;         /* of them before READY */
	uint64_t restart_at_ms; /* 0: not to be restarted */
	uint64_t kill_at_ms;    /* 0: may go on */
};

void process_start(struct process *process);
void process_send(struct process *process, enum ipc_type type, const void *fixed);
/* DRAIN or STOP; `limit_ms` until it is killed, 0 for no limit. */
void process_tell(struct process *process, enum ipc_type type, uint64_t limit_ms);
void process_kill(struct process *process, const char *reason);
/* Waits for it without waiting: true when it has ended and is cleared away. */
bool process_reap(struct process *process);
/* A new pair of sockets between two that run. */
void process_connect(struct process *worker, struct process *helper);
/* "worker.3" */
void process_name(const struct process *process, char *to, size_t size);

/* --- master_generation.c --- */

enum generation_state {
	GENERATION_STARTING,
	GENERATION_SERVING,
	GENERATION_DRAINING, /* workers serve their sessions to the end */
	GENERATION_STOPPING_WORKERS,
	GENERATION_STOPPING_HELPERS, /* auth and keeper */
};
struct generation {
	struct generation *next; /* an older one */
	struct conf conf;
	struct cert_set certs;
	struct ipc_ticket_key ticket_key;
	enum generation_state state;
	unsigned workers;
	struct process auth, keeper;
	struct process worker[]; /* `workers` of them */
};

/* Takes over the certificates. Its processes are started. */
int generation_start(const struct conf *conf, struct cert_set *certs);
/* The generation's keeper wants a maildrop: the keepers of older ones hear of it. */
void generation_pass_on(const struct generation *generation, const struct ipc_wanted *wanted);
void generation_drain(struct generation *generation);
void generation_stop(struct generation *generation);
/* Of a child: it is ready; it has ended (and is cleared away). */
void generation_ready(struct process *process);
void generation_ended(struct process *process);
/* Sends the setup up to START. */
void generation_set_up(struct process *process);
/* Restarts, kills, and forgets what is due or over. */
void generation_attend(struct generation *generation);
/* Calls for each process that runs or will run again. */
void generation_each(struct generation *generation, void (*call)(struct process *process));

/* --- master.c --- */

struct master {
	uv_loop_t *loop;
	const char *conf_path;
	const char *libexec;
	struct generation *generations; /* the newest first */
	struct generation *serving;
	struct ipc_tls_keys tls_keys;
	uint32_t last_id;
	uint32_t last_epoch;
	bool stopping;
	bool reload_wanted; /* while a generation is starting */
	int status;         /* of restanted's exit */
};
extern struct master master;

/* Serves until it is told to stop; the exit status. */
int master_run(const struct conf *conf, struct cert_set *certs);
/* The newest generation is complete, or given up: if it is the first, restanted exits with `status`. */
void master_serving(struct generation *generation);
void master_given_up(struct generation *generation, int status, const char *reason);
/* Looks again when something may be due. */
void master_attend(void);
void master_attend_at(uint64_t at_ms);

#endif
