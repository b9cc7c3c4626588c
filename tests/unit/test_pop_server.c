/* SPDX-License-Identifier: MIT */
/* Unit test of pop/server: what a caller meets that no transcript can say. The protocol is in tests/script.
 */
#include "pop/server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct pop_server_conf conf = {
    .mechanisms = "PLAIN LOGIN",
    .bad_commands_max = 5,
    .login_timeout_ms = 60000,
    .autologout_ms = 600000,
};
static const uint64_t octets[] = {20, 0, 12};
static const uint32_t uid_at[] = {0, 1, 2, 3};
static const struct pop_source source = {3, octets, uid_at, "abc"};
static _Alignas(8) char block[128];
static struct pop_listing listing = {.count = 3, .total = 32};

static struct pop_server server;
static unsigned char marks[1];
static char in_room[1024], out_room[4096];
static struct pop_input in;
static struct pop_output out;

/* Gives the machine `text` behind what it left over, and says what it then wants. */
static enum pop_want feed(struct span text)
{
	memmove(in_room, in.ptr, in.len);
	memcpy(in_room + in.len, text.ptr, text.len);
	in = (struct pop_input){in_room, in.len + text.len};
	return pop_server_step(&server, &in, &out, 0);
}

static void expect_output(const char *text)
{
	assert_true(span_equal(span_of(out.ptr, out.len), span_str(text)));
	out.len = 0;
}

static int begin(void **state)
{
	(void)state;
	in = (struct pop_input){in_room, 0};
	out = (struct pop_output){out_room, 0, sizeof out_room};
	pop_server_init(&server, &conf, false, true, true, 0);
	assert_int_equal(feed(SPAN("")), POP_WANT_INPUT);
	out.len = 0;
	return 0;
}

static int begin_logged_in(void **state)
{
	(void)begin(state);
	assert_int_equal(feed(SPAN("USER a\r\nPASS b\r\n")), POP_WANT_LOGIN);
	marks[0] = 0;
	pop_listing_make(&source, block);
	assert_int_equal(pop_listing_open(span_of(block, pop_listing_size(&source)), &listing), ERR_NONE);
	pop_server_logged_in(&server, &listing);
	assert_int_equal(feed(SPAN("")), POP_WANT_INPUT);
	out.len = 0;
	return 0;
}

static void test_wishes_wait_for_answers(void **state)
{
	(void)state;
	assert_int_equal(feed(SPAN("USER a\r\nPASS b c\r\nSTAT\r\n")), POP_WANT_LOGIN);
	assert_int_equal(feed(SPAN("NOOP\r\n")), POP_WANT_LOGIN);
	assert_true(span_equal(server.ask.user, SPAN("a")));
	pop_server_not_logged_in(&server, ERR_BUSY);
	assert_int_equal(feed(SPAN("")), POP_WANT_INPUT);
	expect_output("+OK send PASS\r\n-ERR [IN-USE] maildrop is locked by another session\r\n"
	              "-ERR log in first\r\n-ERR log in first\r\n");
}

/* Input that cannot be taken yet stays where it is. */
static void test_room(void **state)
{
	(void)state;
	out.cap = POP_REPLY_MAX;
	out.len = 1;
	assert_int_equal(feed(SPAN("NOOP\r\n")), POP_WANT_ROOM);
	assert_int_equal(in.len, 6);
	out.len = 0;
	assert_int_equal(feed(SPAN("")), POP_WANT_ROOM);
	assert_int_equal(in.len, 0);
}

static void ask_for(struct span command, uint64_t length, bool wire_form)
{
	assert_int_equal(feed(command), POP_WANT_BODY);
	struct pop_body body = {.length = length, .header = 4, .wire_form = wire_form};
	pop_server_body(&server, &body);
	out.len = 0;
}

/* Part of a message in wire form goes out by itself, the rest through the machine: both are parts
 * of one stream, wherever the seam is. */
