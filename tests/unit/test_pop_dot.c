/* SPDX-License-Identifier: MIT */
/* Unit test of pop/dot: the wire form of a message, in every split, beside a naive reading of the RFC. */
#include "pop/dot.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { TEXT_MAX = 4096 };

#define TEXT(literal)                                                                                        \
	{                                                                                                    \
		(literal), sizeof(literal) - 1                                                               \
	}

/* Messages as files hold them. */
static const struct span messages[] = {
    TEXT(""),
    TEXT("\n"),
    TEXT("\r\n"),
    TEXT("\r"),
    TEXT("."),
    TEXT(".\n"),
    TEXT(".\r\n"),
    TEXT(".."),
    TEXT("a"),
    TEXT("a\n"),
    TEXT("a\r\nb\r\n"),
    TEXT("a\nb\r\nc\n"),
    TEXT("a\rb\n"),
    TEXT("a\r\r\nb"),
    TEXT("a\r"),
    TEXT("\r.\n.\r.\n"),
    TEXT("a\n.\n..\n.b\n\n."),
    TEXT("\0\0\n\0"),
    TEXT("\xff\xfe\n.\x80\n"),
    TEXT("H: x\n\n.\r\n.\r\n\r\n\r"),
    TEXT("\n\n\n\n\n\n\n\n"),
    TEXT("........\n........\n"),
    TEXT("\r\r\r\r\n\r\r\n.\r\r."),
    TEXT("Subject: x\n\nbody line one\nbody line two, longer than the others\n.leading\n"),
};
enum { MESSAGES = sizeof messages / sizeof messages[0] };

/* The wire form and the dots, octet by octet from the words of RFC 1939: lines end in CRLF, a line that
 * begins with the termination octet gets another. *ret_wire: without the dots. */
static size_t naive(struct span raw, char *to, uint64_t *ret_wire)
{
	size_t len = 0, dots = 0;
	bool begin = true;
	for (size_t i = 0; i < raw.len; i++) {
		if (begin && raw.ptr[i] == '.') {
			to[len++] = '.';
			dots++;
		}
		begin = raw.ptr[i] == '\n';
		if (begin && (i == 0 || raw.ptr[i - 1] != '\r'))
			to[len++] = '\r';
		to[len++] = raw.ptr[i];
	}
	if (!begin) {
		memcpy(to + len, "\r\n", 2);
		len += 2;
	}
	*ret_wire = len - dots;
	memcpy(to + len, ".\r\n", 3);
	return len + 3;
}

/* Encodes in pieces of `piece` raw octets into outputs of `room` octets, each of exactly that size. */
static size_t encode(struct span raw, size_t piece, size_t room, char *to, uint64_t *ret_wire)
{
	struct pop_dot dot = {0};
	char *out = malloc(room);
	size_t len = 0;
	assert_non_null(out);
	while (raw.len) {
		struct span part = span_first(raw, raw.len < piece ? raw.len : piece);
		raw = span_after(raw, part.len);
		while (part.len) {
			size_t before = part.len;
			size_t count = pop_dot_encode(&dot, &part, out, room);
			assert_true(count <= room);
			assert_true(count > 0 || part.len < before); /* it gets on */
			memcpy(to + len, out, count);
			len += count;
		}
	}
	free(out);
	len += pop_dot_finish(&dot, to + len);
	*ret_wire = dot.octets;
	return len;
}

static void test_encode_in_every_split(void **state)
{
	(void)state;
	for (size_t i = 0; i < MESSAGES; i++) {
		char expected[TEXT_MAX], got[TEXT_MAX];
		uint64_t wire, counted;
		size_t len = naive(messages[i], expected, &wire);
		for (size_t piece = 1; piece <= messages[i].len + 1; piece++) {
			for (size_t room = 2; room <= 2 * messages[i].len + 4; room++) {
				size_t got_len = encode(messages[i], piece, room, got, &counted);
				assert_int_equal(got_len, len);
				assert_memory_equal(got, expected, len);
				assert_int_equal(counted, wire);
			}
		}
	}
}

/* With room for nothing, nothing happens, and nothing is lost. */
static void test_encode_without_room(void **state)
{
	(void)state;
	struct pop_dot dot = {0};
	struct span raw = SPAN(".a");
	char to[1] = "";
	assert_int_equal(pop_dot_encode(&dot, &raw, to, 0), 0);
	assert_int_equal(raw.len, 2);
	size_t count = pop_dot_encode(&dot, &raw, to, 1);
	assert_true(count <= 1);
	assert_int_equal(dot.octets, count);
}

