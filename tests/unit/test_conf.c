/* SPDX-License-Identifier: MIT */
/* Unit test of conf/: every error at once with its line, -T reloads to the same, the manual page knows each
 * row. */
#include "conf/option.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static struct conf conf;
static struct conf_errors errors;
static const char *manual;

static int load_text(const char *text)
{
	char path[] = "/tmp/restante-test-conf-XXXXXX";
	int fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	(void)close(fd);
	int err = conf_load(path, &conf, &errors);
	(void)unlink(path);
	return err;
}

#define GOOD "listen { address = \"127.0.0.1:110\" }\n"

static void test_good(void **state)
{
	(void)state;
	assert_int_equal(load_text(GOOD "listen {\n address = \"*:995\"\n tls = yes\n}\n"
	                                "certificate { chain = /c.pem key = \"/k.pem\" } # comment\n"
	                                "worker { processes = 3 }\n"
	                                "limits { autologout = 15min login_timeout = 90 }\n"
	                                "log { level = debug }\n"),
	                 0);
	assert_int_equal(errors.count, 0);
	assert_int_equal(conf.listen_count, 2);
	assert_string_equal(conf.listen[0].address, "127.0.0.1:110");
	assert_false(conf.listen[0].tls);
	assert_string_equal(conf.listen[1].address, "*:995");
	assert_true(conf.listen[1].tls);
	assert_int_equal(conf.listen[1].line, 5);
	assert_int_equal(conf.cert_count, 1);
	assert_string_equal(conf.cert[0].key, "/k.pem");
	assert_int_equal(conf.workers, 3);
	assert_int_equal(conf.autologout_s, 900);
	assert_int_equal(conf.login_timeout_s, 90);
	assert_int_equal(conf.log_level, 3);
	assert_int_equal(conf.bad_commands_max, 10); /* a default */
	assert_string_equal(conf.mechanisms, "PLAIN LOGIN");
	assert_int_equal(conf_line(&conf, "limits.autologout"), 8);
	assert_int_equal(conf_line(&conf, "limits.bad_commands"), 0);
}

static void expect(unsigned at, unsigned line, const char *part)
{
	assert_true(at < errors.count);
	if (errors.list[at].line != line || !strstr(errors.list[at].text, part))
		fail_msg("complaint %u is line %u: %s; not: %u, %s", at, errors.list[at].line,
		         errors.list[at].text, line, part);
}

static void test_every_error(void **state)
{
	(void)state;
	assert_int_equal(load_text("worker {\n"                                      /* 1 */
	                           "\tmax_sesions = 5\n"                             /* 2 */
	                           "\tprocesses = many\n"                            /* 3 */
	                           "\tmax_sessions = 0\n"                            /* 4 */
	                           "}\n"                                             /* 5 */
	                           "wrker { user = x }\n"                            /* 6 */
	                           "limits {\n"                                      /* 7 */
	                           "\tautologout = 25h\n"                            /* 8 */
	                           "\tautologout = 9min\n"                           /* 9 */
	                           "\tlogin_timeout 5\n"                             /* 10 */
	                           "}\n"                                             /* 11 */
	                           "auth { allow_cleartext = maybe max_open = 5 }\n" /* 12 */
	                           "listen {\n"                                      /* 13 */
	                           "}\n"                                             /* 14 */
	                           "certificate { chain = c.pem }\n"                 /* 15 */
	                           "log { level = loud }\n"                          /* 16 */
	                           "zzzzzzzzzzzz {\n\tx = {\n\t1 }\n}\n"             /* 17 */
	                           "mail { location = \"imap:/x\" }\n"),             /* 21 */
	                 ERR_CONFIG);
	expect(0, 2, "no option max_sesions in section worker; do you mean max_sessions?");
	expect(1, 3, "worker.processes: \"many\" is not a number");
	expect(2, 4, "worker.max_sessions: 0 is not between 1 and 1000000");
	expect(3, 6, "no section wrker; do you mean worker?");
	expect(4, 8, "limits.autologout: 25h is not between 1s and 1d");
	expect(5, 9, "limits.autologout is set already (line 8)");
	expect(6, 9, "at least 10min");
	assert_true(errors.list[6].warning);
	expect(7, 10, "missing equal sign after option 'login_timeout'");
	expect(8, 12, "no option max_open in section auth; do you mean keeper.max_open?");
	expect(9, 12, "auth.allow_cleartext: \"maybe\" is neither yes nor no");
	expect(10, 14, "this listen section has no address");
	expect(11, 15, "certificate.chain: \"c.pem\" is not an absolute path");
	expect(12, 15, "this certificate section has no key");
	expect(13, 16, "\"loud\" is none of: error warning info debug");
	expect(14, 17, "there is no section zzzzzzzzzzzz");
	expect(15, 21, "does not begin with maildir:/ or mbox:/");
	assert_int_equal(errors.count, 16);
	assert_int_equal(errors.errors, 15);
}

