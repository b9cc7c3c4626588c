/* SPDX-License-Identifier: MIT */
/* Unit test of the keeper (src/server/keeper_*.c) from a worker's side. */
#include "keeper_box.h"

#include "drop/ring.h"

#include "drop/index_layout.h"

static void put_three(void)
{
	box_put_text(box, "new/1.x", "1\n");
	box_put_text(box, "new/2.x", "2\r\n");
	box_put_text(box, "cur/3.x:2,S", "3\n");
}

static void test_session(void **state)
{
	(void)state;
	put_three();
	send_open(SESSION);
	expect_opened(SESSION, 3);
	assert_int_equal(box_try_open(box, 0), ERR_BUSY);
	box_delete(box, "new/2.x");
	send_body(SESSION, (const uint32_t[]){3, 1, 2}, 3);
	expect_bodies(SESSION, (const int[]){0, 0, ERR_NOTFOUND}, 3);
	box_rename(box, "new/1.x", "cur/1.x:2,S");
	send_body(SESSION, (const uint32_t[]){3, 1}, 2); /* the second has to be looked for */
	expect_bodies(SESSION, (const int[]){0, 0}, 2);
	send_commit(SESSION, 2, 3, SPAN("\3"));
	expect_committed(SESSION, ERR_NONE, 2);
	/* Unlocked before it is answered. */
	send_open(SESSION + 2);
	expect_opened(SESSION + 2, 1);
	send_commit(SESSION + 2, 0, 1, SPAN(""));
	expect_committed(SESSION + 2, ERR_NONE, 0);
	assert_true(box_has(box, "cur/3.x:2,S"));
}

static uint32_t expect_tray(uint64_t session, const char *const *texts, uint32_t count)
{
	struct ipc_in in;
	assert_int_equal(await(&worker, &in), ERR_NONE);
	assert_int_equal(in.type, IPC_DROP_BODIES);
	assert_int_equal(in.session, session);
	const struct ipc_drop_bodies *bodies = in.fixed;
	const struct ipc_body *body = (const void *)in.tail.ptr;
	assert_int_equal(bodies->count, count);
	uint32_t tray = bodies->tray;
	for (uint32_t i = 0; i < count; i++) {
		assert_int_equal(body[i].err, ERR_NONE);
		assert_int_equal((body[i].flags & IPC_BODY_HERE) != 0, texts[i] != NULL);
		if (!texts[i])
			continue;
		assert_int_equal(body[i].length, strlen(texts[i]));
		assert_memory_equal(trays + (size_t)tray * IPC_TRAY_SIZE + body[i].offset, texts[i],
		                    body[i].length);
	}
	ipc_in_finish(&in);
	return tray;
}

static void need_rings(void)
{
	if (rings_init(1) == ERR_NONE)
		return;
	print_message("no io_uring here\n");
	skip();
}

static void send_body_returning(uint32_t number, uint32_t trays_back)
{
	struct ipc_drop_body body = {.count = 1, .returned = trays_back};
	request(IPC_DROP_BODY, SESSION, &body, span_of((const char *)&number, sizeof number));
}

/* Small messages are read, long and altered ones opened or refused; a tray is used again when it was given
 * back. */
static void test_trays(void **state)
{
	(void)state;
	static char long_text[DROP_SMALL_MAX + 2];
	need_rings();
	memset(long_text, 'x', sizeof long_text - 1);
	box_put_text(box, "new/1.a", "one\n");
	box_put_text(box, "new/2.b", long_text);
	box_put_text(box, "new/3.c", "three\n");
	box_rest();
	send_open(SESSION);
	expect_opened(SESSION, 3);
	send_body(SESSION, (const uint32_t[]){3, 2, 1}, 3);
	uint32_t first = expect_tray(SESSION, (const char *const[]){"three\n", NULL, "one\n"}, 3);
	send_body(SESSION, (const uint32_t[]){1}, 1);
	assert_int_not_equal(expect_tray(SESSION, (const char *const[]){"one\n"}, 1), first);
	send_body_returning(3, 1u << first);
	assert_int_equal(expect_tray(SESSION, (const char *const[]){"three\n"}, 1), first);
	box_delete(box, "new/1.a");
	send_body(SESSION, (const uint32_t[]){1}, 1);
	expect_bodies(SESSION, (const int[]){ERR_NOTFOUND}, 1);
	box_delete(box, "new/3.c");
	box_put_text(box, "new/3.c", "4hree\n"); /* as long, and another */
	send_body(SESSION, (const uint32_t[]){3}, 1);
	expect_bodies(SESSION, (const int[]){ERR_CHANGED}, 1);
	send_body_returning(3, 1u << (IPC_TRAYS - 1));
	expect_fault("gives back a tray it has not got");
	rings_finish();
}

