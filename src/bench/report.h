/* SPDX-License-Identifier: MIT */
/* What a run has shown: as a page for people, as JSON, as a line of progress. Used by restante-bench. */
#ifndef BENCH_REPORT_H
#define BENCH_REPORT_H

#include "bench/run.h"

#include <stdio.h>

/* What the run was, for the head of a report. */
struct report_subject {
	const struct run_plan *plan;
	const char *host, *port;
};

extern const char *const security_names[]; /* by enum security */

void report_text(FILE *to, const struct report_subject *subject, const struct tally *tally);

/* One object and a line end. ERR_NOMEM, ERR_IO. */
int report_json(FILE *to, const struct report_subject *subject, const struct tally *tally);

/* Overwrites the line of the terminal; the last of them is wiped by report_wipe(). */
void report_progress(const struct run_view *view);
void report_wipe(void);

#endif
