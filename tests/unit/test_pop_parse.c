/* SPDX-License-Identifier: MIT */
/* Unit test of pop/parse and pop/verb: one command line by its row. */
#include "pop/parse.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Parses a copy of exactly the line's length, so that a sanitizer sees a read past it; spans of *ret are
 * compared by the caller's expectations and then dangle. */
static int parse(struct span line, struct pop_command *ret, const char *text, const char *second)
{
	char *copy = malloc(line.len ? line.len : 1);
	assert_non_null(copy);
	if (line.len)
		memcpy(copy, line.ptr, line.len);
	int err = pop_parse(span_of(copy, line.len), ret);
	if (text)
		assert_true(span_equal(ret->text, span_str(text)));
	if (second)
		assert_true(span_equal(ret->second, span_str(second)));
	free(copy);
	return err;
}

static void test_rows(void **state)
{
	(void)state;
	for (size_t i = 0; i < POP_VERBS; i++) {
		const struct pop_verb_row *row = &pop_verbs[i];
		assert_true(strlen(row->word) >= 3);
		assert_ptr_equal(pop_verb_find(span_str(row->word)), row);
		assert_int_equal(strncmp(row->syntax, row->word, strlen(row->word)), 0);
		assert_true(row->line_max >= 255); /* RFC 2449 section 4 */
		assert_int_not_equal(row->states, 0);
		assert_true(row->rfc[0] != '\0');
		if (i)
			assert_true(strcmp(pop_verbs[i - 1].word, row->word) < 0);
	}
}

static void test_words(void **state)
{
	static const struct {
		struct span line;
		int verb; /* -1: unknown */
	} rows[] = {
	    {{"NOOP", 4},     POP_NOOP},
            {{"noop", 4},     POP_NOOP},
            {{"nOoP ", 5},    POP_NOOP},
	    {{"top 1 1", 7},  POP_TOP },
            {{"", 0},         -1      },
            {{" NOOP", 5},    -1      },
	    {{"NOO", 3},      -1      },
            {{"NOOPS", 5},    -1      },
            {{"NOOP\0", 5},   -1      },
	    {{"NOOP\t", 5},   -1      },
            {{"TOPS", 4},     -1      },
            {{"TO", 2},       -1      },
	    {{"NO\xd6P", 4},  -1      },
            {{"+OK", 3},      -1      },
            {{"XYZZ 1", 6},   -1      },
	    {{"\0\0\0\0", 4}, -1      },
	};
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct pop_command command;
		int err = parse(rows[i].line, &command, NULL, NULL);
		if (rows[i].verb < 0) {
			assert_int_equal(err, ERR_UNSUPPORTED);
			assert_null(command.row);
		} else {
			assert_int_equal(err, ERR_NONE);
			assert_ptr_equal(command.row, &pop_verbs[rows[i].verb]);
		}
	}
}

static void test_message_numbers(void **state)
{
	static const struct {
		const char *argument;
		int err;
		uint32_t number;
	} rows[] = {
	    {" 1",	            ERR_NONE,   1         },
	    {" 01",                   ERR_NONE,   1         },
	    {" 1 ",                   ERR_NONE,   1         },
	    {" 4294967295",           ERR_NONE,   UINT32_MAX},
	    {" 4294967296",           ERR_RANGE,  0         },
	    {" 4294967297",           ERR_RANGE,  0         },
	    {" 18446744073709551617", ERR_RANGE,  0         },
	    {" 0",	            ERR_RANGE,  0         },
	    {" -1",                   ERR_SYNTAX, 0         },
	    {" +1",                   ERR_SYNTAX, 0         },
	    {" 1x",                   ERR_SYNTAX, 0         },
	    {" 0x1",                  ERR_SYNTAX, 0         },
	    {" 1 2",                  ERR_SYNTAX, 0         },
	    {"  1",                   ERR_SYNTAX, 0         },
	    {" 1\t",                  ERR_SYNTAX, 0         },
	    {" one",                  ERR_SYNTAX, 0         },
	};
	static const char *const words[] = {"RETR", "DELE", "LIST", "UIDL"};
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		for (size_t k = 0; k < sizeof words / sizeof words[0]; k++) {
			char line[64];
			struct pop_command command;
			(void)snprintf(line, sizeof line, "%s%s", words[k], rows[i].argument);
			assert_int_equal(parse(span_str(line), &command, NULL, NULL), rows[i].err);
			assert_string_equal(command.row->word, words[k]);
			if (!rows[i].err)
				assert_int_equal(command.number, rows[i].number);
		}
	}
}

