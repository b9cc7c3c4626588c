/* SPDX-License-Identifier: MIT */
/*
 * A histogram of durations, log-linear: each octave has the same number of buckets, so that every value is
 * known to better than one in a hundred from nanoseconds to hours, in a few KiB. Used by restante-bench;
 * takes any value.
 */
#ifndef BENCH_HIST_H
#define BENCH_HIST_H

#include <stdint.h>

enum {
	HIST_STEPS_LOG2 = 7,  /* 128 buckets for an octave */
	HIST_VALUE_LOG2 = 43, /* values from 2^43 ns, two and a half hours, count as the longest */
	/* One more for the longest. */
	HIST_BUCKETS = ((HIST_VALUE_LOG2 - HIST_STEPS_LOG2 + 1) << HIST_STEPS_LOG2) + 1,
};

struct hist {
	uint64_t count, min, max; /* exact; min and max mean nothing while count is 0 */
	double sum;
	uint64_t buckets[HIST_BUCKETS];
};

/* A zeroed struct hist is empty. */
void hist_add(struct hist *hist, uint64_t value);

/* The value that `quantile` (0 to 1) of all values do not exceed: never below it, and above it by less than a
 * bucket; 0 when there are none. Quantile 1 is the maximum. */
uint64_t hist_quantile(const struct hist *hist, double quantile);

/* 0 when there are none. */
double hist_mean(const struct hist *hist);

#endif
