/* SPDX-License-Identifier: MIT */
/* Unit test of base/: spans, numbers, buffers, base64, secrets, error texts. */
#include "base/base64.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/num.h"
#include "base/secret.h"
#include "base/span.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void test_span(void **state)
{
	(void)state;
	assert_true(span_equal(SPAN(""), span_of(NULL, 0)));
	assert_true(span_equal(SPAN("a\0b"), span_of("a\0b", 3)));
	assert_false(span_equal(SPAN("ab"), SPAN("aB")));
	assert_true(span_equal_nocase(SPAN("Retr"), SPAN("rETR")));
	assert_false(span_equal_nocase(SPAN("@"), SPAN("`"))); /* only letters have two cases */
	assert_false(span_equal_nocase(SPAN("[x"), SPAN("{x")));
	assert_int_equal(span_find(SPAN("abc"), 'c'), 2);
	assert_int_equal(span_find(SPAN("abc"), 'd'), 3);
	assert_int_equal(span_find(span_of(NULL, 0), 'd'), 0);

	struct span rest = SPAN("one two ");
	assert_true(span_equal(span_cut(&rest, ' '), SPAN("one")));
	assert_true(span_equal(span_cut(&rest, ' '), SPAN("two")));
	assert_int_equal(rest.len, 0);
	assert_int_equal(span_cut(&rest, ' ').len, 0);
}

static void test_span_to_text(void **state)
{
	(void)state;
	char text[4] = "xxx";
	assert_true(span_to_text(SPAN("abc"), text, sizeof text));
	assert_string_equal(text, "abc");
	assert_false(span_to_text(SPAN("abcd"), text, sizeof text));
	assert_string_equal(text, "");
	assert_false(span_to_text(SPAN("a\0b"), text, sizeof text)); /* it would read as another text */
	assert_true(span_to_text(SPAN(""), text, 1));
	assert_false(span_to_text(SPAN(""), text, 0));
}

static void test_num_parse(void **state)
{
	static const struct {
		const char *text;
		uint64_t max;
		int err;
		uint64_t value;
	} rows[] = {
	    {"0",	              UINT64_MAX, ERR_NONE,   0         },
	    {"01",	             UINT64_MAX, ERR_NONE,   1         },
	    {"18446744073709551615",   UINT64_MAX, ERR_NONE,   UINT64_MAX},
	    {"18446744073709551616",   UINT64_MAX, ERR_RANGE,  0         },
	    {"99999999999999999999",   UINT64_MAX, ERR_RANGE,  0         },
	    {"4294967295",             UINT32_MAX, ERR_NONE,   UINT32_MAX},
	    {"4294967296",             UINT32_MAX, ERR_RANGE,  0         },
	    {"",	               UINT64_MAX, ERR_SYNTAX, 0         },
	    {"-1",	             UINT64_MAX, ERR_SYNTAX, 0         },
	    {"+1",	             UINT64_MAX, ERR_SYNTAX, 0         },
	    {" 1",	             UINT64_MAX, ERR_SYNTAX, 0         },
	    {"1 ",	             UINT64_MAX, ERR_SYNTAX, 0         },
	    {"1x",	             UINT64_MAX, ERR_SYNTAX, 0         },
	    {"0x10",                   UINT64_MAX, ERR_SYNTAX, 0         },
	    {"184467440737095516160x", 10,         ERR_SYNTAX, 0         },
	};
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		uint64_t value = 77;
		assert_int_equal(num_parse(span_str(rows[i].text), rows[i].max, &value), rows[i].err);
		assert_true(value == (rows[i].err ? 77 : rows[i].value)); /* written on success only */
	}
}

static void test_num_print(void **state)
{
	static const struct {
		uint64_t value;
		const char *text;
	} rows[] = {
	    {0,          "0"	           },
            {9,          "9"                   },
            {10,         "10"                  },
            {UINT32_MAX, "4294967295"          },
            {UINT64_MAX, "18446744073709551615"},
	};
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		char text[NUM_TEXT_MAX];
		size_t len = num_print(text, rows[i].value);
		assert_true(span_equal(span_of(text, len), span_str(rows[i].text)));
	}
}

