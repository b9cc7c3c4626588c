/* SPDX-License-Identifier: MIT */
/* The client machine of restante-bench: a judge that lets nothing pass. Servers of every kind of wrong
 * speak to it, whole and octet by octet; only the right one gets to the end. */
#include "bench/client.h"

#include "base/buf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* "|": the server waits for what the client says next. */
#define GREETING "+OK hello\r\n|"
#define LOGIN    GREETING "+OK\r\n|+OK you are in\r\n|"
#define TWO      LOGIN "+OK 2 12\r\n|+OK\r\n1 7\r\n2 5\r\n.\r\n|"

/* What the server says; what the client thinks of it. */
static const struct talk {
	const char *profile;
	const char *server;
	int err;
	const char *reason; /* a part of it */
} talks[] = {
    {"poll",     LOGIN "+OK 2 12\r\n|+OK bye\r\n",                                        ERR_NONE,    ""                             },
    {"poll",     "-ERR busy\r\n",                                                         ERR_DENIED,  "greeting: -ERR busy"          },
    {"poll",     GREETING "+OK\r\n|-ERR [AUTH] no\r\n",                                   ERR_DENIED,  "PASS: -ERR [AUTH] no"         },
    {"poll",     "hello\r\n",                                                             ERR_SYNTAX,  "greeting: hello"              },
    {"poll",     "+OKAY\r\n",                                                             ERR_SYNTAX,  "greeting"                     },
    {"poll",     "+OK\n",                                                                 ERR_SYNTAX,  "bare LF"                      },
    {"poll",     LOGIN "+OK 2\r\n",                                                       ERR_SYNTAX,  "two numbers"                  },
    {"poll",     LOGIN "+OK 3 12\r\n",                                                    ERR_CORRUPT, "3 messages, not 2"            },
    {"poll",     LOGIN "+OK 2 12\r\n|+OK\r\n|+OK\r\n",                                    ERR_PEER,    "nothing asked for"            },
    {"poll",     GREETING "+OK\r\n",                                                      ERR_CLOSED,  "closed the connection at PASS"},
    {"uidl",     LOGIN "-ERR what?\r\n|+OK\r\n1 a\r\n2 b\r\n.\r\n|+OK\r\n",               ERR_NONE,    ""                             },
    {"uidl",     LOGIN "+OK\r\nUIDL\r\n.\r\n|+OK\r\n1 a\r\n2 b\r\n.\r\n|+OK\r\n",         ERR_NONE,    ""                             },
    {"uidl",     LOGIN "+OK\r\n.\r\n|+OK\r\n1 a\r\n.\r\n",                                ERR_CORRUPT, "UIDL gives 1 messages, not 2" },
    {"uidl",     LOGIN "+OK\r\n.\r\n|+OK\r\n1 a\r\n3 b\r\n",                              ERR_SYNTAX,  "message-number 2"             },
    {"uidl",     LOGIN "+OK\r\n.\r\n|+OK\r\n1 a\r\n2 b c\r\n",                            ERR_SYNTAX,  "unique-id"                    },
    {"uidl",     LOGIN "+OK\r\n.\r\n|+OK\r\n1 a\r\n2 a\r\n",                              ERR_CORRUPT, "of an earlier one"            },
    {"sessions", LOGIN "+OK bye\r\n",                                                     ERR_NONE,    ""                             },
    {"uidl",     LOGIN "+OK\r\n.\r\n|+OK\r\n1 \r\n",                                      ERR_SYNTAX,  "unique-id"                    },
    {"fetch",    TWO "+OK\r\n..\r\n.a\r\n.\r\n",                                          ERR_SYNTAX,  "unstuffed"                    },
    {"fetch",    TWO "+OK\r\n..\r\nab\r\n.\r\n|+OK\r\nabc\r\n.\r\n|+OK\r\n",              ERR_NONE,    ""                             },
    {"fetch",    TWO "+OK\r\nabcd\r\n.\r\n",                                              ERR_CORRUPT, "RETR 1 gives 6 octets, LIST 7"},
    {"fetch",    TWO "+OK\r\nabcdef\n.\r\n",                                              ERR_SYNTAX,  "bare LF"                      },
    {"fetch",    TWO "+OK\r\nabcde\r\n",                                                  ERR_CLOSED,  "at RETR"                      },
    {"fetch",    LOGIN "+OK 2 13\r\n|+OK\r\n1 7\r\n2 5\r\n.\r\n",                         ERR_CORRUPT, "LIST gives 12 octets, STAT 13"},
    {"drain",    TWO "+OK\r\nabcde\r\n.\r\n|+OK\r\nabc\r\n.\r\n|+OK\r\n|+OK\r\n|+OK\r\n", ERR_NONE,    ""                             },
    {"drain",    TWO "+OK\r\nabcde\r\n.\r\n|+OK\r\nabc\r\n.\r\n|+OK\r\n|-ERR gone\r\n",   ERR_DENIED,
     "DELE: -ERR"                                                                                                                     },
};

