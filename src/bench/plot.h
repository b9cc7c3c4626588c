/* SPDX-License-Identifier: MIT */
/* The course of a run as a picture: latency and throughput over time, an SVG file. Used by restante-bench. */
#ifndef BENCH_PLOT_H
#define BENCH_PLOT_H

#include "bench/report.h"

/* ERR_IO. */
int plot_svg(FILE *to, const struct report_subject *subject, const struct tally *tally);

#endif
