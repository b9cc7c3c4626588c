/* SPDX-License-Identifier: MIT */
/* Unit test of server/link.c: two ends on one loop. */
#include "base/err.h"
#include "server/link.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static uv_loop_t loop;
static struct link *worker, *keeper; /* from malloc */
static unsigned worker_got, keeper_got, gone_count;
static int gone_err;
static const char *gone_why;
static int keeper_answer;
static unsigned keeper_floods; /* listings sent for each message */

static int worker_message(struct link *link, struct ipc_in *in)
{
	(void)link;
	(void)in;
	worker_got++;
	return 0;
}

static void send_listing(void)
{
	static char listing[IPC_TAIL_MAX];
	struct ipc_drop_opened opened = {.listing_octets = sizeof listing};
	link_send(keeper, IPC_DROP_OPENED, 1, &opened, span_of(listing, sizeof listing), NULL, 0);
}

static int keeper_message(struct link *link, struct ipc_in *in)
{
	keeper_got++;
	if (keeper_answer)
		return keeper_answer;
	for (unsigned i = 0; i < keeper_floods; i++)
		send_listing();
	struct ipc_drop_failed failed = {.err = ERR_BUSY};
	link_send(link, IPC_DROP_FAILED, in->session, &failed, span_of(NULL, 0), NULL, 0);
	return 0;
}

static void gone(struct link *link, int err, const char *why)
{
	gone_count++;
	gone_err = err;
	gone_why = why;
	if (link == worker)
		worker = NULL;
	else
		keeper = NULL;
	link_free(link);
}

static const struct link_ops worker_ops = {.message = worker_message, .gone = gone};
static const struct link_ops keeper_ops = {.message = keeper_message, .gone = gone};

static int open_links(void **state)
{
	(void)state;
	int fds[2];
	worker = malloc(sizeof *worker);
	keeper = malloc(sizeof *keeper);
	if (!worker || !keeper || uv_loop_init(&loop) != 0 ||
	    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) != 0)
		return -1;
	worker_got = keeper_got = gone_count = 0;
	keeper_answer = 0;
	keeper_floods = 0;
	gone_why = NULL;
	return link_open(worker, &loop, fds[0], IPC_WORKER, IPC_KEEPER, 1, &worker_ops, NULL) |
	       link_open(keeper, &loop, fds[1], IPC_KEEPER, IPC_WORKER, 1, &keeper_ops, NULL);
}

static int close_links(void **state)
{
	(void)state;
	link_free(worker);
	link_free(keeper);
	(void)uv_run(&loop, UV_RUN_DEFAULT); /* returns: nothing is left on the loop */
	return uv_loop_close(&loop);
}

static void send_close(unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		link_send(worker, IPC_DROP_CLOSE, i + 1, NULL, span_of(NULL, 0), NULL, 0);
}

static void run_until(const unsigned *counter, unsigned want)
{
	for (unsigned turn = 0; turn < 100000 && *counter < want && !gone_count; turn++)
		(void)uv_run(&loop, UV_RUN_NOWAIT);
}

static void test_many(void **state)
{
	(void)state;
	send_close(1);
	run_until(&worker_got, 1);
	send_close(10000); /* more than a socket holds: the rest is queued and flushed */
	assert_true(ipc_wants_write(&worker->channel));
	run_until(&worker_got, 10001);
	assert_int_equal(keeper_got, 10001);
	assert_int_equal(worker_got, 10001);
	assert_int_equal(gone_count, 0);
	assert_false(ipc_wants_write(&worker->channel));
}

/* One message per readiness when calm, at most 32 when busy: others on the loop get their turn. */
static void test_burst(void **state)
{
	(void)state;
	unsigned most = 0;
	for (unsigned i = 0; i < 40; i++) {
		send_close(100);
		for (unsigned turn = 0; turn < 200 && keeper_got < 100 * (i + 1); turn++) {
			unsigned before = keeper_got;
			(void)uv_run(&loop, UV_RUN_NOWAIT);
			most = keeper_got - before > most ? keeper_got - before : most;
		}
		assert_int_equal(keeper_got, 100 * (i + 1));
	}
	assert_int_equal(most, 32);
}

static void test_peer_gone(void **state)
{
	(void)state;
	link_free(worker);
	worker = NULL;
	run_until(&gone_count, 1);
	assert_int_equal(gone_err, ERR_CLOSED);
	assert_int_equal(gone_count, 1);
}

static void test_out_of_turn(void **state)
{
	(void)state;
	keeper_answer = ERR_PEER;
	send_close(3);
	run_until(&gone_count, 1);
	assert_int_equal(gone_err, ERR_PEER);
	assert_string_equal(gone_why, "out of turn");
	assert_int_equal(keeper_got, 1); /* nothing more is taken from such a peer */
	run_until(&gone_count, 2);
	assert_null(keeper);
}

static void test_malformed(void **state)
{
	(void)state;
	assert_int_equal(write(worker->channel.fd, "garbage", 7), 7);
	run_until(&gone_count, 1);
	assert_int_equal(gone_err, ERR_PEER);
	assert_string_equal(gone_why, "shorter than a head");
	assert_int_equal(keeper_got, 0);
}

/* A peer that does not read: the queue's limit ends the link, by the loop and not inside link_send(). */
static void test_does_not_read(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 1000; i++)
		send_listing();
	assert_int_equal(gone_count, 0);
	uv_poll_stop(&worker->poll);
	for (unsigned turn = 0; turn < 10 && keeper; turn++)
		(void)uv_run(&loop, UV_RUN_NOWAIT);
	assert_null(keeper);
	assert_int_equal(gone_err, ERR_FULL);
}

/* The same from inside a burst of requests, where the next one seems to be the peer's end. */
static void test_asks_and_does_not_read(void **state)
{
	(void)state;
	keeper_floods = 1000;
	keeper->busy = true;
	uv_poll_stop(&worker->poll);
	send_close(5);
	for (unsigned turn = 0; turn < 10 && keeper; turn++)
		(void)uv_run(&loop, UV_RUN_NOWAIT);
	assert_null(keeper);
	assert_int_equal(gone_err, ERR_FULL);
	assert_null(gone_why);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_many, open_links, close_links),
	    cmocka_unit_test_setup_teardown(test_burst, open_links, close_links),
	    cmocka_unit_test_setup_teardown(test_peer_gone, open_links, close_links),
	    cmocka_unit_test_setup_teardown(test_out_of_turn, open_links, close_links),
	    cmocka_unit_test_setup_teardown(test_malformed, open_links, close_links),
	    cmocka_unit_test_setup_teardown(test_does_not_read, open_links, close_links),
	    cmocka_unit_test_setup_teardown(test_asks_and_does_not_read, open_links, close_links),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
