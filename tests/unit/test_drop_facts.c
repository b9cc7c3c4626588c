/* SPDX-License-Identifier: MIT */
/* Unit test of src/drop/measure.c, name.c and sum.c. Sizes are held against what the encoder of
 * src/pop/dot.c really sends. */
#include "drop/measure.h"
#include "drop/name.h"
#include "drop/sum.h"
#include "pop/dot.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static uint64_t seed = 1;

static unsigned chance(unsigned below)
{
	seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (unsigned)(seed >> 33) % below;
}

/* What the worker would send, and whether it put dots before lines. */
static uint64_t encode(struct span raw, bool *ret_stuffed)
{
	static char wire[8192];
	struct pop_dot dot = {0};
	char end[POP_DOT_END_MAX];
	size_t len = 0;
	while (raw.len)
		len += pop_dot_encode(&dot, &raw, wire + len, sizeof wire - len);
	*ret_stuffed = len > dot.octets; /* dots put before lines are not counted */
	(void)pop_dot_finish(&dot, end);
	return dot.octets;
}

/* Header by the plainest rule: up to and with the first empty line. */
static size_t find_header(struct span raw)
{
	for (size_t at = 0; at < raw.len;) {
		size_t lf = span_find(span_after(raw, at), '\n');
		size_t line = lf - (lf > 0 && at + lf < raw.len && raw.ptr[at + lf - 1] == '\r');
		if (at + lf >= raw.len)
			break;
		at += lf + 1;
		if (line == 0)
			return at;
	}
	return raw.len;
}

static void expect_facts(struct span raw)
{
	struct measure whole = {0}, split = {0};
	measure_add(&whole, raw);
	struct facts facts = measure_end(&whole);
	for (struct span rest = raw; rest.len;) {
		size_t len = 1 + chance(chance(2) ? 4 : 300);
		len = len < rest.len ? len : rest.len;
		measure_add(&split, span_first(rest, len));
		rest = span_after(rest, len);
	}
	struct facts again = measure_end(&split);
	assert_memory_equal(&facts, &again, offsetof(struct facts, crlf));
	assert_int_equal(facts.crlf, again.crlf);
	assert_int_equal(facts.no_dots, again.no_dots);
	bool stuffed;
	assert_int_equal(facts.raw, raw.len);
	assert_int_equal(facts.wire, encode(raw, &stuffed));
	assert_int_equal(facts.no_dots, !stuffed);
	assert_int_equal(facts.crlf, facts.wire == facts.raw);
	assert_int_equal(facts.header, find_header(raw));
}

static void test_facts_of_random_messages(void **state)
{
	(void)state;
	static const char octets[] = "\r\n\r\n\r\n..ab c\0";
	static char raw[3000];
	for (unsigned round = 0; round < 20000; round++) {
		size_t len = chance(round % 50 == 0 ? sizeof raw : 24);
		unsigned plain = chance(3) * 40; /* how rare line ends are */
		for (size_t i = 0; i < len; i++)
			raw[i] = chance(plain + 1) ? 'x' : octets[chance(sizeof octets - 1)];
		expect_facts(span_of(raw, len));
	}
}

static void test_facts_of_every_short_message(void **state)
{
	(void)state;
	static const char octets[] = {'\r', '\n', '.', 'x'};
	for (size_t len = 0; len <= 6; len++)
		for (unsigned code = 0; code < 1u << (2 * len); code++) {
			char raw[6];
			for (size_t i = 0; i < len; i++)
				raw[i] = octets[code >> (2 * i) & 3];
			expect_facts(span_of(raw, len));
		}
}

static void test_holes(void **state)
{
	(void)state;
	static char raw[4096];
	static const char *const before[] = {"", "a\n", "a\n\n", "a\r", "a\r\n\r"};
	for (unsigned i = 0; i < sizeof before / sizeof before[0]; i++)
		for (size_t hole = 0; hole < 600; hole += 1 + hole / 3) {
			size_t len = strlen(before[i]);
			memset(raw, 0, sizeof raw);
			memcpy(raw, before[i], len);
			memcpy(raw + len + hole, "\n\n.x", 4);
			struct measure read = {0}, skipped = {0};
			measure_add(&read, span_of(raw, len + hole + 4));
			measure_add(&skipped, span_of(raw, len));
			measure_add_hole(&skipped, hole);
			measure_add(&skipped, span_of(raw + len + hole, 4));
			struct facts one = measure_end(&read), other = measure_end(&skipped);
			assert_memory_equal(&one, &other, offsetof(struct facts, crlf));
			assert_int_equal(one.no_dots, other.no_dots);
		}
}

static void expect_base(const char *name, const char *want)
{
	struct span base = name_base(span_str(name));
	assert_true(span_equal(base, span_str(want)));
}

