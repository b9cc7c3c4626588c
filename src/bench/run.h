/* SPDX-License-Identifier: MIT */
/* A run: many sessions at once against one server, on one thread. Used by restante-bench. */
#ifndef BENCH_RUN_H
#define BENCH_RUN_H

#include "bench/account.h"
#include "bench/session.h"

enum {
	RUN_LOGINS_MAX = 64, /* sessions that log in at the same time while the idle profile fills up */
	RUN_CONNECTIONS_MAX = 1000000,
	RUN_SOURCES_MAX = 256,
	RUN_RATE_MAX = 1000000, /* sessions for a second */
	RUN_PIECES = 100,       /* pieces the course of a run with a known end is cut into, */
	RUN_PIECE_MIN_MS = 100, /* but none shorter, */
	RUN_PIECE_MAX_MS = 1000 /* and none longer */
};

struct run_plan {
	struct client_plan client;
	enum security security;
	bool resume; /* resume TLS sessions */
	struct sockaddr_storage address;
	socklen_t address_len;
	struct sockaddr_storage sources[RUN_SOURCES_MAX]; /* taken in turn */
	unsigned sources_count;                           /* 0: the kernel chooses */
	unsigned connections;                             /* at most, at the same time */
	unsigned rate;        /* sessions that are due in a second, whatever becomes of the others; 0: each
	                       * connection begins a session when its last one is over */
	uint64_t sessions;    /* end after so many; 0: no such end */
	uint64_t duration_ms; /* begin no session after so long, or hold so long; 0: no such end */
	uint64_t timeout_ms;  /* of silence, after which a session has failed */
	uint64_t errors_max;  /* sessions that fail before the run is given up; 0: any number */
	const struct accounts *accounts;
	unsigned per_account; /* sessions at once for each */
};

/* How it goes, once a second. */
struct run_view {
	const struct tally *tally;
	double seconds;
	unsigned active, held;
	bool ending;
};
typedef void run_watcher(const struct run_view *view);

/* Runs until the plan's end, or until SIGINT or SIGTERM and the sessions that have begun are through; at the
 * second signal it ends at once. The tally is the caller's, zeroed, and written in any case. `watcher` may be
 * NULL; `holding` is called when all sessions of a profile that holds are held. A negative `enum err`: the
 * run could not be set up. */
int run_load(const struct run_plan *plan, run_watcher *watcher, void (*holding)(unsigned held),
             struct tally *tally, struct error *error);

#endif
