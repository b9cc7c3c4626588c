/* SPDX-License-Identifier: MIT */
/* Lines of an mbox. Runs in the keeper's disk threads on octets that may be anything. */
#include "drop/mbox_line.h"

#include <string.h>

enum { YEAR_WORDS_MAX = 4 }; /* words behind the time, one of which is the year; others are zones */

bool mbox_line_is_from(struct span line)
{
	return line.len >= 5 && memcmp(line.ptr, "From ", 5) == 0;
}

size_t mbox_line_end(struct span octets)
{
	if (octets.len >= 1 && octets.ptr[0] == '\n')
		return 1;
	return octets.len >= 2 && memcmp(octets.ptr, "\r\n", 2) == 0 ? 2 : 0;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* The next word; spaces before it are cut off. */
static struct span cut_word(struct span *rest)
{
	while (rest->len && rest->ptr[0] == ' ')
		*rest = span_after(*rest, 1);
	return span_cut(rest, ' ');
}

/* One of the names of three letters in `names`. */
static bool is_named(struct span word, const char *names)
{
	for (; word.len == 3 && *names; names += 3)
		if (memcmp(word.ptr, names, 3) == 0)
			return true;
	return false;
}

static bool is_day(struct span word)
{
	return (word.len == 1 || word.len == 2) && is_digit(word.ptr[0]) && is_digit(word.ptr[word.len - 1]);
}

/* hh:mm or hh:mm:ss; h:mm too. */
static bool is_time(struct span word)
{
	unsigned parts = 0;
	while (word.len) {
		if (!is_day(span_cut(&word, ':')))
			return false;
		parts++;
	}
	return parts == 2 || parts == 3;
}

static bool is_year(struct span word)
{
	for (size_t i = 0; i < word.len; i++)
		if (!is_digit(word.ptr[i]))
			return false;
	return word.len == 4;
}

/* "Jan  2 03:04:05 2006", with a zone before or behind the year, or none. */
static bool is_date(struct span text)
{
	if (!is_named(cut_word(&text), "JanFebMarAprMayJunJulAugSepOctNovDec") || !is_day(cut_word(&text)) ||
	    !is_time(cut_word(&text)))
		return false;
	for (unsigned words = 0; text.len && words < YEAR_WORDS_MAX; words++)
		if (is_year(cut_word(&text)))
			return true;
	return false;
}

bool mbox_line_is_separator(struct span line)
{
	if (!mbox_line_is_from(line) || line.len > MBOX_SEPARATOR_MAX)
		return false;
	while (line.len && (line.ptr[line.len - 1] == '\n' || line.ptr[line.len - 1] == '\r'))
		line.len--;
	struct span rest = span_after(line, 5);
	/* The sender may be anything, spaces included, or be missing. */
	while (rest.len)
		if (is_named(cut_word(&rest), "MonTueWedThuFriSatSun") && is_date(rest))
			return true;
	return false;
}

bool mbox_line_is_mutable(struct span line)
{
	static const char *const names[] = {"Status",     "X-Status", "X-Keywords",     "X-UID", "X-UIDL",
	                                    "X-IMAPbase", "X-IMAP",   "Content-Length", "Lines"};
	struct span name = span_first(line, span_find(line, ':'));
	if (name.len == line.len)
		return false;
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
		if (span_equal_nocase(name, span_str(names[i])))
			return true;
	return false;
}