static size_t decode(struct span wire, size_t piece, char *to, size_t *ret_rest)
{
	struct pop_undot undot = {0};
	size_t len = 0;
	while (wire.len && !undot.ended) {
		size_t given = wire.len < piece ? wire.len : piece;
		char *copy = malloc(given), *out = malloc(given + POP_UNDOT_HELD);
		assert_non_null(copy);
		assert_non_null(out);
		memcpy(copy, wire.ptr, given);
		struct span part = span_of(copy, given);
		size_t count = pop_undot_decode(&undot, &part, out);
		assert_true(part.len == 0 || undot.ended);
		memcpy(to + len, out, count);
		len += count;
		wire = span_after(wire, given - part.len);
		free(copy);
		free(out);
	}
	assert_true(undot.ended);
	*ret_rest = wire.len;
	return len;
}

/* undot(encode(x)) is the wire form of x, and what follows the reply is left alone. */
static void test_round_trip(void **state)
{
	(void)state;
	for (size_t i = 0; i < MESSAGES; i++) {
		char sent[TEXT_MAX], got[TEXT_MAX], expected[TEXT_MAX];
		uint64_t wire;
		size_t rest, expected_len = 0;
		size_t len = naive(messages[i], sent, &wire);
		for (size_t k = 0; k < len - 3; k++) /* drop stuffed dots, looking at what is before each */
			if (sent[k] != '.' || (k && (k < 2 || sent[k - 1] != '\n' || sent[k - 2] != '\r')))
				expected[expected_len++] = sent[k];
		assert_int_equal(expected_len, wire);
		memcpy(sent + len, "+OK next\r\n", 10);
		for (size_t piece = 1; piece <= len + 10; piece++) {
			size_t got_len = decode(span_of(sent, len + 10), piece, got, &rest);
			assert_int_equal(got_len, expected_len);
			assert_memory_equal(got, expected, expected_len);
			assert_int_equal(rest, 10);
		}
	}
}

/* Only CRLF.CRLF ends a reply; other things that look like it are content. */
static void test_false_ends(void **state)
{
	static const struct {
		struct span wire, content;
	} rows[] = {
	    {TEXT(".\r\n"),           TEXT("")          },
	    {TEXT("a\n.\n\r\n.\r\n"), TEXT("a\n.\n\r\n")},
	    {TEXT("a\n.\r\n.\r\n"),   TEXT("a\n.\r\n")  },
	    {TEXT(".\n\r\n.\r\n"),    TEXT("\n\r\n")    },
	    {TEXT(".\r.\r\n.\r\n"),   TEXT("\r.\r\n")   },
	    {TEXT(".\r\r\n.\r\n"),    TEXT("\r\r\n")    },
	    {TEXT("..\r\n.\r\n"),     TEXT(".\r\n")     },
	    {TEXT("a\r.\r\n.\r\n"),   TEXT("a\r.\r\n")  },
	    {TEXT(".a\r\n.\r\n"),     TEXT("a\r\n")     }, /* sent by a server that stuffs nothing */
	};
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		for (size_t piece = 1; piece <= rows[i].wire.len; piece++) {
			char got[64];
			size_t rest;
			size_t len = decode(rows[i].wire, piece, got, &rest);
			assert_true(span_equal(span_of(got, len), rows[i].content));
			assert_int_equal(rest, 0);
		}
	}
}

/* For files, CRLF comes out as LF; the octets counted are those of the wire; and encoding gives the same
 * again, but for LF alone, for which there is no way out. */