static void test_sent_as_it_is_and_by_us(void **state)
{
	static const char text[] =
	    "a: x.\r\n.\r\n.b\r\n.cde\r\n"; /* said to be in wire form: dots are not looked at */
	(void)state;
	for (size_t seam = 0; seam <= 20; seam++) {
		char got[64];
		(void)begin_logged_in(state);
		ask_for(SPAN("RETR 1\r\n"), 20, true);
		assert_int_equal(feed(SPAN("")), POP_WANT_OCTETS);
		expect_output("+OK 20 octets\r\n");
		assert_int_equal(pop_server_octets_as_is(&server), 20);
		assert_int_equal(pop_server_octets_sent(&server, seam), ERR_NONE);
		memcpy(got, text, seam);
		struct span raw = span_of(text + seam, 20 - seam);
		if (raw.len) {
			assert_int_equal(pop_server_octets_left(&server), raw.len);
			assert_int_equal(pop_server_octets(&server, &raw, &out), ERR_NONE);
		}
		assert_int_equal(raw.len, 0);
		assert_int_equal(feed(SPAN("")), POP_WANT_INPUT);
		memcpy(got + seam, out.ptr, out.len);
		assert_true(
		    span_equal(span_of(got, seam + out.len), SPAN("a: x.\r\n.\r\n.b\r\n.cde\r\n.\r\n")));
	}
	assert_int_equal(pop_server_octets_as_is(&server), 0);
}

static void test_top_is_never_sent_as_it_is(void **state)
{
	(void)state;
	ask_for(SPAN("TOP 1 1\r\n"), 20, true);
	assert_int_equal(feed(SPAN("")), POP_WANT_OCTETS);
	assert_int_equal(pop_server_octets_as_is(&server), 0);
}

/* A message that is not what LIST announced must not pass for one that is. */
static void test_not_as_listed(void **state)
{
	(void)state;
	ask_for(SPAN("RETR 1\r\n"), 19, false);
	assert_int_equal(feed(SPAN("")), POP_WANT_OCTETS);
	struct span raw = SPAN("a\nb\nc\nd\ne\nf\ng\n12345");
	assert_int_equal(pop_server_octets(&server, &raw, &out), ERR_CORRUPT);
}

static void test_empty_but_not_listed_so(void **state)
{
	(void)state;
	ask_for(SPAN("RETR 1\r\n"), 0, false);
	assert_int_equal(feed(SPAN("")), POP_WANT_INPUT);
	expect_output("-ERR message was replaced by another program, log in again\r\n");

	ask_for(SPAN("RETR 2\r\n"), 0, false); /* this one is */
	assert_int_equal(feed(SPAN("")), POP_WANT_INPUT);
	expect_output("+OK 0 octets\r\n.\r\n");
}

static void test_looking_ahead(void **state)
{
	uint32_t numbers[4];
	(void)state;
	assert_int_equal(pop_server_ahead(&server, SPAN("RETR 2\r\nNOOP\r\nTOP 3 1\r\nRETR 1"), numbers, 4),
	                 2);
	assert_int_equal(numbers[0], 2);
	assert_int_equal(numbers[1], 3);
	assert_int_equal(
	    pop_server_ahead(&server, SPAN("RETR 4\r\nRETR 0\r\nRETR x\r\nDELE 1\r\n"), numbers, 4), 0);
	assert_int_equal(pop_server_ahead(&server, SPAN("QUIT\r\nRETR 1\r\n"), numbers, 4), 0);
	assert_int_equal(pop_server_ahead(&server, SPAN("RETR 1\r\nRETR 1\r\nRETR 1\r\n"), numbers, 2), 2);
	assert_int_equal(feed(SPAN("DELE 1\r\n")), POP_WANT_MARKS);
	pop_server_marks(&server, marks);
	assert_int_equal(feed(SPAN("")), POP_WANT_INPUT);
	assert_int_equal(pop_server_ahead(&server, SPAN("RETR 1\r\nRETR 3\r\n"), numbers, 4), 1);
	assert_int_equal(numbers[0], 3);
}

static void test_nothing_to_look_ahead_to_before_login(void **state)
{
	uint32_t numbers[4];
	(void)state;
	assert_int_equal(pop_server_ahead(&server, SPAN("RETR 1\r\n"), numbers, 4), 0);
}

static void test_challenge_that_does_not_fit(void **state)
{
	static const char long_text[6000] = "x";
	(void)state;
	assert_int_equal(feed(SPAN("AUTH LOGIN\r\n")), POP_WANT_SASL);
	assert_true(span_equal(server.ask.mechanism, SPAN("LOGIN")));
	assert_false(server.ask.has_initial);
	assert_int_equal(pop_server_challenge(&server, SPAN(long_text), &out), ERR_FULL);
	assert_int_equal(out.len, 0);
	assert_int_equal(pop_server_challenge(&server, SPAN(""), &out), ERR_NONE);
	expect_output("+ \r\n");
	assert_int_equal(feed(SPAN("=\r\n")), POP_WANT_CANCEL); /* "=" is for initial responses only */
	assert_int_equal(feed(SPAN("")), POP_WANT_INPUT);
}