static void test_names(void **state)
{
	(void)state;
	expect_base("1.x:2,S", "1.x");
	expect_base("1.x", "1.x");
	expect_base("1.x:2,", "1.x");
	expect_base("1.x:1,S", "1.x:1,S");
	expect_base(":2,S", "");
	expect_base("a:2,b:2,c", "a");
	char longest[257];
	memset(longest, 'x', sizeof longest);
	assert_true(name_is_message(span_of(longest, 255)));
	assert_false(name_is_message(span_of(longest, 256)));
	assert_false(name_is_message(SPAN("")));
	assert_false(name_is_message(SPAN(".x")));
	assert_false(name_is_message(SPAN("a/b")));
	assert_false(name_is_message(SPAN("a\0b")));
	assert_true(name_is_message(SPAN("a\nb\xff")));
}

static void test_order(void **state)
{
	(void)state;
	static const char *const sorted[] = {
	    "",
	    "0",
	    "000",
	    "a",
	    "b",
	    "01",
	    "1",
	    "1.a",
	    "1.b",
	    "2",
	    "9.z",
	    "10",
	    "18446744073709551616.a",
	    "018446744073709551617",
	    "99999999999999999999999",
	};
	enum { COUNT = sizeof sorted / sizeof sorted[0] };
	for (unsigned i = 0; i < COUNT; i++)
		for (unsigned k = 0; k < COUNT; k++) {
			int order = name_compare(span_str(sorted[i]), span_str(sorted[k]));
			assert_int_equal((order > 0) - (order < 0), (i > k) - (i < k));
		}
}

static void expect_uid(struct span base, const char *want)
{
	char uid[DROP_UID_MAX];
	size_t len;
	assert_int_equal(name_unique_id(base, uid, &len), ERR_NONE);
	assert_true(span_equal(span_of(uid, len), span_str(want)));
}

static void test_unique_ids(void **state)
{
	(void)state;
	expect_uid(SPAN("1700000000.M1P2.host"), "1700000000.M1P2.host");
	/* Permanent means: these never change, whatever the program's version. */
	expect_uid(SPAN(""), "he3b0c44298fc1c149afbf4c8996fb924");
	expect_uid(SPAN("a b"), "hc8687a08aa5d6ed2044328fa6a697ab8");
	char uid[DROP_UID_MAX], second[DROP_UID_MAX];
	size_t len, second_len;
	assert_int_equal(name_unique_id(SPAN("a b"), uid, &len), ERR_NONE);
	/* A base name in the form of a hash is no hash. */
	assert_int_equal(name_unique_id(span_of(uid, len), second, &second_len), ERR_NONE);
	assert_false(span_equal(span_of(uid, len), span_of(second, second_len)));
	assert_int_equal(name_second_unique_id(SPAN("1.x"), 7, uid, &len), ERR_NONE);
	assert_int_equal(name_second_unique_id(SPAN("1.x"), 8, second, &second_len), ERR_NONE);
	assert_false(span_equal(span_of(uid, len), span_of(second, second_len)));
	assert_true(name_is_unique_id(span_of(uid, len)));
	assert_false(name_is_unique_id(SPAN("")));
	assert_false(name_is_unique_id(SPAN("a b")));
	assert_false(name_is_unique_id(SPAN("a\x7f")));
}

static void test_sum(void **state)
{
	(void)state;
	char octets[100];
	for (size_t i = 0; i < sizeof octets; i++)
		octets[i] = (char)chance(256);
	for (size_t len = 0; len <= sizeof octets; len++) {
		uint64_t whole = sum_of(3, span_of(octets, len));
		assert_int_not_equal(whole, sum_of(4, span_of(octets, len)));
		struct sum sum;
		size_t first = len / 2 - len / 2 % SUM_BLOCK;
		sum_begin(&sum, 3);
		sum_add(&sum, span_of(octets, first));
		sum_add(&sum, span_of(octets + first, len - first));
		assert_int_equal(sum_end(&sum), whole);
		for (size_t bit = 0; bit < len * 8; bit++) {
			octets[bit / 8] = (char)(octets[bit / 8] ^ 1 << bit % 8);
			assert_int_not_equal(sum_of(3, span_of(octets, len)), whole);
			octets[bit / 8] = (char)(octets[bit / 8] ^ 1 << bit % 8);
		}
	}
	memset(octets, 0, sizeof octets);
	assert_int_not_equal(sum_of(3, span_of(octets, 40)), sum_of(3, span_of(octets, 41)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_facts_of_random_messages),
	    cmocka_unit_test(test_facts_of_every_short_message),
	    cmocka_unit_test(test_holes),
	    cmocka_unit_test(test_names),
	    cmocka_unit_test(test_order),
	    cmocka_unit_test(test_unique_ids),
	    cmocka_unit_test(test_sum),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