/* A worker that has done with a session before its answer is there never sees the tray. */
static void test_trays_of_ended_sessions(void **state)
{
	(void)state;
	need_rings();
	put_three();
	for (uint64_t session = 1; session <= IPC_TRAYS + 1; session++) {
		char gone[32];
		(void)snprintf(gone, sizeof gone, "new/9%u.gone", (unsigned)session);
		box_put_text(box, gone, "9\n");
		box_rest();
		send_open(session);
		expect_opened(session, 4);
		box_delete(box, gone);
		/* Looking for the missing one takes a thread, and the end comes before it is done. */
		struct ipc_drop_body body = {.count = 2};
		const uint32_t numbers[] = {1, 4};
		request(IPC_DROP_BODY, session, &body, span_of((const char *)numbers, sizeof numbers));
		request(IPC_DROP_CLOSE, session, NULL, SPAN(""));
		do
			(void)uv_run(child.loop, UV_RUN_NOWAIT);
		while (keeper.open);
	}
	send_open(SESSION);
	expect_opened(SESSION, 3);
	send_body(SESSION, (const uint32_t[]){1}, 1);
	(void)expect_tray(SESSION, (const char *const[]){"1\n"}, 1);
	rings_finish();
}

/* With every tray out, messages come as descriptors. */
static void test_trays_used_up(void **state)
{
	(void)state;
	need_rings();
	put_three();
	send_open(SESSION);
	expect_opened(SESSION, 3);
	for (unsigned i = 0; i < IPC_TRAYS; i++) {
		send_body(SESSION, (const uint32_t[]){1}, 1);
		(void)expect_tray(SESSION, (const char *const[]){"1\n"}, 1);
	}
	send_body(SESSION, (const uint32_t[]){2, 1}, 2);
	expect_bodies(SESSION, (const int[]){0, 0}, 2);
	rings_finish();
}

static void put_many(unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		char path[64];
		(void)snprintf(path, sizeof path, "new/%u.with-a-rather-long-name", 10000 + i);
		box_put_text(box, path, "x\n");
	}
	box_rest();
}

/* Made when it is asked for first; then all sessions of the unchanged maildrop get the same. */
static void test_long_listing(void **state)
{
	(void)state;
	keeper.listings.max = 2;
	put_many(1000);
	for (uint64_t session = 1; session <= 4; session++) {
		send_open(session);
		expect_opened(session, 1000);
		assert_int_equal(listed, session > 2);
		if (session == 2)
			expect_listed(session, 1000);
		request(IPC_DROP_CLOSE, session, NULL, SPAN(""));
	}
	assert_int_equal(keeper.listings.count, 1);
	box_put_text(box, "new/9.new", "x\n");
	send_open(5);
	expect_opened(5, 1001);
	assert_false(listed);
	expect_listed(5, 1001);
	assert_int_equal(keeper.listings.count, 1); /* the older one is gone */
	request(IPC_DROP_CLOSE, 5, NULL, SPAN(""));
	box_delete(box, "new/9.new");
}

/* An index that says it is the one of a listing that is kept, and has another number of messages. */
static void test_made_up_index(void **state)
{
	(void)state;
	struct index_head head;
	keeper.listings.max = 2;
	put_many(1000);
	send_open(1);
	expect_opened(1, 1000);
	expect_listed(1, 1000);
	request(IPC_DROP_CLOSE, 1, NULL, SPAN(""));
	int fd = openat(box->fd, INDEX_NAME, O_RDWR | O_CLOEXEC);
	assert_int_equal(pread(fd, &head, sizeof head, 0), sizeof head);
	head.count = 900;
	head.sum = layout_head_sum(&head);
	assert_int_equal(pwrite(fd, &head, sizeof head, 0), sizeof head);
	(void)close(fd);
	send_open(2);
	expect_opened(2, 900);
	assert_false(listed);
}

