/* SPDX-License-Identifier: MIT */
/*
 * What a run adds up to: counts, latencies, errors by kind, and the course of all that over time. Written by
 * the run, read by reports and plots. In restante-bench.
 */
#ifndef BENCH_TALLY_H
#define BENCH_TALLY_H

#include "base/err.h"
#include "bench/hist.h"

#include <stdbool.h>
#include <stddef.h>

/* What is timed, each from when the session was due. */
enum metric {
	METRIC_GREETING, /* to the greeting */
	METRIC_LOGIN,    /* to the reply to PASS */
	METRIC_SESSION,  /* to the end: the server has closed */
	METRIC_MESSAGE,  /* RETR, from the command to the end of its reply */
	METRICS
};
extern const char *const metric_names[METRICS];

/* Why a session failed. The row says what it is called and how the program exits; earlier rows matter more.
 */
enum fault {
	FAULT_MISMATCH,  /* figures of the server's that do not agree */
	FAULT_UNASKED,   /* octets that nothing asked for */
	FAULT_MALFORMED, /* not of the protocol */
	FAULT_TLS,       /* no handshake, or broken later */
	FAULT_REFUSED,   /* -ERR */
	FAULT_CLOSED,    /* the connection was cut */
	FAULT_CONNECT,   /* no connection, or the machine failed */
	FAULT_TIMEOUT,   /* silence */
	FAULTS
};

struct fault_row {
	const char *name, *about;
	int exit; /* of sysexits.h */
};
extern const struct fault_row fault_rows[FAULTS];

struct fault_tally {
	uint64_t count;
	struct error example; /* the first */
};

/* Sums from the beginning. */
struct tally_sums {
	uint64_t sessions; /* that went to their end and found everything right */
	uint64_t messages, octets;
	uint64_t faults;
};

/* A piece of the run. */
struct tally_row {
	double at; /* seconds from the beginning to the end of the piece */
	struct tally_sums sums;
	uint32_t active, held;  /* sessions at the end of it */
	uint64_t count;         /* of the latencies: the profile's metric */
	uint64_t p50, p99, max; /* nanoseconds */
};

enum { TALLY_ROWS_MAX = 100000 }; /* more than a day of seconds; what comes later is in the sums only */

struct tally {
	struct tally_sums sums;
	uint64_t deleted, resumed;
	uint64_t held;   /* most sessions held at once */
	uint64_t missed; /* arrivals for which there was no connection until the end came */
	double seconds, cpu_seconds;
	bool interrupted; /* before the plan's end */
	bool gave_up;     /* too many sessions failed */
	struct hist latency[METRICS];
	struct fault_tally faults[FAULTS];

	enum metric shown; /* the metric of the rows */
	struct hist piece; /* of that metric, since the last row */
	struct tally_row *rows;
	size_t rows_count, rows_room;
};

/* A zeroed struct tally is a beginning. */
void tally_finish(struct tally *tally);

void tally_latency(struct tally *tally, enum metric metric, uint64_t ns);
void tally_fault(struct tally *tally, int err, const struct error *error);

/* Ends a piece; false: no memory, or there are enough, and the piece goes on. */
bool tally_row(struct tally *tally, double at, uint32_t active, uint32_t held);

/* Ends the last piece; one that is shorter than `shortest` seconds is no measure, and is added to the one
 * before it. */
void tally_end(struct tally *tally, double at, double shortest);

/* How the program exits after this run. */
int tally_exit(const struct tally *tally);

#endif
