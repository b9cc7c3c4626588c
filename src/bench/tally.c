/* SPDX-License-Identifier: MIT */
/* Adding up. Runs in restante-bench; texts of examples may hold what a server said, made printable. */
#include "bench/tally.h"

#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

const char *const metric_names[METRICS] = {
    [METRIC_GREETING] = "greeting",
    [METRIC_LOGIN] = "login",
    [METRIC_SESSION] = "session",
    [METRIC_MESSAGE] = "message",
};

/* clang-format off */
const struct fault_row fault_rows[FAULTS] = {
    [FAULT_MISMATCH] = {"mismatch", "figures of the server do not agree", EX_PROTOCOL},
    [FAULT_UNASKED] = {"unasked", "octets that nothing asked for", EX_PROTOCOL},
    [FAULT_MALFORMED] = {"malformed", "replies that are not POP3", EX_PROTOCOL},
    [FAULT_TLS] = {"tls", "TLS failed", EX_PROTOCOL},
    [FAULT_REFUSED] = {"refused", "-ERR", EX_NOPERM},
    [FAULT_CLOSED] = {"closed", "the connection was cut", EX_UNAVAILABLE},
    [FAULT_CONNECT] = {"connect", "no connection", EX_UNAVAILABLE},
    [FAULT_TIMEOUT] = {"timeout", "the server was silent", EX_TEMPFAIL},
};
/* clang-format on */

static enum fault fault_of(int err)
{
	switch (err) {
	case ERR_CORRUPT:
		return FAULT_MISMATCH;
	case ERR_PEER:
		return FAULT_UNASKED;
	case ERR_SYNTAX:
	case ERR_FULL:
		return FAULT_MALFORMED;
	case ERR_DENIED:
		return FAULT_REFUSED;
	case ERR_CLOSED:
		return FAULT_CLOSED;
	case ERR_TIMEOUT:
		return FAULT_TIMEOUT;
	case ERR_TLS:
		return FAULT_TLS;
	default:
		return FAULT_CONNECT;
	}
}

void tally_finish(struct tally *tally)
{
	free(tally->rows);
	*tally = (struct tally){0};
}

void tally_latency(struct tally *tally, enum metric metric, uint64_t ns)
{
	hist_add(&tally->latency[metric], ns);
	if (metric == tally->shown)
		hist_add(&tally->piece, ns);
}

void tally_fault(struct tally *tally, int err, const struct error *error)
{
	struct fault_tally *fault = &tally->faults[fault_of(err)];
	tally->sums.faults++;
	if (!fault->count++)
		error_set(&fault->example, "%s", error->text[0] ? error->text : err_text(err));
}

bool tally_row(struct tally *tally, double at, uint32_t active, uint32_t held)
{
	if (tally->rows_count == tally->rows_room) {
		size_t room = tally->rows_room ? tally->rows_room * 2 : 64;
		struct tally_row *rows =
		    room < 2 * TALLY_ROWS_MAX ? reallocarray(tally->rows, room, sizeof *rows) : NULL;
		if (!rows)
			return false;
		tally->rows = rows;
		tally->rows_room = room;
	}
	const struct hist *piece = &tally->piece;
	tally->rows[tally->rows_count++] = (struct tally_row){
	    .at = at,
	    .sums = tally->sums,
	    .active = active,
	    .held = held,
	    .count = piece->count,
	    .p50 = hist_quantile(piece, 0.5),
	    .p99 = hist_quantile(piece, 0.99),
	    .max = hist_quantile(piece, 1),
	};
	memset(&tally->piece, 0, sizeof tally->piece);
	return true;
}

void tally_end(struct tally *tally, double at, double shortest)
{
	struct tally_row *last = tally->rows_count ? &tally->rows[tally->rows_count - 1] : NULL;
	if (!last || at - last->at >= shortest) {
		(void)tally_row(tally, at, 0, 0);
		return;
	}
	uint64_t max = hist_quantile(&tally->piece, 1);
	last->at = at;
	last->sums = tally->sums;
	last->count += tally->piece.count;
	if (max > last->max)
		last->max = max;
}

int tally_exit(const struct tally *tally)
{
	for (unsigned i = 0; i < FAULTS; i++)
		if (tally->faults[i].count)
			return fault_rows[i].exit;
	return tally->sums.sessions ? EX_OK : EX_UNAVAILABLE;
}
