/* SPDX-License-Identifier: MIT */
/*
 * A span borrows octets: pointer and length, never NUL-terminated, never owned.
 * It is valid as long as what it points into; a span from a parser is valid
 * until the next feed.
 */
#ifndef BASE_SPAN_H
#define BASE_SPAN_H

#include <stdbool.h>
#include <stddef.h>

struct span {
	const char *ptr;
	size_t len;
};

/* A span over a string literal or array, without its NUL. */
#define SPAN(literal) ((struct span){(literal), sizeof(literal) - 1})

static inline struct span span_of(const char *ptr, size_t len)
{
	return (struct span){ptr, len};
}

/* A span over a NUL-terminated string of ours (never of the network). */
struct span span_str(const char *text);

/* Same octets. Not for secrets: see secret_equal(). */
bool span_equal(struct span a, struct span b);

/* Same octets when the letters A-Z count as a-z; no locale. */
bool span_equal_nocase(struct span a, struct span b);

/* What is left of `from` after its first `count` octets (count <= from.len). */
static inline struct span span_after(struct span from, size_t count)
{
	return (struct span){from.ptr + count, from.len - count};
}

/* The first `count` octets of `from` (count <= from.len). */
static inline struct span span_first(struct span from, size_t count)
{
	return (struct span){from.ptr, count};
}

/* The index of the first `octet`, or from.len when there is none. */
size_t span_find(struct span from, char octet);

/* Cuts the part up to the first `octet` off the front of *from and returns it;
 * *from continues after that octet, or is empty when there was none. */
struct span span_cut(struct span *from, char octet);

/* Copies into `to`, adds a NUL, returns true; false (to[0] = 0) when it does not fit
 * with its NUL or holds a NUL itself. */
bool span_to_text(struct span from, char *to, size_t size);

#endif