/* Mboxes lie in one folder, and are not the same maildrop. */
static void test_listings_of_mboxes(void **state)
{
	(void)state;
	static const char message[] = "From a@example.org Thu Jan  1 00:00:00 2026\n\nx\n\n";
	static char text[500 * sizeof message];
	keeper.listings.max = 2;
	for (unsigned i = 0; i < 500; i++)
		memcpy(text + i * (sizeof message - 1), message, sizeof message);
	for (uint64_t session = 1; session <= 2; session++) {
		const char name[] = {(char)('a' + session), 0};
		struct ipc_drop_open open = make_ticket(session);
		box_put_text(box, name, text);
		(void)snprintf(open.ticket.location, sizeof open.ticket.location, "mbox:%s/%s",
		               strchr(box->location, '/'), name);
		send_ticket(&open, session);
		expect_opened(session, 500);
		expect_listed(session, 500);
	}
	assert_int_equal(keeper.listings.count, 2);
}

/* The listing's part of the index is damaged: it is made anew, and what the session was told still holds, or
 * the session is told so. */
static void test_damaged_listing(void **state)
{
	(void)state;
	put_many(1000);
	for (unsigned more = 0; more < 2; more++) {
		send_open(1 + more);
		expect_opened(1 + more, 1000);
		if (!more) { /* written when it was opened */
			request(IPC_DROP_CLOSE, 1, NULL, SPAN(""));
			box_rest();
			send_open(1);
			expect_opened(1, 1000);
		}
		int fd = openat(box->fd, INDEX_NAME, O_WRONLY | O_CLOEXEC);
		assert_int_equal(pwrite(fd, "damage", 6, 20000), 6);
		(void)close(fd);
		if (!more) {
			expect_listed(1, 1000);
			request(IPC_DROP_CLOSE, 1, NULL, SPAN(""));
			box_rest();
			continue;
		}
		box_put_text(box, "new/9.new", "x\n");
		request(IPC_DROP_LISTING, 2, NULL, SPAN(""));
		struct ipc_in in;
		assert_int_equal(await(&worker, &in), ERR_NONE);
		assert_int_equal(in.type, IPC_DROP_LISTED);
		assert_int_equal(((const struct ipc_drop_listed *)in.fixed)->err, ERR_CHANGED);
		assert_int_equal(in.fd_count, 0);
		ipc_in_finish(&in);
	}
}

static void test_long_marks(void **state)
{
	(void)state;
	put_many(1000);
	/* As many marks as fit a tail, in a file nevertheless. */
	static char marks[125];
	int fd;
	marks[0] = 1;
	assert_int_equal(blob_copy("marks", span_of(marks, sizeof marks), &fd), ERR_NONE);
	send_open(4);
	expect_opened(4, 1000);
	struct ipc_drop_commit commit = {.count = 1, .total = 1000};
	assert_int_equal(ipc_send(&worker, IPC_DROP_COMMIT, 4, &commit, SPAN(""), &fd, 1), ERR_NONE);
	expect_committed(4, ERR_NONE, 1);
}

static void test_tickets_that_are_stale(void **state)
{
	(void)state;
	struct ipc_drop_open open = make_ticket(SESSION);
	open.ticket.epoch--;
	send_ticket(&open, SESSION);
	expect_failed(SESSION, ERR_DENIED);
	open = make_ticket(SESSION);
	open.ticket.expires_ms = time_mono_ms() - 1;
	send_ticket(&open, SESSION);
	expect_failed(SESSION, ERR_DENIED);
	open = make_ticket(SESSION); /* would outlive our memory of it */
	open.ticket.expires_ms = time_mono_ms() + 3 * TICKET_LIFE_MS;
	send_ticket(&open, SESSION);
	expect_failed(SESSION, ERR_DENIED);
	open = make_ticket(SESSION);
	open.ticket.uid = geteuid() + 1;
	send_ticket(&open, SESSION);
	expect_failed(SESSION, ERR_DENIED);
	open = make_ticket(SESSION);
	(void)snprintf(open.ticket.location, sizeof open.ticket.location, "maildir:%s/../m", box->root);
	send_ticket(&open, SESSION);
	expect_failed(SESSION, ERR_SYNTAX);
	keeper.setup.max_open = 0;
	send_open(SESSION);
	expect_failed(SESSION, ERR_FULL);
	keeper.setup.max_open = 1;
	send_open(SESSION);
	expect_opened(SESSION, 0);
}