static void test_bare(void **state)
{
	static const struct {
		const char *line;
		int err;
	} rows[] = {
	    {"RETR",    ERR_SYNTAX},
            {"RETR ",   ERR_SYNTAX},
            {"DELE",    ERR_SYNTAX},
            {"TOP",     ERR_SYNTAX},
	    {"USER",    ERR_SYNTAX},
            {"PASS",    ERR_SYNTAX},
            {"PASS ",   ERR_SYNTAX},
            {"LIST",    ERR_NONE  },
	    {"LIST ",   ERR_NONE  },
            {"UIDL",    ERR_NONE  },
            {"AUTH",    ERR_NONE  },
            {"STAT",    ERR_NONE  },
	    {"STAT   ", ERR_NONE  },
            {"STAT 1",  ERR_SYNTAX},
            {"QUIT x",  ERR_SYNTAX},
            {"CAPA x",  ERR_SYNTAX},
	};
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct pop_command command;
		assert_int_equal(parse(span_str(rows[i].line), &command, NULL, NULL), rows[i].err);
		if (!rows[i].err)
			assert_true(command.bare);
	}
}

static void test_top(void **state)
{
	static const struct {
		const char *line;
		int err;
		uint64_t lines;
	} rows[] = {
	    {"TOP 7 0",                    ERR_NONE,   0         },
	    {"TOP 7 99999999",             ERR_NONE,   99999999  },
	    {"TOP 7 18446744073709551615", ERR_NONE,   UINT64_MAX},
	    {"TOP 7 99999999999999999999", ERR_NONE,   UINT64_MAX}, /* more than any message has: all */
	    {"TOP 7",	              ERR_SYNTAX, 0         },
	    {"TOP 7 ",                     ERR_SYNTAX, 0         },
	    {"TOP 7 -1",                   ERR_SYNTAX, 0         },
	    {"TOP 7  1",                   ERR_SYNTAX, 0         },
	    {"TOP 7 1 1",                  ERR_SYNTAX, 0         },
	    {"TOP x 1",                    ERR_SYNTAX, 0         },
	    {"TOP 0 1",                    ERR_RANGE,  0         },
	    {"TOP 4294967296 1",           ERR_RANGE,  0         },
	};
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct pop_command command;
		assert_int_equal(parse(span_str(rows[i].line), &command, NULL, NULL), rows[i].err);
		if (rows[i].err)
			continue;
		assert_int_equal(command.number, 7);
		assert_true(command.lines == rows[i].lines);
	}
}

static void test_names_and_passwords(void **state)
{
	(void)state;
	struct pop_command command;
	assert_int_equal(parse(SPAN("USER mrose"), &command, "mrose", NULL), ERR_NONE);
	assert_int_equal(parse(SPAN("USER mrose  "), &command, "mrose", NULL), ERR_NONE);
	assert_int_equal(parse(SPAN("USER m rose"), &command, NULL, NULL), ERR_SYNTAX);
	assert_int_equal(parse(SPAN("USER m\0rose"), &command, NULL, NULL), ERR_SYNTAX);
	assert_int_equal(parse(SPAN("USER m\rrose"), &command, NULL, NULL), ERR_SYNTAX);
	assert_int_equal(parse(SPAN("USER \x7f"), &command, NULL, NULL), ERR_SYNTAX);
	assert_int_equal(parse(SPAN("USER m\xc3\xb6we"), &command, "m\xc3\xb6we", NULL), ERR_NONE);
	/* RFC 1939 section 7: a server may treat spaces in the argument as part of the password. */
	assert_int_equal(parse(SPAN("PASS  a  b  "), &command, " a  b  ", NULL), ERR_NONE);
	assert_int_equal(parse(SPAN("PASS  "), &command, " ", NULL), ERR_NONE);
	assert_int_equal(parse(SPAN("PASS a\0b"), &command, NULL, NULL), ERR_SYNTAX);
}

static void test_auth(void **state)
{
	(void)state;
	struct pop_command command;
	assert_int_equal(parse(SPAN("AUTH PLAIN"), &command, "PLAIN", ""), ERR_NONE);
	assert_false(command.has_second);
	assert_int_equal(parse(SPAN("AUTH PLAIN ="), &command, "PLAIN", "="), ERR_NONE);
	assert_true(command.has_second);
	assert_int_equal(parse(SPAN("AUTH plain AGEAYg=="), &command, "plain", "AGEAYg=="), ERR_NONE);
	assert_int_equal(parse(SPAN("AUTH PLAIN AGEAYg== x"), &command, NULL, NULL), ERR_SYNTAX);
	assert_int_equal(parse(SPAN("AUTH  PLAIN"), &command, NULL, NULL), ERR_SYNTAX);
	assert_int_equal(parse(SPAN("APOP a c4c9334bac560ecc979e58001b3e22fb"), &command, "a",
	                       "c4c9334bac560ecc979e58001b3e22fb"),
	                 ERR_NONE);
	assert_int_equal(parse(SPAN("APOP a"), &command, NULL, NULL), ERR_SYNTAX);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_rows),
	    cmocka_unit_test(test_words),
	    cmocka_unit_test(test_message_numbers),
	    cmocka_unit_test(test_bare),
	    cmocka_unit_test(test_top),
	    cmocka_unit_test(test_names_and_passwords),
	    cmocka_unit_test(test_auth),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
