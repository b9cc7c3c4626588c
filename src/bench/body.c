/* SPDX-License-Identifier: MIT */
/* Judges RETR bodies. Runs in restante-bench on octets of the server under test. */
#include "bench/body.h"

#include <string.h>

enum { BEGIN, TEXT, AFTER_CR, AFTER_DOT, AFTER_DOT_CR };

enum { VECTOR = 16, BLOCK = 64 };
typedef char vector __attribute__((vector_size(VECTOR)));
typedef uint64_t halves __attribute__((vector_size(VECTOR)));

/* Which pairs that start in the 16 octets are LF and dot, or end a line with no CR before its LF. */
static halves odd_pairs(const char *ptr)
{
	vector first, second;
	memcpy(&first, ptr, sizeof(first));
	memcpy(&second, ptr + 1, sizeof(second));
	return (halves)(((first == '\n') & (second == '.')) | ((first != '\r') & (second == '\n')));
}

static bool block_is_plain(const char *ptr)
{
	halves odd = odd_pairs(ptr);
	for (size_t at = VECTOR; at < BLOCK; at += VECTOR)
		odd |= odd_pairs(ptr + at);
	return (odd[0] | odd[1]) == 0;
}

/* How many octets from the front can be counted without a closer look. The octet before
 * them was neither CR nor LF. */
static size_t plain_length(struct span wire)
{
	size_t len = 0;
	if (wire.len && wire.ptr[0] == '\n')
		return 0; /* a bare LF; inside, the pairs show it */
	while (wire.len - len > BLOCK && block_is_plain(wire.ptr + len))
		len += BLOCK;
	return len;
}

/* Goes over whole blocks in which nothing can happen. */
static void skip_plain(struct body *body, struct span *wire)
{
	size_t len = plain_length(*wire);
	if (!len)
		return;
	const char *last = wire->ptr + len - 1;
	body->at = *last == '\n' ? BEGIN : *last == '\r' ? AFTER_CR : TEXT;
	body->octets += len;
	*wire = span_after(*wire, len);
}

static int take_octet(struct body *body, char c)
{
	switch (body->at) {
	case BEGIN:
		if (c == '.') {
			body->at = AFTER_DOT;
			return ERR_NONE;
		}
		break;
	case AFTER_DOT:
		if (c == '\r') {
			body->at = AFTER_DOT_CR;
			return ERR_NONE;
		}
		if (c != '.')
			return ERR_SYNTAX;
		break;
	case AFTER_DOT_CR:
		body->ended = c == '\n';
		return body->ended ? ERR_NONE : ERR_SYNTAX;
	default:
		break;
	}
	if (c == '\n' && body->at != AFTER_CR)
		return ERR_SYNTAX;
	body->octets++;
	body->at = c == '\n' ? BEGIN : c == '\r' ? AFTER_CR : TEXT;
	return ERR_NONE;
}

int body_feed(struct body *body, struct span *wire)
{
	while (wire->len && !body->ended) {
		if (body->at == TEXT)
			skip_plain(body, wire);
		/* The block that was not plain, or the rest that is no block. */
		size_t close = wire->len < BLOCK ? wire->len : BLOCK;
		for (; close && !body->ended; close--) {
			int err = take_octet(body, wire->ptr[0]);
			if (err)
				return err;
			*wire = span_after(*wire, 1);
		}
	}
	return ERR_NONE;
}
