/* SPDX-License-Identifier: MIT */
/* Unit test of takeover (src/server/keeper_place.c): what a login meets that finds its maildrop taken. */
#include "keeper_box.h"

static void open_as(uint64_t session, const char *account)
{
	struct ipc_drop_open open = make_ticket(session);
	(void)snprintf(open.ticket.account, sizeof open.ticket.account, "%s", account);
	send_ticket(&open, session);
}

static void expect_recall(uint64_t session)
{
	struct ipc_in in;
	assert_int_equal(await(&worker, &in), ERR_NONE);
	assert_int_equal(in.type, IPC_DROP_RECALL);
	assert_int_equal(in.session, session);
	ipc_in_finish(&in);
}

/* The keeper has nothing to say. */
static void expect_silence(void)
{
	struct ipc_in in;
	const char *why;
	for (unsigned turn = 0; turn < 20; turn++)
		(void)uv_run(child.loop, UV_RUN_NOWAIT);
	assert_int_equal(ipc_receive(&worker, &in, &why), ERR_AGAIN);
}

static void keep(uint64_t session)
{
	request(IPC_DROP_KEEP, session, NULL, SPAN(""));
}

static void end(uint64_t session)
{
	request(IPC_DROP_CLOSE, session, NULL, SPAN(""));
}

static void test_holder_gives_way(void **state)
{
	(void)state;
	box_put_text(box, "new/1.x", "1\n");
	send_open(1);
	expect_opened(1, 1);
	send_open(2);
	expect_recall(1);
	expect_silence(); /* the login waits */
	end(1);
	expect_opened(2, 1);
	/* And the other way round: the heir is asked in its turn. */
	send_open(3);
	expect_recall(2);
	end(2);
	expect_opened(3, 1);
}

static void test_holder_stays(void **state)
{
	(void)state;
	send_open(1);
	expect_opened(1, 0);
	for (uint64_t session = 2; session < 5; session++) { /* as often as it likes */
		send_open(session);
		expect_recall(1);
		keep(1);
		expect_failed(session, ERR_BUSY);
	}
	end(1);
	send_open(5);
	expect_opened(5, 0);
}

static void test_several_wait(void **state)
{
	(void)state;
	send_open(1);
	expect_opened(1, 0);
	for (uint64_t session = 2; session < 6; session++)
		send_open(session);
	expect_recall(1); /* asked once */
	expect_silence();
	end(3); /* its client had no patience */
	expect_silence();
	end(1);
	struct ipc_in in;
	for (unsigned i = 0; i < 3;
	     i++) { /* the first gets it, which may take longer than to tell the others */
		assert_int_equal(await(&worker, &in), ERR_NONE);
		assert_int_equal(in.type, in.session == 2 ? IPC_DROP_OPENED : IPC_DROP_FAILED);
		ipc_in_finish(&in);
	}
}

static void test_several_are_turned_away(void **state)
{
	(void)state;
	send_open(1);
	expect_opened(1, 0);
	for (uint64_t session = 2; session < 5; session++)
		send_open(session);
	expect_recall(1);
	keep(1);
	for (uint64_t session = 2; session < 5; session++)
		expect_failed(session, ERR_BUSY);
}

static void test_another_account(void **state)
{
	(void)state;
	send_open(1);
	expect_opened(1, 0);
	open_as(2, "bob");
	expect_failed(2, ERR_BUSY); /* and nobody was asked */
	end(1);
	open_as(3, "bob");
	expect_opened(3, 0);
}

static void test_another_program(void **state)
{
	(void)state;
	assert_int_equal(box_try_open(box, 0), ERR_NONE);
	send_open(1);
	expect_failed(1, ERR_BUSY);
	box_close(box);
	send_open(2);
	expect_opened(2, 0);
}