static char name[] = "ann", password[] = "secret";
static const struct account account = {.name = name, .password = password};

static struct client_plan plan_of(const char *profile)
{
	return (struct client_plan){
	    .profile = profile_find(profile), .window = 1, .passes = 1, .messages = 2};
}

/* Lets the server speak in pieces of `piece` octets. */
static int feed(struct client *client, const char *server, size_t piece, uint64_t now_ns, struct error *error)
{
	struct span all = span_str(server);
	while (all.len) {
		struct span turn = span_cut(&all, '|');
		while (turn.len) {
			size_t len = piece < turn.len ? piece : turn.len;
			int err = client_feed(client, span_first(turn, len), now_ns, error);
			if (err)
				return err;
			turn = span_after(turn, len);
		}
	}
	return ERR_NONE;
}

/* The same, then it closes. */
static int converse(struct client *client, const char *server, size_t piece, struct error *error)
{
	int err = feed(client, server, piece, 0, error);
	return err ? err : client_closed(client, error);
}

static void test_every_talk_in_every_split(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(talks) / sizeof(talks[0]); i++) {
		const struct talk *talk = &talks[i];
		struct client_plan plan = plan_of(talk->profile);
		for (size_t piece = 1; piece <= strlen(talk->server); piece++) {
			struct client client;
			struct error error = {.text = ""};
			client_init(&client, &plan, &account);
			int err = converse(&client, talk->server, piece, &error);
			if (err != talk->err || !strstr(error.text, talk->reason))
				fail_msg("%s, pieces of %zu: %d \"%s\", not %d \"%s\"; server: %s",
				         talk->profile, piece, err, error.text, talk->err, talk->reason,
				         talk->server);
			client_finish(&client);
		}
	}
}

static void expect_sent(struct client *client, const char *text)
{
	assert_int_equal(client->out.len, strlen(text));
	assert_memory_equal(client->out.ptr, text, strlen(text));
	buf_consume(&client->out, client->out.len);
}

static void say(struct client *client, const char *text)
{
	struct error error;
	assert_int_equal(feed(client, text, SIZE_MAX, 0, &error), ERR_NONE);
}

static void test_commands_are_sent_ahead_up_to_the_window(void **state)
{
	(void)state;
	struct client_plan plan = plan_of("fetch");
	plan.window = 2;
	plan.passes = 2;
	struct client client;
	client_init(&client, &plan, &account);
	say(&client, GREETING);
	expect_sent(&client, "USER ann\r\n");
	say(&client, "+OK\r\n");
	expect_sent(&client, "PASS secret\r\n");
	say(&client, "+OK\r\n|+OK 2 10\r\n");
	expect_sent(&client, "STAT\r\nLIST\r\n");
	say(&client, "+OK\r\n1 5\r\n2 5\r\n.\r\n");
	expect_sent(&client, "RETR 1\r\nRETR 2\r\n");
	say(&client, "+OK\r\nabc\r\n.\r\n");
	expect_sent(&client, "RETR 1\r\n");
	say(&client, "+OK\r\nabc\r\n.\r\n");
	expect_sent(&client, "RETR 2\r\n");
	say(&client, "+OK\r\nabc\r\n.\r\n+OK\r\nabc\r\n.\r\n");
	expect_sent(&client, "QUIT\r\n");
	assert_int_equal(client.messages_fetched, 4);
	assert_int_equal(client.octets_fetched, 20);
	client_finish(&client);
}