/* Comments hold anything and move no line; in quotes they are none. */
static void test_comments(void **state)
{
	(void)state;
	assert_int_equal(load_text("# }{ \" '\nlisten { # x = y\n\taddress = \"*:1\" // c \"\n}\n/* two\n"
	                           "lines \" */ log { file = \"/a # b // c /* d\"# e\n}\n"
	                           "auth { accounts = '/x#\\'y' }#\n/**/worker { processes = x }#"),
	                 ERR_CONFIG);
	expect(0, 9, "worker.processes");
	assert_int_equal(errors.count, 1);
	assert_string_equal(conf.log_file, "/a # b // c /* d");
	assert_string_equal(conf.accounts, "/x#'y");
	assert_int_equal(conf.listen[0].line, 4);
}

static void expect_alone(const char *text, unsigned line, const char *part)
{
	assert_int_equal(load_text(text), ERR_CONFIG);
	expect(0, line, part);
	if (errors.count != 1)
		fail_msg("more than: %s", part);
}

static void test_single_errors(void **state)
{
	(void)state;
	expect_alone("", 0, "no listen section");
	expect_alone(GOOD GOOD, 2, "listened at already (line 1)");
	expect_alone("listen { address = \"*:995\" tls = yes }", 1, "no certificate");
	expect_alone("listen { address = nonsense }", 1, "is not like 127.0.0.1:110");
	expect_alone(GOOD "mail { root = /srv }", 2, "is not below mail.root \"/srv\"");
	expect_alone(GOOD "mail { root = /srv location = \"maildir:/srv2/%u\" }", 2, "is not below");
	expect_alone(GOOD "mail { root = /srv location = \"maildir:/srv/all\" }", 2, "has no %u");
	expect_alone(GOOD "mail { root = /srv location = \"maildir:/srv/%n\" }", 2, "has no %u");
	expect_alone(GOOD "mail { root = /srv location = \"maildir:/srv/100%%u\" }", 2, "has no %u");
	expect_alone(GOOD "mail { root = /srv location = \"maildir:/srv/%u/%x\" }", 2, "has a %");
	expect_alone(GOOD "mail { root = /srv location = \"maildir:/srv/%u%\" }", 2, "has a %");
	expect_alone(GOOD "listen {\naddress = \"*:1\"\nworker { processes = 1 }\n", 4,
	             "is a } missing before it?");
	expect_alone(GOOD "log { file = \"a\x01\" }", 2, "control character");
	expect_alone(GOOD "}", 2, "unexpected closing brace");
	expect_alone(GOOD "log { file = \"abc\n }", 3, "premature end of file");
	expect_alone(GOOD "processes = 3", 2, "do you mean worker.processes?");
	expect_alone(GOOD "limits { autologout = 18446744073709551616d }", 2, "is not between");
	expect_alone(GOOD "limits { login_timeout = 5 min }", 2, "no option min");
	assert_int_equal(conf_load("/nonexistent/file", &conf, &errors), ERR_NOTFOUND);
	expect(0, 0, "No such file");
}

