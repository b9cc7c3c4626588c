/* SPDX-License-Identifier: MIT */
/* Line ends and dots. Runs in the worker on message files: any octets are fine. */
#include "pop/dot.h"

#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

/* Copies octets up to the first LF, or `window` of them; returns how many. One pass, a word at a time:
 * message lines are too short for memchr() and memcpy() to pay for their calls. */
static size_t copy_to_lf(char *to, const char *from, size_t window)
{
	const uint64_t ones = UINT64_MAX / 255; /* 0x0101...: the usual test for an octet that is zero */
	size_t len = 0;
#ifdef __SSE2__
	const __m128i lf = _mm_set1_epi8('\n');
	for (; window - len >= sizeof lf; len += sizeof lf) {
		__m128i block = _mm_loadu_si128((const __m128i *)(const void *)(from + len));
		_mm_storeu_si128((__m128i *)(void *)(to + len), block);
		unsigned hits = (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(block, lf));
		if (hits)
			return len + (size_t)__builtin_ctz(hits);
	}
#endif
	for (; window - len >= sizeof(uint64_t); len += sizeof(uint64_t)) {
		uint64_t word;
		memcpy(&word, from + len, sizeof word);
		memcpy(to + len, &word, sizeof word);
		uint64_t other = word ^ ones * '\n';
		if ((other - ones) & ~other & ones * 0x80)
			break;
	}
	for (; len < window && from[len] != '\n'; len++)
		to[len] = from[len];
	return len;
}

/* The text of a line, written as it is: all of it but a leading dot and the LF. */
static size_t copy_text(struct pop_dot *dot, struct span *raw, char *to, size_t size)
{
	size_t len = copy_to_lf(to, raw->ptr, raw->len < size ? raw->len : size);
	if (len) {
		dot->after_cr = raw->ptr[len - 1] == '\r';
		dot->in_line = true;
	}
	*raw = span_after(*raw, len);
	return len;
}

size_t pop_dot_encode(struct pop_dot *dot, struct span *raw, char *to, size_t size)
{
	size_t len = 0;
	size_t stuffed = 0;
	while (raw->len && size - len >= 2) {
		if (!dot->in_line && raw->ptr[0] == '.') {
			to[len++] = '.';
			stuffed++;
		}
		len += copy_text(dot, raw, to + len, size - len);
		if (!raw->len || raw->ptr[0] != '\n' || size - len < 2)
			continue; /* used up, or no room for a line end: the loop's condition tells */
		if (!dot->after_cr)
			to[len++] = '\r';
		to[len++] = '\n';
		*raw = span_after(*raw, 1);
		dot->in_line = dot->after_cr = false;
	}
	dot->octets += len - stuffed;
	return len;
}

size_t pop_dot_finish(struct pop_dot *dot, char to[POP_DOT_END_MAX])
{
	size_t len = 0;
	if (dot->in_line) {
		memcpy(to, "\r\n", 2);
		len = 2;
		dot->octets += 2;
		dot->in_line = dot->after_cr = false;
	}
	memcpy(to + len, ".\r\n", 3);
	return len + 3;
}

size_t pop_dot_lines(struct span raw, uint64_t *lines)
{
	size_t len = 0;
	while (*lines && len < raw.len) {
		const char *lf = memchr(raw.ptr + len, '\n', raw.len - len);
		if (!lf)
			return raw.len;
		len = (size_t)(lf - raw.ptr) + 1;
		(*lines)--;
	}
	return len;
}

/* Where the decoder stands. A dot at the beginning of a line is dropped; whether it ends the message is
 * known two octets later, so ".CR" is held back until then. For LF as line end any CR is held back; CRLF
 * behind another CR stays, for the encoder takes CRLF for a line end. */
enum { LINE_BEGIN, IN_LINE, AFTER_CR, AFTER_CRS, AFTER_DOT, AFTER_DOT_CR };

static size_t undot_octet(struct pop_undot *undot, char c, char *to)
{
	size_t len = 0;
	switch (undot->at) {
	case LINE_BEGIN:
		if (c == '.') {
			undot->at = AFTER_DOT;
			return 0;
		}
		break;
	case AFTER_DOT:
		if (c == '\r') {
			undot->at = AFTER_DOT_CR;
			return 0;
		}
		break;
	case AFTER_DOT_CR:
		if (c == '\n') {
			undot->ended = true;
			return 0;
		}
		undot->at = AFTER_CR; /* the dot was stuffing after all, and the CR is content */
		undot->octets++;
		if (!undot->to_lf)
			to[len++] = '\r';
		break;
	default:
		break;
	}
	bool after_cr = undot->at == AFTER_CR || undot->at == AFTER_CRS;
	if (undot->to_lf && after_cr && (c != '\n' || undot->at == AFTER_CRS))
		to[len++] = '\r';
	if (!undot->to_lf || c != '\r')
		to[len++] = c;
	undot->octets++;
	if (c == '\r')
		undot->at = after_cr ? AFTER_CRS : AFTER_CR;
	else
		undot->at = c == '\n' && after_cr ? LINE_BEGIN : IN_LINE;
	return len;
}

size_t pop_undot_decode(struct pop_undot *undot, struct span *wire, char *to)
{
	size_t len = 0;
	while (wire->len && !undot->ended) {
		if (undot->at == IN_LINE) { /* the long part of a line needs no looking at */
			size_t text = span_find(*wire, '\r');
			memcpy(to + len, wire->ptr, text);
			len += text;
			undot->octets += text;
			*wire = span_after(*wire, text);
			if (!wire->len)
				break;
		}
		len += undot_octet(undot, wire->ptr[0], to + len);
		*wire = span_after(*wire, 1);
	}
	return len;
}

size_t pop_lf_feed(struct pop_lf *lf, struct span raw, char *to)
{
	size_t len = 0;
	while (raw.len) {
		if (lf->cr && (lf->crs || raw.ptr[0] != '\n'))
			to[len++] = '\r';
		size_t text = span_find(raw, '\r');
		memcpy(to + len, raw.ptr, text);
		len += text;
		lf->crs = lf->cr && text == 0;
		lf->cr = text < raw.len;
		raw = span_after(raw, text + lf->cr);
	}
	return len;
}

size_t pop_lf_finish(struct pop_lf *lf, char to[1])
{
	size_t len = lf->cr;
	to[0] = '\r';
	lf->cr = false;
	return len;
}