/* One RETR is timed at a time: with a window of two, every other. */
static void test_messages_are_timed(void **state)
{
	(void)state;
	struct client_plan plan = plan_of("fetch");
	struct error error;
	struct client client;
	plan.window = 2;
	plan.passes = 2;
	client_init(&client, &plan, &account);
	assert_int_equal(
	    feed(&client, LOGIN "+OK 2 10\r\n|+OK\r\n1 5\r\n2 5\r\n.\r\n", SIZE_MAX, 1000, &error), 0);
	assert_true(client.greeted && client.logged_in);
	assert_int_equal(client.message_ns, 0);
	assert_int_equal(client_feed(&client, SPAN("+OK\r\nabc\r\n"), 2000, &error), 0);
	assert_int_equal(client.message_ns, 0);
	assert_int_equal(client_feed(&client, SPAN(".\r\n"), 3000, &error), 0);
	assert_int_equal(client.message_ns, 2000);
	client.message_ns = 0;
	assert_int_equal(client_feed(&client, SPAN("+OK\r\nabc\r\n.\r\n"), 4000, &error), 0);
	assert_int_equal(client.message_ns, 0);
	assert_int_equal(client_feed(&client, SPAN("+OK\r\nabc\r\n.\r\n"), 4500, &error), 0);
	assert_int_equal(client.message_ns, 1500);
	client_finish(&client);
}

static void test_deletions_count_when_quit_was_answered(void **state)
{
	(void)state;
	struct client_plan plan = plan_of("drain");
	struct client client;
	client_init(&client, &plan, &account);
	say(&client, TWO "+OK\r\nabcde\r\n.\r\n|+OK\r\nabc\r\n.\r\n|+OK\r\n|+OK\r\n");
	assert_int_equal(client.messages_deleted, 0);
	say(&client, "+OK\r\n");
	assert_int_equal(client.messages_deleted, 2);
	client_finish(&client);
}

static void test_an_empty_maildrop_has_nothing_to_fetch(void **state)
{
	(void)state;
	struct client_plan plan = plan_of("drain");
	plan.messages = -1;
	struct client client;
	client_init(&client, &plan, &account);
	say(&client, LOGIN "+OK 0 0\r\n|+OK\r\n.\r\n");
	expect_sent(&client, "USER ann\r\nPASS secret\r\nSTAT\r\nLIST\r\nQUIT\r\n");
	client_finish(&client);
}

/* What comes in the same packet as a reply was not asked for, though the next command may be made already. */
static void test_octets_behind_the_last_reply_are_refused(void **state)
{
	(void)state;
	static const char *const talks_on[] = {
	    GREETING "+OK\r\n+OK\r\n",
	    LOGIN "+OK 2 12\r\n+OK\r\n",
	    TWO "+OK\r\nabcde\r\n.\r\n+OK\r\nabc\r\n.\r\n",
	    TWO "+OK\r\nabcde\r\n.\r\n|+OK\r\nabc\r\n.\r\nmore\r\n",
	};
	struct client_plan plan = plan_of("fetch");
	for (size_t i = 0; i < sizeof(talks_on) / sizeof(talks_on[0]); i++) {
		struct client client;
		struct error error;
		client_init(&client, &plan, &account);
		assert_int_equal(feed(&client, talks_on[i], SIZE_MAX, 0, &error), ERR_PEER);
		client_finish(&client);
	}
}

