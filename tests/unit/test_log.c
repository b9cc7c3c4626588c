/* SPDX-License-Identifier: MIT */
/* Unit test of log/log.c: escaping, cutting, the bounded buffer, relayed lines. */
#include "log/log.h"

#include "base/err.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static int pipe_fds[2];
static char text[1024 * 1024];

static int open_pipe(void **state)
{
	(void)state;
	if (pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK) != 0)
		return -1;
	log_init(pipe_fds[1], LOG_INFO, "");
	return 0;
}

static int close_pipe(void **state)
{
	(void)state;
	log_flush();
	(void)close(pipe_fds[0]);
	(void)close(pipe_fds[1]);
	return 0;
}

/* Everything that can be read now, NUL-terminated. */
static size_t read_all(void)
{
	size_t len = 0;
	log_flush();
	for (ssize_t n; (n = read(pipe_fds[0], text + len, sizeof text - 1 - len)) > 0;)
		len += (size_t)n;
	text[len] = '\0';
	return len;
}

static void test_line(void **state)
{
	(void)state;
	struct log_line line;
	log_begin(&line, LOG_INFO, "login");
	log_text(&line, "user", "alice");
	log_num(&line, "octets", 18446744073709551615u);
	log_err(&line, "result", ERR_BUSY);
	log_end(&line);
	log_end(&line); /* adds nothing */
	log_begin(&line, LOG_DEBUG, "unwanted");
	log_text(&line, "user", "alice");
	log_end(&line);
	size_t len = read_all();
	assert_int_equal(text[10], 'T');
	assert_int_equal(text[19], '.');
	assert_string_equal(text + 23,
	                    "Z info event=login user=alice octets=18446744073709551615 result=\"in use\"\n");
	assert_int_equal(len, strlen(text));
}

static void expect_escaped(struct span value, const char *want)
{
	struct log_line line;
	log_begin(&line, LOG_ERROR, "x");
	log_span(&line, "v", value);
	log_end(&line);
	(void)read_all();
	char *at = strstr(text, " v=");
	assert_non_null(at);
	at[strlen(at) - 1] = '\0';
	assert_string_equal(at + 3, want);
}

static void test_escaping(void **state)
{
	(void)state;
	expect_escaped(SPAN("plain-Value_1/2:3"), "plain-Value_1/2:3");
	expect_escaped(SPAN(""), "\"\"");
	expect_escaped(SPAN("two words"), "\"two words\"");
	expect_escaped(SPAN("a\r\nb"), "\"a\\x0d\\x0ab\"");
	expect_escaped(SPAN("a\"b\\c=d"), "\"a\\x22b\\x5cc\\x3dd\"");
	expect_escaped(SPAN("\0\x1b[2J\x7f\x80\xff"), "\"\\x00\\x1b[2J\\x7f\\x80\\xff\"");
}

static void test_cut(void **state)
{
	(void)state;
	static char longest[LOG_LINE_MAX + 100];
	for (unsigned char c = 'a';; c = '\n') { /* a plain value, then one that grows fourfold */
		memset(longest, c, sizeof longest);
		for (size_t len = 300; len < sizeof longest; len++) {
			struct log_line line;
			log_begin(&line, LOG_ERROR, "x");
			log_span(&line, "v", span_of(longest, len));
			log_text(&line, "after", "here");
			log_end(&line);
			size_t got = read_all();
			assert_true(got <= LOG_LINE_MAX);
			assert_int_equal(text[got - 1], '\n');
			assert_ptr_equal(strchr(text, '\n'), text + got - 1);
			bool whole = strstr(text, " after=here\n") != NULL;
			bool cut = strcmp(text + got - 7, " cut=1\n") == 0;
			assert_true(whole != cut);
			size_t quotes = 0;
			for (size_t i = 0; i < got; i++)
				quotes += text[i] == '"';
			assert_int_equal(quotes % 2, 0);
		}
		if (c == '\n')
			break;
	}
}

static void test_dropped(void **state)
{
	(void)state;
	unsigned long sent = 0;
	struct log_line line;
	static char value[1000];
	memset(value, 'v', sizeof value);
	for (; sent < 2000; sent++) { /* 2 MB into a pipe nobody reads */
		log_begin(&line, LOG_INFO, "many");
		log_span(&line, "v", span_of(value, sizeof value));
		log_end(&line);
		log_flush();
	}
	unsigned long got = 0, dropped = 0;
	for (;;) { /* reading makes room: what was kept comes, whole, then the count of what was not */
		if (read_all() == 0)
			break;
		char *rest = text;
		for (char *one; (one = strsep(&rest, "\n")) && *one;) {
			if (strstr(one, " event=many v=vvv"))
				got++;
			char *count = strstr(one, "event=log-dropped lines=");
			if (count)
				(void)sscanf(count, "event=log-dropped lines=%lu", &dropped);
		}
		if (dropped)
			break;
	}
	assert_true(got > 0 && dropped > 0);
	assert_true(got + dropped >= sent - 1); /* one line may have been split over two reads */
	assert_true(got + dropped <= sent + 1);
}

static void expect_relayed(struct span line, const char *want)
{
	log_relay("worker.3", line);
	(void)read_all();
	text[strcspn(text, "\n")] = '\0';
	assert_non_null(strstr(text, want));
	const char *proc = strstr(text, "proc=");
	assert_memory_equal(proc, "proc=worker.3", 13); /* the first proc= is the master's */
}

static void test_relay(void **state)
{
	(void)state;
	expect_relayed(SPAN("2026-11-24T04:00:00.123Z info event=login user=alice"),
	               "2026-11-24T04:00:00.123Z info proc=worker.3 event=login user=alice");
	expect_relayed(SPAN("2026-11-24T04:00:00.123Z info proc=keeper.1 event=x\x1b\n"),
	               "info proc=worker.3 proc=keeper.1 event=x\\x1b\\x0a");
	expect_relayed(SPAN("2026-11-24T04:00:00.123Z evil event=x"), "event=stderr text=\"2026-11-24T04");
	expect_relayed(SPAN("==1==ERROR: Sanitizer"), "warning proc=worker.3 event=stderr text=\"");
	expect_relayed(SPAN(""), "event=stderr text=\"\"");
}

static void test_level(void **state)
{
	(void)state;
	enum log_level level = LOG_ERROR;
	assert_int_equal(log_level_parse(SPAN("debug"), &level), 0);
	assert_int_equal(level, LOG_DEBUG);
	assert_int_equal(log_level_parse(SPAN("Debug"), &level), ERR_SYNTAX);
	assert_int_equal(log_level_parse(SPAN("debugx"), &level), ERR_SYNTAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_line, open_pipe, close_pipe),
	    cmocka_unit_test_setup_teardown(test_escaping, open_pipe, close_pipe),
	    cmocka_unit_test_setup_teardown(test_cut, open_pipe, close_pipe),
	    cmocka_unit_test_setup_teardown(test_dropped, open_pipe, close_pipe),
	    cmocka_unit_test_setup_teardown(test_relay, open_pipe, close_pipe),
	    cmocka_unit_test_setup_teardown(test_level, open_pipe, close_pipe),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
