/* SPDX-License-Identifier: MIT */
/*
 * What worker, auth and keeper have in common: the control channel to the
 * master, links to peers, the log, and an orderly end.
 */
#ifndef SERVER_CHILD_H
#define SERVER_CHILD_H

#include "server/link.h"

struct child;
struct child_ops {
	/* A control message other than PEER, START, DRAIN and STOP: SETUP_*, LISTENER, CERT, TLS_KEYS,
	 * TICKET_KEY. Non-zero ends the process with a log line. When SETUP_* comes here, child->id and the
	 * log level are set already. */
	int (*control)(struct child *child, struct ipc_in *in);
	/* Setup is complete: confine the process (os/sandbox.h) and begin to serve. Non-zero ends it. */
	int (*start)(struct child *child);
	/* A link to a peer: the child adopts `fd`, in every case. Before or after start in workers; after it
	 * elsewhere, for who hears workers is confined. Non-zero ends the process with a log line. */
	int (*peer)(struct child *child, enum ipc_kind kind, uint32_t id, int fd);
	/* DRAIN: accept nothing new. Call child_exit() when the last session has ended. NULL: ignored. */
	void (*drain)(struct child *child);
	/* STOP, or the master is gone: finish, then child_exit(). Must take less than CHILD_ORPHAN_S. */
	void (*stop)(struct child *child);
};

struct child {
	uv_loop_t *loop;
	enum ipc_kind kind;
	uint32_t id;
	struct link control;
	const struct child_ops *ops;
	void *owner;
	bool started, ended;
	int status;
};

/* Seconds an orphan may take to finish before the kernel's alarm ends it, even if its loop hangs. */
enum { CHILD_ORPHAN_S = 30 };

enum {
	CHILD_LOG_DELAY_MS = 20, /* how long a log line may wait for others; errors do not wait */
	CHILD_LOG_BATCH = 16384, /* octets of lines that wait no longer */
};

/* Runs the child until child_exit(): sets up loop, log and control channel (descriptors
 * IPC_CONTROL_FD and IPC_LOG_FD), ignores SIGPIPE, SIGXFSZ, SIGINT, SIGHUP (the master gets those). Sends
 * READY after start(). Writes the log as the limits above say. Returns the exit status. */
int child_run(enum ipc_kind kind, const struct child_ops *ops, void *owner);

/* Ends child_run() with this status (sysexits.h; the first one counts) at the end of this turn of the
 * loop. May be called in any of the ops. */
void child_exit(struct child *child, int status);

/* Tells the master that a peer broke the rules; it ends and restarts that peer. Logs it. */
void child_report_fault(struct child *child, enum ipc_kind kind, uint32_t id, const char *reason);

#endif