static void test_many_errors(void **state)
{
	(void)state;
	static char text[100000];
	size_t len = (size_t)snprintf(text, sizeof text, "worker {\n");
	for (int i = 0; i < 200; i++)
		len += (size_t)snprintf(text + len, sizeof text - len, "\tprocesses = x%d\n", i);
	for (int i = 0; i < 20; i++)
		len +=
		    (size_t)snprintf(text + len, sizeof text - len, "listen { address = \"*:%d\" }\n", i + 1);
	assert_int_equal(load_text(text), ERR_CONFIG);
	assert_int_equal(errors.count, CONF_ERRORS_MAX);
}

/* What -T prints loads again to the same settings. */
static void test_print(void **state)
{
	(void)state;
	static struct conf first;
	assert_int_equal(load_text(GOOD "listen { address = \"[::1]:995\" tls = yes }\n"
	                                "certificate { chain = /a key = \"/b \\\" \\\\ \\x24{HOME} 'c'\" }\n"
	                                "limits { autologout = 11min login_timeout = 61 }\n"
	                                "auth { cache = 0 allow_cleartext = yes }\nlog { level = error }\n"),
	                 0);
	assert_string_equal(conf.cert[0].key, "/b \" \\ ${HOME} 'c'");
	first = conf;
	char *text = NULL;
	size_t size = 0;
	FILE *to = open_memstream(&text, &size);
	conf_print(&conf, to);
	(void)fclose(to);
	assert_int_equal(load_text(text), 0);
	assert_int_equal(errors.count, 0);
	for (size_t i = 0; i < conf_row_count; i++)
		assert_true(conf.lines[i] != 0 || strncmp(conf_rows[i].name, "listen", 6) == 0 ||
		            strncmp(conf_rows[i].name, "certificate", 11) == 0);
	memset(first.lines, 0, sizeof first.lines);
	memset(conf.lines, 0, sizeof conf.lines);
	for (unsigned i = 0; i < 2; i++)
		first.listen[i].line = conf.listen[i].line = 0;
	first.cert[0].line = conf.cert[0].line = 0;
	assert_memory_equal(&first, &conf, sizeof conf);
	free(text);
}

/* The defaults are within the rows' own ranges. */
static void test_rows(void **state)
{
	(void)state;
	for (size_t i = 0; i < conf_row_count; i++) {
		const struct conf_row *row = &conf_rows[i];
		struct error error = {""};
		if (row->initial && !conf_row_in(row, "listen"))
			assert_int_equal(conf_value_take(row, &conf, row->initial, &error), 0);
		assert_string_equal(error.text, "");
		assert_true(strlen(row->doc) > 10);
	}
}

static void test_manual(void **state)
{
	(void)state;
	static char page[200000];
	FILE *file = fopen(manual, "r");
	assert_non_null(file);
	size_t len = fread(page, 1, sizeof page - 1, file);
	(void)fclose(file);
	page[len] = '\0';
	size_t documented = 0;
	for (char *at = page; (at = strstr(at, "\n.It Ic ")); at++)
		documented++;
	for (size_t i = 0; i < conf_row_count; i++) {
		char item[200];
		(void)snprintf(item, sizeof item, "\n.It Ic %s Ns \\&:", conf_rows[i].name);
		char *at = strstr(page, item);
		if (!at)
			fail_msg("%s is not in the manual page", conf_rows[i].name);
		char *end = strchr(at + 1, '\n');
		*end = '\0';
		const char *initial = conf_rows[i].initial;
		if (initial && initial[0] && !strstr(at, initial))
			fail_msg("the manual page gives %s another default than %s", conf_rows[i].name,
			         initial);
		*end = '\n';
	}
	assert_int_equal(documented, conf_row_count);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_good),        cmocka_unit_test(test_every_error),
	    cmocka_unit_test(test_comments),    cmocka_unit_test(test_single_errors),
	    cmocka_unit_test(test_many_errors), cmocka_unit_test(test_print),
	    cmocka_unit_test(test_rows),        cmocka_unit_test(test_manual),
	};
	if (argc != 2) {
		fprintf(stderr, "usage: %s MANUAL-PAGE\n", argv[0]);
		return 64;
	}
	manual = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