/* What a session does not need, nobody is asked for. */
static void test_listing_and_marks_when_needed(void **state)
{
	struct pop_listing bare = {.count = 3, .total = 32};
	(void)state;
	assert_int_equal(feed(SPAN("USER a\r\nPASS b\r\n")), POP_WANT_LOGIN);
	pop_server_logged_in(&server, &bare);
	assert_int_equal(feed(SPAN("STAT\r\nRSET\r\nNOOP\r\nLIST 1 2\r\nUIDL\r\n")), POP_WANT_LISTING);
	expect_output("+OK send PASS\r\n+OK maildrop has 3 messages (32 octets)\r\n+OK 3 32\r\n"
	              "+OK maildrop has 3 messages (32 octets)\r\n+OK nothing done\r\n"
	              "-ERR syntax: LIST [msg]\r\n");
	assert_int_equal(feed(SPAN("DELE 2\r\n")), POP_WANT_LISTING);
	pop_listing_make(&source, block);
	assert_int_equal(pop_listing_open(span_of(block, pop_listing_size(&source)), &bare), ERR_NONE);
	pop_server_listed(&server, &bare);
	assert_int_equal(feed(SPAN("LIST\r\n")), POP_WANT_MARKS);
	marks[0] = 0;
	pop_server_marks(&server, marks);
	assert_int_equal(feed(SPAN("DELE 1\r\nUIDL\r\n")), POP_WANT_INPUT);
	expect_output("+OK 3 messages (32 octets)\r\n1 a\r\n2 b\r\n3 c\r\n.\r\n+OK message 2 deleted\r\n"
	              "+OK 2 messages (32 octets)\r\n1 20\r\n3 12\r\n.\r\n+OK message 1 deleted\r\n"
	              "+OK 1 message (12 octets)\r\n3 c\r\n.\r\n");
}

/* The command is read again when the marks are there; what was dropped before it is not. */
static void test_rest_of_a_long_line_is_no_command(void **state)
{
	char text[POP_COMMAND_MAX + 1];
	(void)state;
	memset(text, 'x', sizeof text);
	assert_int_equal(feed(span_of(text, sizeof text)), POP_WANT_INPUT);
	assert_int_equal(feed(SPAN("QUIT\r\nDELE 1\r\n")), POP_WANT_MARKS);
	pop_server_marks(&server, marks);
	assert_int_equal(feed(SPAN("")), POP_WANT_INPUT);
	expect_output("-ERR line too long\r\n+OK message 1 deleted\r\n");
}

static void test_no_listing_to_be_had(void **state)
{
	struct pop_listing bare = {.count = 3, .total = 32};
	(void)state;
	assert_int_equal(feed(SPAN("USER a\r\nPASS b\r\n")), POP_WANT_LOGIN);
	pop_server_logged_in(&server, &bare);
	assert_int_equal(feed(SPAN("DELE 1\r\nQUIT\r\n")), POP_WANT_LISTING);
	out.len = 0;
	pop_server_not_listed(&server);
	assert_int_equal(feed(SPAN("")), POP_WANT_CLOSE);
	expect_output("-ERR [SYS/TEMP] maildrop cannot be listed now, log in again\r\n");
	assert_false(server.quit);
}

/* A block that does not hold gives empty lines, and nothing from outside of it. */
static void test_made_up_listing(void **state)
{
	struct pop_listing made = {.count = 3};
	uint64_t size = pop_listing_size(&source);
	(void)state;
	for (uint64_t cut = 0; cut < size; cut++) {
		char *exact = malloc(cut + 1);
		memcpy(exact, block, cut);
		assert_int_equal(pop_listing_open(span_of(exact, cut), &made), ERR_PEER);
		free(exact);
	}
	for (unsigned at = 0; at < 8; at++)
		for (unsigned turn = 0; turn < 3; turn++) {
			static const uint32_t values[] = {7, UINT32_MAX, 1u << 31};
			pop_listing_make(&source, block);
			memcpy(block + sizeof octets + at * sizeof values[0], &values[turn],
			       sizeof values[0]);
			if (pop_listing_open(span_of(block, size), &made) != ERR_NONE)
				continue;
			for (uint32_t from = 1; from <= 3; from++)
				for (uint32_t to = from; to <= 3; to++) {
					struct span got = pop_listing_lines(&made.uidl, from, to);
					bool inside = got.ptr >= block && got.ptr + got.len <= block + size;
					assert_true(inside || span_equal(got, SPAN("\r\n")));
				}
		}
}

