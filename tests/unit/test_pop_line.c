/* SPDX-License-Identifier: MIT */
/* Unit test of pop/line: cutting lines off a stream. */
#include "pop/line.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void expect_line(struct span *in, size_t max, struct span expected)
{
	struct span line;
	assert_int_equal(pop_line_cut(in, max, &line), ERR_NONE);
	assert_true(span_equal(line, expected));
}

static void test_line_ends(void **state)
{
	(void)state;
	struct span in = SPAN("STAT\r\nNOOP\n\r\n\nA\rB\r\r\nrest");
	expect_line(&in, 255, SPAN("STAT"));
	expect_line(&in, 255, SPAN("NOOP"));
	expect_line(&in, 255, SPAN(""));
	expect_line(&in, 255, SPAN(""));
	expect_line(&in, 255, SPAN("A\rB\r")); /* a lone CR is an octet like another */
	struct span line;
	assert_int_equal(pop_line_cut(&in, 255, &line), ERR_AGAIN);
	assert_true(span_equal(in, SPAN("rest")));
}

/* The maximum counts the line end: RFC 2449 section 4. */
static void test_maximum(void **state)
{
	(void)state;
	struct span in = SPAN("12345678\r\nx"), line;
	assert_int_equal(pop_line_cut(&in, 9, &line), ERR_FULL);
	assert_int_equal(in.len, 11);
	expect_line(&in, 10, SPAN("12345678"));

	in = SPAN("123456789\nx");
	expect_line(&in, 10, SPAN("123456789"));

	/* Too long is known as soon as the octets are there, not when the line ends. */
	in = SPAN("123456789");
	assert_int_equal(pop_line_cut(&in, 10, &line), ERR_AGAIN);
	in = SPAN("1234567890");
	assert_int_equal(pop_line_cut(&in, 10, &line), ERR_FULL);
}

/* However few octets come at a time, the answer is the same. */
static void test_every_prefix(void **state)
{
	(void)state;
	static const char text[] = "123456789\r\n";
	for (size_t len = 0; len < sizeof text - 1; len++) {
		struct span in = span_of(text, len), line;
		assert_int_equal(pop_line_cut(&in, 11, &line), ERR_AGAIN);
		assert_int_equal(in.len, len);
	}
}

static void test_skip(void **state)
{
	(void)state;
	struct span in = SPAN("no end\r");
	assert_false(pop_line_skip(&in));
	assert_int_equal(in.len, 0);
	assert_false(pop_line_skip(&in));
	in = SPAN("\nSTAT\r\n");
	assert_true(pop_line_skip(&in));
	expect_line(&in, 255, SPAN("STAT"));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_line_ends),
	    cmocka_unit_test(test_maximum),
	    cmocka_unit_test(test_every_prefix),
	    cmocka_unit_test(test_skip),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