static void test_num_octets(void **state)
{
	static const struct {
		const char *text;
		int err;
		uint64_t value;
		const char *printed;
	} rows[] = {
	    {"0",	            ERR_NONE,   0,                    "0"                   },
	    {"1023",                 ERR_NONE,   1023,                 "1023"                },
	    {"1024",                 ERR_NONE,   1024,                 "1K"                  },
	    {"1536K",                ERR_NONE,   1536 * 1024,          "1536K"               },
	    {"2048M",                ERR_NONE,   UINT64_C(2) << 30,    "2G"                  },
	    {"5T",	           ERR_NONE,   UINT64_C(5) << 40,    "5T"                  },
	    {"5000T",                ERR_NONE,   UINT64_C(5000) << 40, "5000T"               },
	    {"18446744073709551615", ERR_NONE,   UINT64_MAX,           "18446744073709551615"},
	    {"16777216T",            ERR_RANGE,  0,                    NULL                  },
	    {"18446744073709551616", ERR_RANGE,  0,                    NULL                  },
	    {"",	             ERR_SYNTAX, 0,                    NULL                  },
	    {"K",	            ERR_SYNTAX, 0,                    NULL                  },
	    {"1KK",                  ERR_SYNTAX, 0,                    NULL                  },
	    {"1k",	           ERR_SYNTAX, 0,                    NULL                  },
	    {"-1",	           ERR_SYNTAX, 0,                    NULL                  },
	};
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		uint64_t value = 0;
		char text[NUM_TEXT_MAX + 1];
		assert_int_equal(num_parse_octets(span_str(rows[i].text), UINT64_MAX, &value), rows[i].err);
		assert_true(value == rows[i].value);
		if (rows[i].err)
			continue;
		num_print_octets(text, value);
		assert_string_equal(text, rows[i].printed);
	}
	uint64_t value = 0;
	assert_int_equal(num_parse_octets(SPAN("2K"), 2048, &value), ERR_NONE);
	assert_int_equal(num_parse_octets(SPAN("2K"), 2047, &value), ERR_RANGE);
}

static void test_buf(void **state)
{
	(void)state;
	struct buf buf;
	buf_init(&buf, 600);
	assert_int_equal(buf_add(&buf, SPAN("")), ERR_NONE);
	assert_null(buf.ptr); /* nothing added, nothing taken */
	assert_int_equal(buf_addf(&buf, "%s %d", "abc", 7), ERR_NONE);
	assert_true(span_equal(buf_span(&buf), SPAN("abc 7")));
	buf_consume(&buf, 4);
	assert_true(span_equal(buf_span(&buf), SPAN("7")));

	char octets[600] = {0};
	assert_int_equal(buf_add(&buf, span_of(octets, 600)), ERR_FULL);
	assert_int_equal(buf.len, 1);
	assert_int_equal(buf_add(&buf, span_of(octets, SIZE_MAX)), ERR_FULL);
	assert_int_equal(buf_add(&buf, span_of(octets, 599)), ERR_NONE);
	assert_int_equal(buf.len, 600);
	assert_true(buf.cap <= buf.max);
	assert_int_equal(buf_add(&buf, SPAN("x")), ERR_FULL);
	buf_release(&buf);
	assert_non_null(buf.ptr); /* it holds something */
	buf_consume(&buf, 600);
	buf_release(&buf);
	assert_null(buf.ptr);
	buf_finish(&buf);
}

/* The printing function's NUL needs room too. */
static void test_buf_addf_to_the_brim(void **state)
{
	(void)state;
	struct buf buf;
	buf_init(&buf, 5);
	assert_int_equal(buf_addf(&buf, "%s", "12345"), ERR_FULL);
	assert_int_equal(buf.len, 0);
	assert_int_equal(buf_addf(&buf, "%s", "1234"), ERR_NONE);
	assert_true(span_equal(buf_span(&buf), SPAN("1234")));
	buf_finish(&buf);
}

static void test_base64_round_trip(void **state)
{
	(void)state;
	char octets[67], text[BASE64_ENCODED(sizeof octets)], back[BASE64_ENCODED(sizeof octets)];
	for (size_t len = 0; len <= sizeof octets; len++) {
		for (size_t i = 0; i < len; i++)
			octets[i] = (char)(rand() & 0xff);
		size_t text_len = base64_encode(span_of(octets, len), text);
		assert_int_equal(text_len, BASE64_ENCODED(len));
		size_t back_len = 999;
		assert_int_equal(base64_decode(span_of(text, text_len), back, &back_len), ERR_NONE);
		assert_true(span_equal(span_of(back, back_len), span_of(octets, len)));
		assert_int_equal(base64_decode(span_of(text, text_len), text, &back_len), ERR_NONE);
		assert_true(span_equal(span_of(text, back_len), span_of(octets, len))); /* in place */
	}
}