static void test_commit_is_waited_for(void **state)
{
	(void)state;
	box_put_text(box, "new/1.x", "1\n");
	box_put_text(box, "new/2.x", "2\n");
	send_open(1);
	expect_opened(1, 2);
	send_commit(1, 1, 2, SPAN("\1"));
	send_open(2); /* while the disk is at it, or after */
	struct ipc_in in;
	assert_int_equal(await(&worker, &in), ERR_NONE);
	bool first = in.type == IPC_DROP_COMMITTED;
	assert_true(first || in.type == IPC_DROP_OPENED);
	ipc_in_finish(&in);
	if (first)
		expect_opened(2, 1);
	else
		expect_committed(1, ERR_NONE, 1);
	assert_false(box_has(box, "new/1.x"));
}

/* The question and the commit cross: the worker stays with its session, and the login waits for the commit.
 */
static void test_commit_crosses_recall(void **state)
{
	(void)state;
	box_put_text(box, "new/1.x", "1\n");
	send_open(1);
	expect_opened(1, 1);
	send_open(2);
	expect_recall(1);
	send_commit(1, 1, 1, SPAN("\1"));
	keep(1);
	struct ipc_in in;
	bool opened = false, committed = false;
	while (!opened || !committed) {
		assert_int_equal(await(&worker, &in), ERR_NONE);
		assert_true(in.type == IPC_DROP_OPENED || in.type == IPC_DROP_COMMITTED);
		opened = opened || in.type == IPC_DROP_OPENED;
		committed = committed || in.type == IPC_DROP_COMMITTED;
		ipc_in_finish(&in);
	}
	keep(1); /* too late: the session is no more, which is no offence */
	expect_silence();
}

static void test_worker_that_does_not_answer(void **state)
{
	(void)state;
	send_open(1);
	expect_opened(1, 0);
	uint64_t began_ms = time_mono_ms();
	send_open(2);
	expect_recall(1);
	expect_failed(2, ERR_BUSY);
	assert_true(time_mono_ms() - began_ms >= KEEPER_WAIT_MS - 10);
	send_open(3); /* not asked twice */
	expect_silence();
	keep(1); /* late, but true */
	expect_failed(3, ERR_BUSY);
}

static void test_worker_dies_with_both(void **state)
{
	(void)state;
	send_open(1);
	expect_opened(1, 0);
	send_open(2);
	expect_recall(1);
	ipc_channel_finish(&worker);
	uint64_t end_ms = time_mono_ms() + WAIT_MS;
	while (keeper.open && time_mono_ms() < end_ms)
		(void)uv_run(child.loop, UV_RUN_NOWAIT);
	assert_int_equal(keeper.open, 0);
	assert_int_equal(keeper.place_count, 0);
	connect_worker();
}

static void test_shared(void **state)
{
	(void)state;
	box_put_text(box, "new/1.x", "1\n");
	keeper.setup.shared = 1;
	for (uint64_t session = 1; session <= 3;
	     session++) /* the later ones wait while the first is opening */
		send_open(session);
	for (uint64_t session = 1; session <= 3; session++)
		expect_opened(session, 1);
	expect_silence(); /* nobody was asked to go */
	send_commit(1, 1, 1, SPAN("\1"));
	expect_committed(1, ERR_NONE, 1);
	send_commit(2, 1, 1, SPAN("\1"));
	expect_committed(2, ERR_NONE, 1);
	send_body(3, (const uint32_t[]){1}, 1);
	expect_bodies(3, (const int[]){ERR_NOTFOUND}, 1);
}

static void test_limit_per_account(void **state)
{
	(void)state;
	keeper.setup.shared = 1;
	keeper.setup.per_account = 2;
	for (uint64_t session = 1; session <= 2; session++) {
		send_open(session);
		expect_opened(session, 0);
	}
	send_open(3);
	expect_failed(3, ERR_BUSY);
	open_as(4, "bob"); /* another account */
	expect_opened(4, 0);
	end(1);
	send_open(5);
	expect_opened(5, 0);
}

static void open_from(uint64_t session, const char *location, uint8_t network)
{
	struct ipc_drop_open open = make_ticket(session);
	open.network.octets[0] = network;
	(void)snprintf(open.ticket.location, sizeof open.ticket.location, "maildir:%s/%s", box->root,
	               location);
	send_ticket(&open, session);
}

