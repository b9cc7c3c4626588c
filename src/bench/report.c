/* SPDX-License-Identifier: MIT */
/* The report for people, and the progress. Runs in restante-bench; examples may hold what a server said, made
 * printable. */
#include "bench/report.h"

#include <inttypes.h>
#include <stdbool.h>

const char *const security_names[] = {
    [SECURITY_PLAIN] = "none",
    [SECURITY_STLS] = "stls",
    [SECURITY_TLS] = "tls",
};

enum { DURATION_SIZE = 32 };

/* A duration with three digits and its unit. */
static const char *duration(double ns, char to[DURATION_SIZE])
{
	static const struct {
		double from;
		const char *unit;
	} units[] = {
	    {1e9, "s" },
            {1e6, "ms"},
            {1e3, "us"},
            {1,   "ns"}
        };
	unsigned i = 0;
	while (i < 3 && ns < units[i].from)
		i++;
	double value = ns / units[i].from;
	(void)snprintf(to, DURATION_SIZE, "%.*f %s",
	               value < 10    ? 2
	               : value < 100 ? 1
	                             : 0,
	               value, units[i].unit);
	return to;
}

static double rate(uint64_t count, double seconds)
{
	return seconds > 0 ? (double)count / seconds : 0;
}

static void print_head(FILE *to, const struct report_subject *subject, const struct tally *tally)
{
	const struct run_plan *plan = subject->plan;
	fprintf(to, "%s on %s port %s, TLS %s, %u connections", plan->client.profile->name, subject->host,
	        subject->port, security_names[plan->security], plan->connections);
	if (plan->rate)
		fprintf(to, ", %u sessions due in a second", plan->rate);
	if (plan->client.window > 1)
		fprintf(to, ", window %" PRIu32, plan->client.window);
	fprintf(to, "; %.2f s%s\n", tally->seconds,
	        tally->interrupted ? ", interrupted"
	        : tally->gave_up   ? ", given up: too many sessions failed"
	                           : "");
}

static void print_throughput(FILE *to, const struct report_subject *subject, const struct tally *tally)
{
	const struct tally_sums *sums = &tally->sums;
	fprintf(to, "\n  %-10s %12" PRIu64 " %12.1f /s", "sessions", sums->sessions,
	        rate(sums->sessions, tally->seconds));
	if (subject->plan->resume)
		fprintf(to, "   %" PRIu64 " resumed", tally->resumed);
	fputc('\n', to);
	if (sums->messages)
		fprintf(to,
		        "  %-10s %12" PRIu64 " %12.1f /s\n"
		        "  %-10s %12" PRIu64 " %12.2f MB/s\n",
		        "messages", sums->messages, rate(sums->messages, tally->seconds), "octets",
		        sums->octets, rate(sums->octets, tally->seconds) / 1e6);
	if (tally->deleted)
		fprintf(to, "  %-10s %12" PRIu64 "\n", "deleted", tally->deleted);
	if (tally->held)
		fprintf(to, "  %-10s %12" PRIu64 " at once\n", "held", tally->held);
	if (tally->missed)
		fprintf(to,
		        "  %-10s %12" PRIu64 " sessions were due and found no free connection or account\n",
		        "missed", tally->missed);
}

static void print_latency(FILE *to, const struct tally *tally)
{
	static const double quantiles[] = {0.5, 0.9, 0.99, 0.999, 1};
	fprintf(to, "\n  %-10s %10s %10s %10s %10s %10s %10s\n", "latency", "p50", "p90", "p99", "p99.9",
	        "max", "mean");
	for (unsigned metric = 0; metric < METRICS; metric++) {
		const struct hist *hist = &tally->latency[metric];
		char text[DURATION_SIZE];
		if (!hist->count)
			continue;
		fprintf(to, "  %-10s", metric_names[metric]);
		for (unsigned i = 0; i < sizeof quantiles / sizeof quantiles[0]; i++)
			fprintf(to, " %10s", duration((double)hist_quantile(hist, quantiles[i]), text));
		fprintf(to, " %10s\n", duration(hist_mean(hist), text));
	}
}

static void print_faults(FILE *to, const struct tally *tally)
{
	if (!tally->sums.faults) {
		fputs("\n  no errors\n", to);
		return;
	}
	fprintf(to, "\n  %" PRIu64 " sessions failed:\n", tally->sums.faults);
	for (unsigned i = 0; i < FAULTS; i++)
		if (tally->faults[i].count)
			fprintf(to, "  %-10s %12" PRIu64 "   %s; the first: %s\n", fault_rows[i].name,
			        tally->faults[i].count, fault_rows[i].about, tally->faults[i].example.text);
}

void report_text(FILE *to, const struct report_subject *subject, const struct tally *tally)
{
	print_head(to, subject, tally);
	print_throughput(to, subject, tally);
	print_latency(to, tally);
	print_faults(to, tally);
	fprintf(to, "\n  CPU of the load generator: %.2f s, %.0f %% of one processor\n", tally->cpu_seconds,
	        tally->seconds > 0 ? 100 * tally->cpu_seconds / tally->seconds : 0);
}

void report_progress(const struct run_view *view)
{
	const struct tally *tally = view->tally;
	size_t rows = tally->rows_count;
	char p50[DURATION_SIZE], p99[DURATION_SIZE];
	if (!rows)
		return;
	const struct tally_row *now = &tally->rows[rows - 1];
	/* Over about the last second. */
	size_t back = rows - 1;
	while (back && now->at - tally->rows[back].at < 1)
		back--;
	const struct tally_row *then = &tally->rows[back];
	double seconds = now->at - then->at;
	fprintf(stderr, "\r%.0f s  %.0f sessions/s", view->seconds,
	        rate(now->sums.sessions - then->sums.sessions, seconds));
	if (now->sums.messages)
		fprintf(stderr, "  %.0f messages/s  %.1f MB/s",
		        rate(now->sums.messages - then->sums.messages, seconds),
		        rate(now->sums.octets - then->sums.octets, seconds) / 1e6);
	fprintf(stderr, "  p50 %s  p99 %s  %u open", duration((double)now->p50, p50),
	        duration((double)now->p99, p99), view->active);
	if (view->held)
		fprintf(stderr, "  %u held", view->held);
	fprintf(stderr, "  %" PRIu64 " errors%s\033[K", tally->sums.faults, view->ending ? "  ending" : "");
	(void)fflush(stderr);
}

void report_wipe(void)
{
	fputs("\r\033[K", stderr);
}