static void test_base64_vectors(void **state)
{
	static const char *const rows[][2] = {
	    {"",       ""        }, /* RFC 4648 section 10 */
	    {"f",      "Zg=="    },
	    {"fo",     "Zm8="    },
	    {"foo",    "Zm9v"    },
	    {"foob",   "Zm9vYg=="},
	    {"fooba",  "Zm9vYmE="},
	    {"foobar", "Zm9vYmFy"},
	};
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		char text[16];
		size_t len = base64_encode(span_str(rows[i][0]), text);
		assert_true(span_equal(span_of(text, len), span_str(rows[i][1])));
	}
}

static void test_base64_is_strict(void **state)
{
	static const char *const refused[] = {
	    "Z",      "Zg",      "Zg=",        "Zh==" /* non-zero padding bits */,
	    "Zm9=",   "====",    "Z===",       "Zg==Zg==",
	    "Zg==\n", " Zm9v",   "Zm9v ",      "Zm-_",
	    "Zm9v=",  "=",       "=Zm9",       "Zm\n9v",
	    "Z=g=",   "Zm9vZg=", "\xc3\xa4==", "Zm9v====",
	};
	(void)state;
	for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
		char octets[16];
		size_t len = 77;
		assert_int_equal(base64_decode(span_str(refused[i]), octets, &len), ERR_SYNTAX);
		assert_int_equal(len, 77);
	}
	size_t len;
	char octets[16];
	assert_int_equal(base64_decode(SPAN("Zm9\0"), octets, &len), ERR_SYNTAX);
}

static void test_secret(void **state)
{
	(void)state;
	struct secret secret;
	assert_int_equal(secret_init(&secret, SPAN("p\0w")), ERR_NONE);
	assert_true(span_equal(secret_reveal(&secret), SPAN("p\0w")));
	assert_int_equal(secret_reveal(&secret).ptr[3], '\0');
	secret_finish(&secret);
	assert_int_equal(secret_reveal(&secret).len, 0);
	secret_finish(&secret); /* twice is fine */

	char octets[SECRET_MAX + 1] = {0};
	assert_int_equal(secret_init(&secret, span_of(octets, SECRET_MAX)), ERR_NONE);
	secret_finish(&secret);
	assert_int_equal(secret_init(&secret, span_of(octets, SECRET_MAX + 1)), ERR_FULL);
	assert_int_equal(secret_reveal(&secret).len, 0);

	assert_true(secret_equal(SPAN("abc"), SPAN("abc")));
	assert_false(secret_equal(SPAN("abc"), SPAN("abd")));
	assert_false(secret_equal(SPAN("abc"), SPAN("Abc")));
	assert_false(secret_equal(SPAN("abc"), SPAN("ab")));
	assert_true(secret_equal(SPAN(""), span_of(NULL, 0)));

	char wiped[] = "secret";
	secret_wipe(wiped, 3);
	assert_memory_equal(wiped, "\0\0\0ret", 6);
}

static void test_err(void **state)
{
	(void)state;
	for (int err = ERR_NONE; err >= ERR_LAST; err--)
		assert_true(err_text(err)[0] != '\0');
	assert_string_equal(err_text(1), "unknown error");
	assert_string_equal(err_text(ERR_LAST - 1), "unknown error");
	assert_int_equal(err_from_errno(ENOSPC), ERR_NOSPACE);
	assert_int_equal(err_from_errno(EROFS), ERR_READONLY);
	assert_int_equal(err_from_errno(ELOOP), ERR_NOTREGULAR);
	assert_int_equal(err_from_errno(EIO), ERR_IO);

	struct error error;
	char text[2 * sizeof error.text];
	memset(text, 'x', sizeof text - 1);
	text[sizeof text - 1] = '\0';
	error_set(&error, "%s", text);
	assert_int_equal(strlen(error.text), sizeof error.text - 1);
	error_set(NULL, "%s", text);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_span),
	    cmocka_unit_test(test_span_to_text),
	    cmocka_unit_test(test_num_parse),
	    cmocka_unit_test(test_num_print),
	    cmocka_unit_test(test_num_octets),
	    cmocka_unit_test(test_buf),
	    cmocka_unit_test(test_buf_addf_to_the_brim),
	    cmocka_unit_test(test_base64_round_trip),
	    cmocka_unit_test(test_base64_vectors),
	    cmocka_unit_test(test_base64_is_strict),
	    cmocka_unit_test(test_secret),
	    cmocka_unit_test(test_err),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