static void test_tickets_that_are_faults(void **state)
{
	(void)state;
	struct ipc_drop_open open = make_ticket(SESSION);
	assert_int_equal(ticket_seal(&open.ticket, key.key), ERR_NONE);
	open.ticket.location[12] ^= 1;
	request(IPC_DROP_OPEN, SESSION, &open, SPAN(""));
	expect_fault("forged");
	open = make_ticket(SESSION);
	send_ticket(&open, SESSION + 1);
	expect_fault("another session");
	open = make_ticket(SESSION);
	open.ticket.worker++;
	send_ticket(&open, SESSION);
	expect_fault("another session");
	open = make_ticket(SESSION);
	send_ticket(&open, SESSION);
	expect_opened(SESSION, 0);
	request(IPC_DROP_CLOSE, SESSION, NULL, SPAN(""));
	send_ticket(&open, SESSION);
	expect_fault("used twice");
	/* A new key forgets the old tickets, and honours none of them. */
	struct ipc_ticket_key next = {.epoch = EPOCH + 1, .key = "another"};
	keeper_tickets_rekey(&keeper.tickets, &next);
	send_ticket(&open, SESSION);
	expect_failed(SESSION, ERR_DENIED);
}

static void test_out_of_turn(void **state)
{
	(void)state;
	static const struct {
		uint32_t count, total;
		struct span bits;
		const char *reason;
	} commits[] = {
	    {1, 4, SPAN("\1"),   "another maildrop"},
	    {2, 3, SPAN("\1"),   "marks"           },
	    {2, 3, SPAN("\x81"), "marks"           },
	};
	request(IPC_DROP_LISTING, SESSION, NULL, SPAN(""));
	expect_fault("out of turn");
	put_three();
	send_body(SESSION, (const uint32_t[]){1}, 1);
	expect_fault("out of turn");
	send_commit(SESSION, 0, 0, SPAN(""));
	expect_fault("out of turn");
	send_open(SESSION);
	expect_opened(SESSION, 3);
	send_open(SESSION);
	expect_fault("out of turn");
	send_open(SESSION);
	expect_opened(SESSION, 3); /* with its listing */
	request(IPC_DROP_LISTING, SESSION, NULL, SPAN(""));
	expect_fault("listing twice");
	for (uint32_t number = 0; number <= 4; number += 4) { /* the fault before has unlocked it */
		send_open(SESSION);
		expect_opened(SESSION, 3);
		send_body(SESSION, (const uint32_t[]){1, number}, 2);
		expect_fault("not there");
	}
	for (unsigned i = 0; i < sizeof commits / sizeof commits[0]; i++) {
		send_open(SESSION);
		expect_opened(SESSION, 3);
		send_commit(SESSION, commits[i].count, commits[i].total, commits[i].bits);
		expect_fault(commits[i].reason);
	}
	/* Marks in a file that could still change. */
	send_open(SESSION);
	expect_opened(SESSION, 3);
	int fd = openat(box->fd, "new/1.x", O_RDONLY | O_CLOEXEC);
	struct ipc_drop_commit commit = {.count = 1, .total = 3};
	assert_int_equal(ipc_send(&worker, IPC_DROP_COMMIT, SESSION, &commit, SPAN(""), &fd, 1), ERR_NONE);
	expect_fault("marks");
	/* A second request before the first is answered; it has to wait for the disk. */
	send_open(SESSION);
	expect_opened(SESSION, 3);
	box_rename(box, "new/1.x", "cur/1.x:2,S");
	send_body(SESSION, (const uint32_t[]){1}, 1);
	send_body(SESSION, (const uint32_t[]){1}, 1);
	struct ipc_in in;
	int err = await(&worker, &in);
	if (err == ERR_NONE) { /* the disk was faster */
		ipc_in_finish(&in);
		skip();
	}
	assert_int_equal(err, ERR_CLOSED);
}

