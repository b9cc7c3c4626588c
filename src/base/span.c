/* SPDX-License-Identifier: MIT */
/* Spans: borrowed octets. Used by every process on bytes from anywhere. */
#include "base/span.h"

#include <string.h>
#include <strings.h>

struct span span_str(const char *text)
{
	return (struct span){text, strlen(text)};
}

bool span_equal(struct span a, struct span b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

static char lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

bool span_equal_nocase(struct span a, struct span b)
{
	if (a.len != b.len)
		return false;
	for (size_t i = 0; i < a.len; i++)
		if (lower(a.ptr[i]) != lower(b.ptr[i]))
			return false;
	return true;
}

size_t span_find(struct span from, char octet)
{
	const char *at = from.len ? memchr(from.ptr, octet, from.len) : NULL;
	return at ? (size_t)(at - from.ptr) : from.len;
}

struct span span_cut(struct span *from, char octet)
{
	size_t at = span_find(*from, octet);
	struct span head = span_first(*from, at);
	*from = span_after(*from, at < from->len ? at + 1 : at);
	return head;
}

bool span_to_text(struct span from, char *to, size_t size)
{
	if (from.len >= size || span_find(from, '\0') != from.len) {
		if (size)
			to[0] = '\0';
		return false;
	}
	if (from.len)
		memcpy(to, from.ptr, from.len);
	to[from.len] = '\0';
	return true;
}
