/* SPDX-License-Identifier: MIT */
/* The keeper from a worker's side, for its tests: real messages over a socket pair, a real Maildir, and
 * another socket pair in the master's place. */
#ifndef UNIT_KEEPER_BOX_H
#define UNIT_KEEPER_BOX_H

#include "box.h"

#include "base/time.h"
#include "ipc/blob.h"
#include "log/log.h"
#include "pop/listing.h"
#include "server/keeper.h"

#include <sys/mman.h>
#include <sys/socket.h>

enum { WORKER = 7, EPOCH = 3, SESSION = 1001, WAIT_MS = 10000 };

static struct keeper keeper;
static struct child child;
static struct ipc_channel worker, master;
static const char *trays;
static struct ipc_ticket_key key = {.epoch = EPOCH, .key = "a key that nobody needs to guess"};
static struct box *box;
static uint64_t nonce;

static inline void ignore_gone(struct link *link, int err, const char *why)
{
	(void)link;
	(void)err;
	(void)why;
}

static const struct link_ops control_ops = {.gone = ignore_gone};

static inline void connect_worker(void)
{
	int pair[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	ipc_channel_init(&worker, pair[0], IPC_WORKER, IPC_KEEPER, 1);
	assert_int_equal(keeper_link(&keeper, IPC_WORKER, WORKER, pair[1]), ERR_NONE);
	struct ipc_in in;
	const char *why = "";
	assert_int_equal(ipc_receive(&worker, &in, &why), ERR_NONE);
	assert_int_equal(in.type, IPC_DROP_TRAYS);
	assert_int_equal(blob_map_shared(in.fds[0], (uint64_t)IPC_TRAYS * IPC_TRAY_SIZE, &trays), ERR_NONE);
	assert_true(mmap(NULL, 4096, PROT_WRITE, MAP_SHARED, in.fds[0], 0) == MAP_FAILED); /* to be read */
	assert_true(write(in.fds[0], "x", 1) < 0);
	ipc_in_finish(&in);
}

static inline int setup(void **state)
{
	int pair[2];
	int err = box_setup(state);
	if (err || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
		return -1;
	box = *state;
	log_init(2, LOG_ERROR, "");
	child = (struct child){.loop = uv_default_loop(), .kind = IPC_KEEPER, .owner = &keeper};
	keeper = (struct keeper){
	    .child = &child, .root = box->drop_root, .setup = {.max_open = 100, .per_account = 5}
        };
	keeper_tickets_rekey(&keeper.tickets, &key);
	ipc_channel_init(&master, pair[0], IPC_MASTER, IPC_KEEPER, 1);
	if (link_open(&child.control, child.loop, pair[1], IPC_KEEPER, IPC_MASTER, 0, &control_ops, &child) !=
	    0)
		return -1;
	connect_worker();
	return 0;
}

static inline int teardown(void **state)
{
	ipc_channel_finish(&worker);
	link_close(&child.control);
	(void)uv_run(child.loop, UV_RUN_DEFAULT); /* until nothing is left, jobs included */
	ipc_channel_finish(&master);
	keeper_tickets_finish(&keeper.tickets);
	keeper_listings_finish(&keeper.listings);
	assert_null(keeper.peers);
	assert_int_equal(keeper.open, 0);
	assert_int_equal(keeper.unfinished, 0);
	assert_int_equal(keeper.sessions_of.used, 0);
	tally_finish(&keeper.sessions_of);
	return box_teardown(state);
}

/* Runs the keeper until the peer at `channel` has a message, or the keeper's end of it is closed. */
static inline int await(struct ipc_channel *channel, struct ipc_in *ret)
{
	uint64_t end_ms = time_mono_ms() + WAIT_MS;
	const char *why = "";
	int err;
	while ((err = ipc_receive(channel, ret, &why)) == ERR_AGAIN) {
		if (time_mono_ms() > end_ms)
			fail_msg("the keeper does not answer");
		(void)uv_run(child.loop, UV_RUN_NOWAIT);
	}
	return err;
}

static inline void request(enum ipc_type type, uint64_t session, const void *fixed, struct span tail)
{
	assert_int_equal(ipc_send(&worker, type, session, fixed, tail, NULL, 0), ERR_NONE);
}

static inline struct ipc_drop_open make_ticket(uint64_t session)
{
	struct ipc_drop_open open = {
	    .ticket = {.nonce = ++nonce,
	               .expires_ms = time_mono_ms() + TICKET_LIFE_MS / 2,
	               .session = session,
	               .worker = WORKER,
	               .epoch = EPOCH,
	               .uid = (uint32_t)-1,
	               .gid = (uint32_t)-1,
	               .account = "alice"}
        };
	(void)snprintf(open.ticket.location, sizeof open.ticket.location, "%s", box->location);
	return open;
}

static inline void send_ticket(struct ipc_drop_open *open, uint64_t session)
{
	assert_int_equal(ticket_seal(&open->ticket, key.key), ERR_NONE);
	request(IPC_DROP_OPEN, session, open, SPAN(""));
}

static inline void send_open(uint64_t session)
{
	struct ipc_drop_open open = make_ticket(session);
	send_ticket(&open, session);
}

static inline void expect_failed(uint64_t session, int want)
{
	struct ipc_in in;
	assert_int_equal(await(&worker, &in), ERR_NONE);
	assert_int_equal(in.type, IPC_DROP_FAILED);
	assert_int_equal(in.session, session);
	assert_int_equal(((const struct ipc_drop_failed *)in.fixed)->err, want);
	ipc_in_finish(&in);
}

static bool listed; /* the listing came with the answer */

static inline void expect_listing(int fd, uint64_t octets, uint32_t count)
{
	const char *map;
	struct pop_listing listing = {.count = count};
	assert_int_equal(blob_map(fd, octets, &map), ERR_NONE);
	assert_int_equal(pop_listing_open(span_of(map, octets), &listing), ERR_NONE);
	blob_unmap(map, octets);
}

static inline void expect_opened(uint64_t session, uint32_t count)
{
	struct ipc_in in;
	assert_int_equal(await(&worker, &in), ERR_NONE);
	assert_int_equal(in.type, IPC_DROP_OPENED);
	assert_int_equal(in.session, session);
	const struct ipc_drop_opened *opened = in.fixed;
	assert_int_equal(opened->count, count);
	if (in.fd_count)
		expect_listing(in.fds[0], opened->listing_octets, count);
	else
		assert_int_equal(in.tail.len, opened->listing_octets);
	listed = opened->listing_octets > 0;
	ipc_in_finish(&in);
}

static inline void expect_listed(uint64_t session, uint32_t count)
{
	struct ipc_in in;
	request(IPC_DROP_LISTING, session, NULL, SPAN(""));
	assert_int_equal(await(&worker, &in), ERR_NONE);
	assert_int_equal(in.type, IPC_DROP_LISTED);
	assert_int_equal(in.session, session);
	const struct ipc_drop_listed *answer = in.fixed;
	assert_int_equal(answer->err, ERR_NONE);
	expect_listing(in.fds[0], answer->listing_octets, count);
	ipc_in_finish(&in);
}

/* The worker's link is closed and the master told why. */
static inline void expect_fault(const char *reason)
{
	struct ipc_in in;
	assert_int_equal(await(&worker, &in), ERR_CLOSED);
	assert_int_equal(await(&master, &in), ERR_NONE);
	assert_int_equal(in.type, IPC_PEER_FAULT);
	const struct ipc_peer_fault *fault = in.fixed;
	assert_int_equal(fault->kind, IPC_WORKER);
	assert_int_equal(fault->id, WORKER);
	if (!strstr(fault->reason, reason))
		fail_msg("\"%s\" instead of \"%s\"", fault->reason, reason);
	ipc_in_finish(&in);
	ipc_channel_finish(&worker);
	connect_worker();
}

static inline void send_commit(uint64_t session, uint32_t count, uint32_t total, struct span bits)
{
	struct ipc_drop_commit commit = {.count = count, .total = total};
	request(IPC_DROP_COMMIT, session, &commit, bits);
}

static inline void expect_committed(uint64_t session, int want, uint32_t removed)
{
	struct ipc_in in;
	assert_int_equal(await(&worker, &in), ERR_NONE);
	assert_int_equal(in.type, IPC_DROP_COMMITTED);
	assert_int_equal(in.session, session);
	const struct ipc_drop_committed *committed = in.fixed;
	assert_int_equal(committed->err, want);
	assert_int_equal(committed->removed, removed);
	ipc_in_finish(&in);
}

static inline void send_body(uint64_t session, const uint32_t *numbers, uint32_t count)
{
	struct ipc_drop_body body = {.count = count};
	request(IPC_DROP_BODY, session, &body, span_of((const char *)numbers, count * sizeof *numbers));
}

static inline void expect_bodies(uint64_t session, const int *errs, uint32_t count)
{
	struct ipc_in in;
	assert_int_equal(await(&worker, &in), ERR_NONE);
	assert_int_equal(in.type, IPC_DROP_BODIES);
	assert_int_equal(in.session, session);
	assert_int_equal(((const struct ipc_drop_bodies *)in.fixed)->count, count);
	const struct ipc_body *body = (const void *)in.tail.ptr;
	unsigned fd = 0;
	for (uint32_t i = 0; i < count; i++) {
		assert_int_equal(body[i].err, errs[i]);
		if (errs[i])
			continue;
		char text[16];
		assert_int_equal(pread(in.fds[fd], text, sizeof text, 0), body[i].length);
		assert_int_equal(text[0] - '0', body[i].number);
		assert_int_equal(write(in.fds[fd++], "x", 1), -1); /* it is for reading */
	}
	assert_int_equal(in.fd_count, fd);
	ipc_in_finish(&in);
}

#define KEEPER_TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

#endif