static void test_line_ends_of_files(void **state)
{
	static const struct {
		struct span wire, content;
		uint64_t octets;
		bool same;
	} rows[] = {
	    {TEXT(".\r\n"),              TEXT(""),           0, true },
	    {TEXT("\r\n.\r\n"),          TEXT("\n"),         2, true },
	    {TEXT("a\r\n..b\r\n.\r\n"),  TEXT("a\n.b\n"),    7, true },
	    {TEXT("a\n.\n\r\n.\r\n"),    TEXT("a\n.\n\n"),   6, false},
	    {TEXT("a\n.\r\nb\r\n.\r\n"), TEXT("a\n.\nb\n"),  8, false},
	    {TEXT("a\rb\r\r\n.\r\n"),    TEXT("a\rb\r\r\n"), 6, true },
	    {TEXT("\r\r\r\n\r\n.\r\n"),  TEXT("\r\r\r\n\n"), 6, true },
	    {TEXT("\r\r\ra\r\n.\r\n"),   TEXT("\r\r\ra\n"),  6, true },
	    {TEXT(".\r.\r\n.\r\n"),      TEXT("\r.\n"),      4, false},
	    {TEXT(".\r\r\n.\r\n"),       TEXT("\r\r\n"),     3, false},
	    {TEXT(".\r\r.\r\n.\r\n"),    TEXT("\r\r.\n"),    5, false},
	};
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		for (size_t piece = 1; piece <= rows[i].wire.len; piece++) {
			char got[64];
			struct pop_undot undot = {.to_lf = true};
			size_t len = 0;
			for (size_t at = 0; at < rows[i].wire.len; at += piece) {
				size_t left = rows[i].wire.len - at;
				struct span part =
				    span_of(rows[i].wire.ptr + at, left < piece ? left : piece);
				len += pop_undot_decode(&undot, &part, got + len);
				assert_int_equal(part.len, 0);
			}
			assert_true(undot.ended);
			assert_true(span_equal(span_of(got, len), rows[i].content));
			assert_int_equal(undot.octets, rows[i].octets);
		}
		char sent[64];
		uint64_t wire;
		size_t len = naive(rows[i].content, sent, &wire);
		assert_int_equal(span_equal(span_of(sent, len), rows[i].wire), rows[i].same);
	}
}

static void test_taking_text_in(void **state)
{
	static const struct {
		struct span raw, text;
	} rows[] = {
	    {TEXT("a\r\nb\n\r\n"),    TEXT("a\nb\n\n")   },
	    {TEXT("a\r\r\nb\r"),      TEXT("a\r\r\nb\r") },
	    {TEXT("\r\r\r\n\r\n"),    TEXT("\r\r\r\n\n") },
	    {TEXT("\r"),              TEXT("\r")         },
	    {TEXT("\r\n"),            TEXT("\n")         },
	    {TEXT("\n\r\0\r\n.\r\n"), TEXT("\n\r\0\n.\n")},
	    {TEXT(""),                TEXT("")           },
	};
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
		for (size_t piece = 1; piece <= rows[i].raw.len + 1; piece++) {
			struct pop_lf lf = {0};
			char got[64];
			size_t len = 0;
			for (struct span rest = rows[i].raw; rest.len;) {
				size_t now = piece < rest.len ? piece : rest.len;
				size_t more = pop_lf_feed(&lf, span_first(rest, now), got + len);
				assert_true(more <= now + 1);
				len += more;
				rest = span_after(rest, now);
			}
			len += pop_lf_finish(&lf, got + len);
			assert_true(span_equal(span_of(got, len), rows[i].text));
		}
}

static void test_lines(void **state)
{
	static const struct {
		const char *raw;
		uint64_t lines;
		size_t len;
		uint64_t left;
	} rows[] = {
	    {"a\nb\nc\n", 0,          0, 0             },
            {"a\nb\nc\n", 1,          2, 0             },
	    {"a\nb\nc\n", 2,          4, 0             },
            {"a\nb\nc\n", 3,          6, 0             },
	    {"a\nb\nc\n", 4,          6, 1             },
            {"a\nb\nc",   3,          5, 1             },
	    {"a\r\nb",    1,          3, 0             },
            {"\n\n\n",    2,          2, 0             },
	    {"a\rb\n",    1,          4, 0             }, /* a lone CR ends no line */
	    {"",          1,          0, 1             },
            {"a\nb\n",    UINT64_MAX, 4, UINT64_MAX - 2},
	};
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		uint64_t lines = rows[i].lines;
		assert_int_equal(pop_dot_lines(span_str(rows[i].raw), &lines), rows[i].len);
		assert_true(lines == rows[i].left);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_encode_in_every_split),
	    cmocka_unit_test(test_encode_without_room),
	    cmocka_unit_test(test_round_trip),
	    cmocka_unit_test(test_false_ends),
	    cmocka_unit_test(test_line_ends_of_files),
	    cmocka_unit_test(test_taking_text_in),
	    cmocka_unit_test(test_lines),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