static void test_limit_per_network(void **state)
{
	(void)state;
	keeper.setup.per_network = 2;
	open_from(1, "a", 7);
	expect_opened(1, 0);
	open_from(2, "b", 7);
	expect_opened(2, 0);
	open_from(3, "c", 7);
	expect_failed(3, ERR_CROWDED);
	open_from(4, "c", 8);
	expect_opened(4, 0);
	for (uint64_t session = 5; session < 8; session++) { /* from nowhere in particular */
		const char location[] = {(char)('a' + session), 0};
		open_from(session, location, 0);
		expect_opened(session, 0);
	}
	end(2);
	open_from(9, "b", 7);
	expect_opened(9, 0);
	open_from(10, "c", 7);
	expect_failed(10, ERR_CROWDED);
}

/* An older keeper, played by ourselves, has the maildrop. */
static void test_elders_are_asked(void **state)
{
	(void)state;
	struct ipc_in in;
	keeper.setup.elders = 1;
	assert_int_equal(box_try_open(box, 0), ERR_NONE);
	send_open(1);
	assert_int_equal(await(&master, &in), ERR_NONE);
	assert_int_equal(in.type, IPC_WANTED);
	const struct ipc_wanted *wanted = in.fixed;
	assert_string_equal(wanted->account, "alice");
	assert_string_equal(wanted->location, box->location);
	ipc_in_finish(&in);
	box_close(box); /* it gives way */
	expect_opened(1, 0);
	end(1);
	expect_silence();
	assert_int_equal(box_try_open(box, 0), ERR_NONE);
	send_open(2);
	expect_failed(2, ERR_BUSY);                      /* it does not */
	assert_int_equal(await(&master, &in), ERR_NONE); /* and was asked once */
	ipc_in_finish(&in);
	const char *why;
	assert_int_equal(ipc_receive(&master, &in, &why), ERR_AGAIN);
}

/* Who waits for an elder is tried at its times, whoever else comes and goes meanwhile. */
static void test_waiting_for_elders(void **state)
{
	(void)state;
	struct ipc_in in;
	keeper.setup.elders = 1;
	assert_int_equal(box_try_open(box, 0), ERR_NONE);
	for (uint64_t session = 1; session <= 2; session++) {
		send_open(session);
		assert_int_equal(await(&master, &in), ERR_NONE);
		ipc_in_finish(&in);
	}
	end(2); /* its client had no patience */
	expect_silence();
	box_close(box);
	expect_opened(1, 0);
}

static void test_asked_as_an_elder(void **state)
{
	(void)state;
	struct ipc_wanted wanted = {.account = "bob"};
	(void)snprintf(wanted.location, sizeof wanted.location, "%s", box->location);
	keeper_recall(&keeper, &wanted); /* nobody has anything */
	send_open(1);
	expect_opened(1, 0);
	keeper_recall(&keeper, &wanted); /* another account's */
	expect_silence();
	(void)snprintf(wanted.account, sizeof wanted.account, "alice");
	keeper_recall(&keeper, &wanted);
	expect_recall(1);
	keeper_recall(&keeper, &wanted); /* asked already */
	keep(1);
	expect_silence();
}

static void test_keep_unasked(void **state)
{
	(void)state;
	send_open(1);
	expect_opened(1, 0);
	keep(1);
	expect_fault("out of turn");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    KEEPER_TEST(test_holder_gives_way),
	    KEEPER_TEST(test_holder_stays),
	    KEEPER_TEST(test_several_wait),
	    KEEPER_TEST(test_several_are_turned_away),
	    KEEPER_TEST(test_another_account),
	    KEEPER_TEST(test_another_program),
	    KEEPER_TEST(test_commit_is_waited_for),
	    KEEPER_TEST(test_commit_crosses_recall),
	    KEEPER_TEST(test_worker_that_does_not_answer),
	    KEEPER_TEST(test_worker_dies_with_both),
	    KEEPER_TEST(test_shared),
	    KEEPER_TEST(test_limit_per_account),
	    KEEPER_TEST(test_limit_per_network),
	    KEEPER_TEST(test_elders_are_asked),
	    KEEPER_TEST(test_waiting_for_elders),
	    KEEPER_TEST(test_asked_as_an_elder),
	    KEEPER_TEST(test_keep_unasked),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