static void test_close(void **state)
{
	(void)state;
	put_three();
	request(IPC_DROP_CLOSE, SESSION, NULL, SPAN("")); /* unknown: it may have crossed an answer */
	send_open(SESSION);
	request(IPC_DROP_CLOSE, SESSION, NULL, SPAN("")); /* while it is opened */
	send_open(SESSION + 1);
	struct ipc_in in;
	assert_int_equal(await(&worker, &in), ERR_NONE);
	ipc_in_finish(&in);
	while (in.type == IPC_DROP_OPENED && in.session == SESSION) /* if the disk was faster */
		assert_int_equal(await(&worker, &in), ERR_NONE);
	request(IPC_DROP_CLOSE, SESSION + 1, NULL, SPAN(""));
	/* A worker that dies holds no lock. */
	send_open(SESSION + 2);
	while (await(&worker, &in) == ERR_NONE && in.type == IPC_DROP_FAILED)
		send_open(SESSION + 2);
	assert_int_equal(in.type, IPC_DROP_OPENED);
	assert_int_equal(box_try_open(box, 0), ERR_BUSY);
	ipc_channel_finish(&worker);
	for (unsigned turn = 0; turn < 1000 && keeper.open; turn++)
		(void)uv_run(child.loop, UV_RUN_NOWAIT);
	assert_int_equal(box_try_open(box, 0), ERR_NONE);
	connect_worker();
}

static void test_commit_outlives_worker_and_stop(void **state)
{
	(void)state;
	put_three();
	send_open(SESSION);
	expect_opened(SESSION, 3);
	send_commit(SESSION, 3, 3, SPAN("\7"));
	while (keeper.unfinished == 0)
		(void)uv_run(child.loop, UV_RUN_NOWAIT);
	keeper_stop(&keeper);
	assert_false(child.ended);
	ipc_channel_finish(&worker);
	(void)uv_run(child.loop, UV_RUN_DEFAULT); /* stopped by child_exit() */
	assert_true(child.ended);
	assert_false(box_has(box, "new/1.x") || box_has(box, "new/2.x") || box_has(box, "cur/3.x:2,S"));
}

static void test_many_nonces(void **state)
{
	(void)state;
	struct keeper_tickets tickets = {0};
	struct ipc_drop_open open = make_ticket(SESSION);
	const char *why;
	uint64_t now_ms = 1000;
	keeper_tickets_rekey(&tickets, &key);
	for (uint64_t i = 1; i <= 2000; i++, now_ms += 20) {
		open.ticket.nonce = i * UINT64_C(0x9e3779b97f4a7c15);
		open.ticket.expires_ms = now_ms + TICKET_LIFE_MS;
		assert_int_equal(ticket_seal(&open.ticket, key.key), ERR_NONE);
		assert_int_equal(
		    keeper_tickets_use(&tickets, &open.ticket, TICKET_SESSION, WORKER, SESSION, now_ms, &why),
		    0);
		uint64_t later_ms = now_ms + i * 7 % (TICKET_LIFE_MS + 1); /* to its last millisecond */
		if (i % 10 == 0)
			assert_int_equal(keeper_tickets_use(&tickets, &open.ticket, TICKET_SESSION, WORKER,
			                                    SESSION, later_ms, &why),
			                 ERR_PEER);
		if (i % 10 == 0)
			now_ms = later_ms;
	}
	/* What has expired is forgotten. */
	assert_in_range(tickets.used[0].count + tickets.used[1].count, 1, 1999);
	keeper_tickets_finish(&tickets);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    KEEPER_TEST(test_session),
	    KEEPER_TEST(test_trays),
	    KEEPER_TEST(test_trays_used_up),
	    KEEPER_TEST(test_trays_of_ended_sessions),
	    KEEPER_TEST(test_long_listing),
	    KEEPER_TEST(test_made_up_index),
	    KEEPER_TEST(test_listings_of_mboxes),
	    KEEPER_TEST(test_damaged_listing),
	    KEEPER_TEST(test_long_marks),
	    KEEPER_TEST(test_tickets_that_are_stale),
	    KEEPER_TEST(test_tickets_that_are_faults),
	    KEEPER_TEST(test_out_of_turn),
	    KEEPER_TEST(test_close),
	    KEEPER_TEST(test_commit_outlives_worker_and_stop),
	    KEEPER_TEST(test_many_nonces),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