/* However much more there would be, it is enough when it is too much. */
static void test_a_reply_without_end_is_ended(void **state)
{
	(void)state;
	static const struct {
		const char *profile, *begin, *more;
		int err;
	} endless[] = {
	    {"fetch", TWO "+OK\r\n",                              "xxxx\r\n", ERR_CORRUPT},
	    {"uidl",  LOGIN "+OK\r\n",                            "UIDL\r\n", ERR_FULL   },
	    {"uidl",  LOGIN "+OK\r\n",                            "x",        ERR_FULL   },
	    {"fetch", LOGIN "+OK 2 12\r\n|+OK\r\n1 7\r\n2 5\r\n", "3 5\r\n",  ERR_CORRUPT},
	};
	for (size_t i = 0; i < sizeof(endless) / sizeof(endless[0]); i++) {
		struct client_plan plan = plan_of(endless[i].profile);
		struct client client;
		struct error error;
		client_init(&client, &plan, &account);
		say(&client, endless[i].begin);
		int err = ERR_NONE;
		for (int more = 0; more < 2000 && !err; more++)
			err = client_feed(&client, span_str(endless[i].more), 0, &error);
		assert_int_equal(err, endless[i].err);
		client_finish(&client);
	}
}

static void test_octets_behind_stls_are_refused(void **state)
{
	(void)state;
	struct client_plan plan = plan_of("poll");
	plan.stls = true;
	struct client client;
	struct error error;
	client_init(&client, &plan, &account);
	say(&client, GREETING "+OK\r\n");
	expect_sent(&client, "STLS\r\n");
	assert_int_equal(client.wish, CLIENT_TLS);
	assert_int_equal(client_feed(&client, SPAN("+OK\r\n"), 0, &error), ERR_PEER);
	client_finish(&client);
}

static void test_a_held_session_waits_to_be_released(void **state)
{
	(void)state;
	struct client_plan plan = plan_of("idle");
	struct client client;
	client_init(&client, &plan, &account);
	say(&client, LOGIN "+OK 2 12\r\n");
	assert_int_equal(client.wish, CLIENT_HOLD);
	buf_consume(&client.out, client.out.len);
	assert_int_equal(client_proceed(&client, 0), ERR_NONE);
	expect_sent(&client, "QUIT\r\n");
	client_finish(&client);
}

/* Long bodies go over whole blocks: what is wrong in them must be seen at every offset. */
static void test_a_long_body_is_judged_at_every_offset(void **state)
{
	(void)state;
	enum { SIZE = 400 };
	for (size_t at = 2; at < SIZE - 3; at++) {
		char wire[SIZE];
		memset(wire, 'x', sizeof(wire));
		memcpy(wire + SIZE - 5, "\r\n.\r\n", 5);
		struct body body = {0};
		struct span rest = span_of(wire, SIZE);
		if (at < SIZE - 8) { /* a stuffed dot inside */
			memcpy(wire + at, "\r\n..", 4);
			assert_int_equal(body_feed(&body, &rest), ERR_NONE);
			assert_true(body.ended);
			assert_int_equal(body.octets, SIZE - 4);
			wire[at + 3] = 'x'; /* no longer stuffed */
			body = (struct body){0};
			rest = span_of(wire, SIZE);
			assert_int_equal(body_feed(&body, &rest), ERR_SYNTAX);
		}
		memset(wire, 'x', SIZE - 5);
		wire[at - 2] = '\n';
		body = (struct body){0};
		rest = span_of(wire, SIZE);
		assert_int_equal(body_feed(&body, &rest), ERR_SYNTAX);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_every_talk_in_every_split),
	    cmocka_unit_test(test_commands_are_sent_ahead_up_to_the_window),
	    cmocka_unit_test(test_messages_are_timed),
	    cmocka_unit_test(test_deletions_count_when_quit_was_answered),
	    cmocka_unit_test(test_an_empty_maildrop_has_nothing_to_fetch),
	    cmocka_unit_test(test_octets_behind_the_last_reply_are_refused),
	    cmocka_unit_test(test_a_reply_without_end_is_ended),
	    cmocka_unit_test(test_octets_behind_stls_are_refused),
	    cmocka_unit_test(test_a_held_session_waits_to_be_released),
	    cmocka_unit_test(test_a_long_body_is_judged_at_every_offset),
	};
	return cmocka_run_group_tests_name("bench_client", tests, NULL, NULL);
}
