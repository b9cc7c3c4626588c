/* SPDX-License-Identifier: MIT */
/* Quoting of From_ lines. Runs in the keeper's disk threads and in administrator's commands, on octets that
 * may be anything. */
#include "drop/mbox_quote.h"

#include <string.h>

static const char from[] = "From ";
enum { FROM = sizeof from - 1 };

void mbox_quoter_init(struct mbox_quoter *quoter, enum mbox_quoting how, mbox_octets *out, void *owner)
{
	*quoter = (struct mbox_quoter){.how = how, .out = out, .owner = owner};
}

static void give(const struct mbox_quoter *quoter, struct span octets)
{
	if (octets.len)
		quoter->out(quoter->owner, octets);
}

/* The line is decided: gives out what was held back, quoted or not. */
static void settle(struct mbox_quoter *quoter, bool is_from)
{
	bool more =
	    is_from && (quoter->how == MBOX_QUOTE_ALL || (quoter->how == MBOX_QUOTE_PLAIN && !quoter->run));
	bool less = is_from && quoter->how == MBOX_UNQUOTE && quoter->held;
	if (more)
		give(quoter, SPAN(">"));
	if (quoter->held && !less)
		give(quoter, SPAN(">"));
	give(quoter, span_of(from, quoter->matched));
	quoter->altered += more || less;
	quoter->matched = 0;
	quoter->held = quoter->run = false;
	quoter->in_line = true;
}

/* Takes one octet of a line's beginning; false: it is not part of what decides. */
static bool take(struct mbox_quoter *quoter, char c)
{
	if (c == '>' && quoter->matched == 0) {
		if (quoter->held)
			give(quoter, SPAN(">"));
		quoter->run = quoter->held = true;
		return true;
	}
	if (c != from[quoter->matched]) {
		settle(quoter, false);
		return false;
	}
	quoter->matched++;
	if (quoter->matched == FROM)
		settle(quoter, true);
	return true;
}

/* Octets up to the next line that may have to be altered; the line before goes on at `octets`. */
static size_t find_line(struct span octets)
{
	size_t at = 0;
	for (;;) {
		at += span_find(span_after(octets, at), '\n');
		if (at == octets.len)
			return at;
		at++;
		if (at == octets.len || octets.ptr[at] == 'F' || octets.ptr[at] == '>')
			return at;
	}
}

void mbox_quoter_feed(struct mbox_quoter *quoter, struct span octets)
{
	if (quoter->how == MBOX_AS_IS) {
		give(quoter, octets);
		return;
	}
	while (octets.len) {
		if (!quoter->in_line) {
			if (take(quoter, octets.ptr[0]))
				octets = span_after(octets, 1);
			continue;
		}
		size_t len = find_line(octets);
		give(quoter, span_first(octets, len));
		quoter->in_line = octets.ptr[len - 1] != '\n';
		octets = span_after(octets, len);
	}
}

void mbox_quoter_end(struct mbox_quoter *quoter)
{
	if (!quoter->in_line)
		settle(quoter, false);
}
