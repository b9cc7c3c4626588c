/* SPDX-License-Identifier: MIT */
/* The report for machines. Runs in restante-bench; jansson takes care of what a server said in the examples.
 */
#include "bench/report.h"

#include <jansson.h>

/* Durations are in microseconds. */
static double us(double ns)
{
	return ns / 1e3;
}

static json_t *latency(const struct hist *hist)
{
	return json_pack("{s:I, s:f, s:f, s:f, s:f, s:f, s:f, s:f}", "count", (json_int_t)hist->count, "min",
	                 us(hist->count ? (double)hist->min : 0), "mean", us(hist_mean(hist)), "p50",
	                 us((double)hist_quantile(hist, 0.5)), "p90", us((double)hist_quantile(hist, 0.9)),
	                 "p99", us((double)hist_quantile(hist, 0.99)), "p99.9",
	                 us((double)hist_quantile(hist, 0.999)), "max", us((double)hist_quantile(hist, 1)));
}

static json_t *latencies(const struct tally *tally)
{
	json_t *all = json_object();
	for (unsigned metric = 0; metric < METRICS; metric++)
		if (tally->latency[metric].count)
			(void)json_object_set_new(all, metric_names[metric],
			                          latency(&tally->latency[metric]));
	return all;
}

static json_t *faults(const struct tally *tally)
{
	json_t *all = json_object();
	for (unsigned i = 0; i < FAULTS; i++)
		if (tally->faults[i].count)
			(void)json_object_set_new(all, fault_rows[i].name,
			                          json_pack("{s:I, s:s}", "count",
			                                    (json_int_t)tally->faults[i].count, "example",
			                                    tally->faults[i].example.text));
	return all;
}

static json_t *course(const struct tally *tally)
{
	json_t *all = json_array();
	for (size_t i = 0; i < tally->rows_count; i++) {
		const struct tally_row *row = &tally->rows[i];
		(void)json_array_append_new(
		    all,
		    json_pack("{s:f, s:I, s:I, s:I, s:I, s:i, s:i, s:I, s:f, s:f, s:f}", "seconds", row->at,
		              "sessions", (json_int_t)row->sums.sessions, "messages",
		              (json_int_t)row->sums.messages, "octets", (json_int_t)row->sums.octets,
		              "errors", (json_int_t)row->sums.faults, "open", (int)row->active, "held",
		              (int)row->held, "count", (json_int_t)row->count, "p50", us((double)row->p50),
		              "p99", us((double)row->p99), "max", us((double)row->max)));
	}
	return all;
}

int report_json(FILE *to, const struct report_subject *subject, const struct tally *tally)
{
	const struct run_plan *plan = subject->plan;
	const struct tally_sums *sums = &tally->sums;
	json_t *report = json_pack(
	    "{s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:b, s:b, s:f, s:f, s:I, s:I, s:I, s:I, s:I, s:I, s:I, "
	    "s:I}",
	    "profile", plan->client.profile->name, "host", subject->host, "port", subject->port, "tls",
	    security_names[plan->security], "connections", (json_int_t)plan->connections, "rate",
	    (json_int_t)plan->rate, "window", (json_int_t)plan->client.window, "passes",
	    (json_int_t)plan->client.passes, "interrupted", tally->interrupted, "gave_up", tally->gave_up,
	    "elapsed_seconds", tally->seconds, "client_cpu_seconds", tally->cpu_seconds, "sessions",
	    (json_int_t)sums->sessions, "messages", (json_int_t)sums->messages, "octets",
	    (json_int_t)sums->octets, "deleted", (json_int_t)tally->deleted, "resumed",
	    (json_int_t)tally->resumed, "held", (json_int_t)tally->held, "missed", (json_int_t)tally->missed,
	    "errors", (json_int_t)sums->faults);
	if (!report || json_object_set_new(report, "errors_by_kind", faults(tally)) ||
	    json_object_set_new(report, "latency_us", latencies(tally)) ||
	    json_object_set_new(report, "course", course(tally))) {
		json_decref(report);
		return ERR_NOMEM;
	}
	int failed = json_dumpf(report, to, JSON_COMPACT | JSON_REAL_PRECISION(9)) || fputc('\n', to) == EOF;
	json_decref(report);
	return failed ? ERR_IO : ERR_NONE;
}
