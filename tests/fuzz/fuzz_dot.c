/* SPDX-License-Identifier: MIT */
/*
 * Fuzzes pop/dot: a message's octets are encoded in pieces and decoded in others, and must come back
 * in wire form; then the same octets are decoded as if a server had sent them. The first two octets
 * of the input choose the pieces.
 */
#include "pop/dot.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct octets {
	char *ptr;
	size_t len;
};

static struct octets room(size_t size)
{
	struct octets octets = {malloc(size ? size : 1), 0};
	if (!octets.ptr)
		abort();
	return octets;
}

static void append(struct octets *to, const char *ptr, size_t len)
{
	if (len)
		memcpy(to->ptr + to->len, ptr, len);
	to->len += len;
}

/* The wire form as RFC 1939 says it. */
static struct octets wire_form(struct span raw)
{
	struct octets wire = room(2 * raw.len + 2);
	for (size_t i = 0; i < raw.len; i++) {
		if (raw.ptr[i] == '\n' && (i == 0 || raw.ptr[i - 1] != '\r'))
			append(&wire, "\r", 1);
		append(&wire, raw.ptr + i, 1);
	}
	if (raw.len && raw.ptr[raw.len - 1] != '\n')
		append(&wire, "\r\n", 2);
	return wire;
}

static struct octets encode(struct span raw, size_t piece, size_t out_size, uint64_t *ret_octets)
{
	struct octets sent = room(2 * raw.len + POP_DOT_END_MAX + 1);
	struct pop_dot dot = {0};
	char end[POP_DOT_END_MAX];
	while (raw.len) {
		struct span part = span_first(raw, raw.len < piece ? raw.len : piece);
		raw = span_after(raw, part.len);
		while (part.len) {
			char *out = malloc(out_size);
			if (!out)
				abort();
			size_t before = part.len, len = pop_dot_encode(&dot, &part, out, out_size);
			if (len > out_size || (len == 0 && part.len == before))
				abort();
			append(&sent, out, len);
			free(out);
		}
	}
	append(&sent, end, pop_dot_finish(&dot, end));
	*ret_octets = dot.octets;
	return sent;
}

/* Returns the octets it used. */
static size_t decode(struct span wire, size_t piece, struct octets *ret, bool *ret_ended)
{
	struct pop_undot undot = {0};
	size_t used = 0;
	*ret = room(wire.len + POP_UNDOT_HELD);
	while (used < wire.len && !undot.ended) {
		size_t given = wire.len - used < piece ? wire.len - used : piece;
		struct span part = span_of(wire.ptr + used, given);
		char *out = malloc(given + POP_UNDOT_HELD);
		if (!out)
			abort();
		size_t len = pop_undot_decode(&undot, &part, out);
		if (len > given + POP_UNDOT_HELD || (part.len && !undot.ended))
			abort();
		append(ret, out, len);
		free(out);
		used += given - part.len;
	}
	*ret_ended = undot.ended;
	return used;
}

static void round_trip(struct span raw, size_t piece, size_t out_size, size_t in_piece)
{
	struct octets wire = wire_form(raw), back;
	uint64_t octets;
	bool ended;
	struct octets sent = encode(raw, piece, out_size, &octets);
	size_t used = decode(span_of(sent.ptr, sent.len), in_piece, &back, &ended);
	if (!ended || used != sent.len || octets != wire.len || back.len != wire.len ||
	    memcmp(back.ptr, wire.ptr, wire.len) != 0)
		abort();
	free(wire.ptr);
	free(sent.ptr);
	free(back.ptr);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 2)
		return 0;
	struct span raw = span_of((const char *)data + 2, size - 2);
	size_t piece = 1u + data[0] % 32, out_size = 2u + data[1] % 32, in_piece = 1u + data[0] / 32;
	round_trip(raw, piece, out_size, in_piece);

	struct octets whole, pieces;
	bool whole_ended, pieces_ended;
	size_t whole_used = decode(raw, size, &whole, &whole_ended);
	size_t pieces_used = decode(raw, in_piece, &pieces, &pieces_ended);
	if (whole_used != pieces_used || whole_ended != pieces_ended || whole.len != pieces.len ||
	    memcmp(whole.ptr, pieces.ptr, whole.len) != 0)
		abort();
	free(whole.ptr);
	free(pieces.ptr);
	return 0;
}
