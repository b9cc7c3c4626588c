/* SPDX-License-Identifier: MIT */
/* Unit test of lmtp/command: what is a command, and what an address. */
#include "lmtp/command.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct row {
	const char *line;
	int err;
	enum lmtp_verb verb;
	const char *text;
	uint64_t size;
	bool utf8, text_is_utf8;
};

static const struct row rows[] = {
    {"LHLO relay.example.org",                    ERR_NONE,                                      LMTP_LHLO, "relay.example.org"},
    {"lhlo  [IPv6:2001:db8::1] ",                        ERR_NONE,                                                                     LMTP_LHLO, "[IPv6:2001:db8::1]"},
    {"LHLO a(b)",            ERR_SYNTAX,LMTP_LHLO},
    {"LHLO a\rb",                                           ERR_SYNTAX,                                                                              LMTP_LHLO},
    {"LHLO",                                  ERR_SYNTAX,                                                                                                    LMTP_LHLO},
    {"MAIL FROM:<>",ERR_NONE,LMTP_MAIL, ""},
    {"mail from:<a@b>",                                      ERR_NONE,                                        LMTP_MAIL, "a@b"},
    {"MAIL FROM:  <a@b>  SIZE=12  ",                                           ERR_NONE,                                                                           LMTP_MAIL, "a@b", 12},
    {"MAIL FROM:<a@b> BODY=7BIT SMTPUTF8",                                  ERR_NONE,                                                                                                                                LMTP_MAIL, "a@b", .utf8 = true},
    {"MAIL FROM:<\xc3\xbc@b> smtputf8",                           ERR_NONE,                           LMTP_MAIL, "\xc3\xbc@b", .utf8 = true,
     .text_is_utf8 = true},
    {"MAIL FROM:<a@b> SIZE=18446744073709551616",                                      ERR_NONE,                                                                                   LMTP_MAIL, "a@b", UINT64_MAX},
    {"MAIL FROM:<a@b> SIZE=",ERR_SYNTAX,LMTP_MAIL},
    {"MAIL FROM:<a@b> SIZE=-1",                                         ERR_SYNTAX,                                                                                      LMTP_MAIL},
    {"MAIL FROM:<a@b> BODY=BINARYMIME",  ERR_RANGE,LMTP_MAIL},
    {"MAIL FROM:<a@b> AUTH=<>",                               ERR_RANGE,                                                                            LMTP_MAIL},
    {"MAIL FROM:<a@b>SIZE=1",         ERR_SYNTAX,                   LMTP_MAIL},
    {"MAIL FROM:a@b",                               ERR_SYNTAX,                                                                       LMTP_MAIL},
    {"MAIL FROM:<a@b", ERR_SYNTAX, LMTP_MAIL},
    {"MAIL FROM:<a b@c>",                                      ERR_SYNTAX,                                                                         LMTP_MAIL},
    {"MAIL FROM:<a<b@c>",                     ERR_SYNTAX,                                                                LMTP_MAIL},
    {"MAIL TO:<a@b>",                                           ERR_SYNTAX,                                                                LMTP_MAIL},
    {"MAIL",                                  ERR_SYNTAX,LMTP_MAIL},
    {"RCPT TO:<\"a> b\\\"\"@c>",                                 ERR_NONE,                                                                                                                                                               LMTP_RCPT, "\"a> b\\\"\"@c"},
    {"RCPT TO:<\"a@b>",                   ERR_SYNTAX,                         LMTP_RCPT},
    {"RCPT TO:<\"a\\",                                           ERR_SYNTAX,                                                                  LMTP_RCPT},
    {"RCPT TO:<@x,@y:a@b>",                                  ERR_NONE,                                                             LMTP_RCPT, "a@b"},
    {"RCPT TO:<@x>",   ERR_SYNTAX,LMTP_RCPT},
    {"RCPT TO:<>",                            ERR_SYNTAX,                                                               LMTP_RCPT},
    {"RCPT TO:<a@b> ORCPT=rfc822;a@b",                                           ERR_RANGE,                                                                      LMTP_RCPT},
    {"RCPT TO:<a\x7f@b>",                                  ERR_SYNTAX,       LMTP_RCPT},
    {"DATA",             ERR_NONE,LMTP_DATA, ""},
    {"DATA ",                             ERR_NONE,                      LMTP_DATA, ""},
    {"DATA x",                                           ERR_SYNTAX,                                                                                   LMTP_DATA},
    {"NOOP x y z",                                  ERR_NONE,                                                                                      LMTP_NOOP, ""},
    {"EHLO",   ERR_NONE,LMTP_EHLO, ""},
    {"",                                           ERR_UNSUPPORTED                                                                       },
    {"MAILFROM:<a@b>",                                  ERR_UNSUPPORTED                                                      },
    {"BDAT 1 LAST",ERR_UNSUPPORTED},
};

static void test_rows(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		const struct row *row = &rows[i];
		size_t len = strlen(row->line);
		char *line = malloc(len ? len : 1); /* exactly so long, for a sanitizer's eye */
		struct lmtp_command command;
		assert_non_null(line);
		memcpy(line, row->line, len);
		print_message("%s\n", row->line);
		assert_int_equal(lmtp_parse(span_of(line, len), &command), row->err);
		if (row->err == ERR_UNSUPPORTED)
			assert_null(command.row);
		else
			assert_ptr_equal(command.row, &lmtp_verbs[row->verb]);
		if (row->err == ERR_NONE) {
			assert_true(span_equal(command.text, span_str(row->text)));
			assert_true(command.size == row->size);
			assert_int_equal(command.utf8, row->utf8);
			assert_int_equal(command.text_is_utf8, row->text_is_utf8);
		}
		free(line);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_rows),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