enum { MANY = 3000 };

/* Long runs of lines are the caller's to send from where they are. */
static void test_text_is_not_copied(void **state)
{
	static uint64_t sizes[MANY];
	static uint32_t at[MANY + 1];
	static char uids[MANY * 10];
	static unsigned char many_marks[(MANY + 7) / 8];
	for (uint32_t i = 0; i < MANY; i++) {
		sizes[i] = i;
		at[i + 1] = at[i] + 10;
		memset(uids + at[i], 'u', 10);
	}
	struct pop_source long_source = {MANY, sizes, at, uids};
	struct pop_listing long_listing = {.count = MANY};
	uint64_t size = pop_listing_size(&long_source);
	char *memory = malloc(size);
	pop_listing_make(&long_source, memory);
	assert_int_equal(pop_listing_open(span_of(memory, size), &long_listing), ERR_NONE);
	(void)begin(state);
	assert_int_equal(feed(SPAN("USER a\r\nPASS b\r\n")), POP_WANT_LOGIN);
	pop_server_logged_in(&server, &long_listing);
	assert_int_equal(feed(SPAN("UIDL\r\nUIDL 3000\r\n")), POP_WANT_TEXT);
	assert_ptr_equal(server.ask.text.ptr, long_listing.uidl.text.ptr);
	assert_int_equal(server.ask.text.len, long_listing.uidl.text.len);
	pop_server_text_sent(&server, 1);
	assert_int_equal(feed(SPAN("")), POP_WANT_TEXT);
	assert_ptr_equal(server.ask.text.ptr, long_listing.uidl.text.ptr + 1);
	pop_server_text_sent(&server, server.ask.text.len);
	out.len = 0;
	assert_int_equal(feed(SPAN("DELE 100\r\nLIST\r\n")), POP_WANT_MARKS);
	expect_output(".\r\n+OK 3000 uuuuuuuuuu\r\n");
	pop_server_marks(&server, many_marks);
	assert_int_equal(feed(SPAN("")), POP_WANT_TEXT);
	assert_true(span_equal(span_first(server.ask.text, 9), SPAN("101 100\r\n")));
	pop_server_text_sent(&server, server.ask.text.len);
	assert_int_equal(feed(SPAN("")), POP_WANT_INPUT);
	free(memory);
}

static void test_clock(void **state)
{
	(void)state;
	assert_false(pop_server_expired(&server, 59999));
	assert_true(pop_server_expired(&server, 60000));
	assert_int_equal(feed(SPAN("USER a\r\nPASS b\r\n")), POP_WANT_LOGIN);
	pop_server_logged_in(&server, &listing);
	assert_int_equal(pop_server_step(&server, &in, &out, 30000), POP_WANT_INPUT);
	assert_false(pop_server_expired(&server, 599999));
	pop_server_active(&server, 1000000); /* the client took octets */
	assert_false(pop_server_expired(&server, 1599999));
	assert_true(pop_server_expired(&server, 1600000));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(test_wishes_wait_for_answers, begin),
	    cmocka_unit_test_setup(test_room, begin),
	    cmocka_unit_test_setup(test_sent_as_it_is_and_by_us, begin_logged_in),
	    cmocka_unit_test_setup(test_top_is_never_sent_as_it_is, begin_logged_in),
	    cmocka_unit_test_setup(test_not_as_listed, begin_logged_in),
	    cmocka_unit_test_setup(test_empty_but_not_listed_so, begin_logged_in),
	    cmocka_unit_test_setup(test_looking_ahead, begin_logged_in),
	    cmocka_unit_test_setup(test_nothing_to_look_ahead_to_before_login, begin),
	    cmocka_unit_test_setup(test_challenge_that_does_not_fit, begin),
	    cmocka_unit_test_setup(test_listing_and_marks_when_needed, begin),
	    cmocka_unit_test_setup(test_rest_of_a_long_line_is_no_command, begin_logged_in),
	    cmocka_unit_test_setup(test_no_listing_to_be_had, begin),
	    cmocka_unit_test_setup(test_made_up_listing, begin),
	    cmocka_unit_test_setup(test_text_is_not_copied, begin),
	    cmocka_unit_test_setup(test_clock, begin),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
