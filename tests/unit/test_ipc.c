/* SPDX-License-Identifier: MIT */
/* Unit test of ipc/: the channel on a real socket pair, the rows, tickets, memory files. */
#include "base/err.h"
#include "ipc/blob.h"
#include "ipc/channel.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static struct ipc_channel worker, keeper;

static int open_pair(void **state)
{
	(void)state;
	int fds[2];
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) != 0)
		return -1;
	ipc_channel_init(&worker, fds[0], IPC_WORKER, IPC_KEEPER, 1);
	ipc_channel_init(&keeper, fds[1], IPC_KEEPER, IPC_WORKER, 7);
	return 0;
}

static int close_pair(void **state)
{
	(void)state;
	ipc_channel_finish(&worker);
	ipc_channel_finish(&keeper);
	return 0;
}

static int count_open_fds(void)
{
	int count = 0;
	for (int fd = 0; fd < 256; fd++)
		count += fcntl(fd, F_GETFD) >= 0;
	return count;
}

static void test_round_trip(void **state)
{
	(void)state;
	struct ipc_in in;
	const char *why = NULL;
	assert_int_equal(ipc_receive(&keeper, &in, &why), ERR_AGAIN);

	uint32_t numbers[3] = {1, 2, 4000000000u};
	struct ipc_drop_body body = {.count = 3};
	assert_int_equal(ipc_send(&worker, IPC_DROP_BODY, 99, &body,
	                          span_of((const char *)numbers, sizeof numbers), NULL, 0),
	                 0);
	assert_int_equal(ipc_send(&worker, IPC_DROP_CLOSE, 99, NULL, span_of(NULL, 0), NULL, 0), 0);
	assert_int_equal(ipc_receive(&keeper, &in, &why), 0);
	assert_int_equal(in.type, IPC_DROP_BODY);
	assert_int_equal(in.session, 99);
	assert_memory_equal(in.fixed, &body, sizeof body);
	assert_int_equal(in.tail.len, sizeof numbers);
	assert_memory_equal(in.tail.ptr, numbers, sizeof numbers);
	assert_int_equal((uintptr_t)in.tail.ptr % 8, 0);
	ipc_in_finish(&in);
	assert_int_equal(ipc_receive(&keeper, &in, &why), 0);
	assert_int_equal(in.type, IPC_DROP_CLOSE);
	assert_int_equal(in.tail.len, 0);
	ipc_in_finish(&in);

	close_pair(NULL);
	assert_int_equal(open_pair(NULL), 0);
	ipc_channel_finish(&worker);
	assert_int_equal(ipc_receive(&keeper, &in, &why), ERR_CLOSED);
	struct ipc_drop_failed failed = {.err = ERR_BUSY};
	assert_int_equal(ipc_send(&keeper, IPC_DROP_FAILED, 1, &failed, span_of(NULL, 0), NULL, 0),
	                 ERR_CLOSED);
}

static void test_descriptors(void **state)
{
	(void)state;
	int before = count_open_fds();
	struct ipc_body bodies[IPC_BODIES_MAX] = {{.number = 1}};
	int fds[IPC_FDS_MAX];
	for (int i = 0; i < IPC_FDS_MAX; i++)
		assert_true((fds[i] = open("/dev/null", O_RDONLY)) >= 0);
	struct ipc_drop_bodies fixed = {.count = IPC_BODIES_MAX, .tray = IPC_TRAY_NONE};
	struct span tail = span_of((const char *)bodies, sizeof bodies);
	assert_int_equal(ipc_send(&keeper, IPC_DROP_BODIES, 5, &fixed, tail, fds, IPC_FDS_MAX), 0);
	assert_int_equal(count_open_fds(), before); /* ours are closed, theirs are in the socket */

	struct ipc_in in;
	const char *why = NULL;
	assert_int_equal(ipc_receive(&worker, &in, &why), 0);
	assert_int_equal(in.fd_count, IPC_FDS_MAX);
	int mine = ipc_in_take(&in, 3);
	assert_int_equal(fcntl(mine, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
	ipc_in_finish(&in);
	assert_int_equal(count_open_fds(), before + 1);
	assert_true(fcntl(mine, F_GETFD) >= 0);
	(void)close(mine);

	/* One body is not good, yet a descriptor rides for it: our own mistake, and nothing leaks. */
	bodies[7].err = ERR_NOTFOUND;
	for (int i = 0; i < IPC_FDS_MAX; i++)
		assert_true((fds[i] = open("/dev/null", O_RDONLY)) >= 0);
	assert_int_equal(ipc_send(&keeper, IPC_DROP_BODIES, 5, &fixed, tail, fds, IPC_FDS_MAX), ERR_PEER);
	assert_int_equal(count_open_fds(), before);
}

/* Small messages lie in a tray, within its bounds, and nowhere else. */
static void test_trays(void **state)
{
	(void)state;
	static const struct {
		uint32_t tray;
		uint64_t offset, length;
		int want;
	} cases[] = {
	    {0,             0,                 IPC_TRAY_SIZE, ERR_NONE},
            {IPC_TRAYS - 1, 7,                 100,           ERR_NONE},
	    {IPC_TRAY_NONE, 0,                 1,             ERR_PEER},
            {IPC_TRAYS + 1, 0,                 1,             ERR_PEER},
	    {0,             1,                 IPC_TRAY_SIZE, ERR_PEER},
            {0,             IPC_TRAY_SIZE + 1, 0,             ERR_PEER},
	    {0,             UINT64_MAX,        2,             ERR_PEER},
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct ipc_body body = {.number = 1,
		                        .offset = cases[i].offset,
		                        .length = cases[i].length,
		                        .flags = IPC_BODY_HERE};
		struct ipc_drop_bodies fixed = {.count = 1, .tray = cases[i].tray};
		struct span tail = span_of((const char *)&body, sizeof body);
		assert_int_equal(ipc_send(&keeper, IPC_DROP_BODIES, 5, &fixed, tail, NULL, 0), cases[i].want);
	}
}

static void test_queue(void **state)
{
	(void)state;
	static char listing[IPC_TAIL_MAX];
	int before = count_open_fds();
	struct ipc_drop_opened opened = {.count = 1, .listing_octets = sizeof listing};
	unsigned sent = 0;
	int err;
	while ((err = ipc_send(&keeper, IPC_DROP_OPENED, sent + 1, &opened, span_of(listing, sizeof listing),
	                       NULL, 0)) == 0)
		sent++;
	assert_int_equal(err, ERR_FULL);
	assert_true(ipc_wants_write(&keeper));
	assert_true(keeper.queued <= IPC_QUEUE_MAX && keeper.queued > IPC_QUEUE_MAX - 2 * sizeof listing);
	assert_int_equal(ipc_flush(&keeper), ERR_AGAIN);

	/* A descriptor waits in the queue with its message. */
	int fd = open("/dev/null", O_RDONLY);
	opened.listing_octets = opened.listing_id = 1;
	assert_int_equal(ipc_send(&keeper, IPC_DROP_OPENED, ++sent, &opened, span_of(NULL, 0), &fd, 1), 0);
	for (unsigned got = 1; got <= sent; got++) { /* in the order of sending, none lost */
		struct ipc_in in;
		const char *why = NULL;
		assert_int_equal(ipc_receive(&worker, &in, &why), 0);
		assert_int_equal(in.session, got);
		assert_int_equal(in.fd_count, got == sent);
		ipc_in_finish(&in);
		err = ipc_flush(&keeper);
		assert_true(err == 0 || err == ERR_AGAIN);
	}
	assert_false(ipc_wants_write(&keeper));
	assert_int_equal(keeper.queued, 0);
	assert_int_equal(count_open_fds(), before);
}

/* --- what a peer gone wrong may send --- */

static int raw_fds[IPC_FDS_MAX + 8];

static void send_raw(const void *octets, size_t size, unsigned fd_count)
{
	union {
		char octets[CMSG_SPACE(sizeof raw_fds)];
		struct cmsghdr align;
	} control;
	char copy[70000] = {0};
	if (octets)
		memcpy(copy, octets, size);
	struct iovec iov = {copy, size};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	if (fd_count) {
		memset(&control, 0, sizeof control);
		msg.msg_control = control.octets;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * fd_count);
		struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(sizeof(int) * fd_count);
		memcpy(CMSG_DATA(cmsg), raw_fds, sizeof(int) * fd_count);
	}
	assert_int_equal(sendmsg(worker.fd, &msg, 0), size);
}

static void expect_refused(const char *reason)
{
	struct ipc_in in;
	const char *why = "";
	assert_int_equal(ipc_receive(&keeper, &in, &why), ERR_PEER);
	assert_string_equal(why, reason);
}

struct open_message {
	struct ipc_head head;
	struct ipc_drop_open open;
	char more;
};

static void test_refused_lengths(void **state)
{
	(void)state;
	int before = count_open_fds();
	for (unsigned i = 0; i < sizeof raw_fds / sizeof raw_fds[0]; i++)
		raw_fds[i] = STDERR_FILENO;
	struct open_message message = {
	    .head = {.type = IPC_DROP_OPEN, .session = 1}
        };
	size_t size = sizeof message.head + sizeof message.open;
	struct ipc_in in;
	const char *why;
	send_raw(&message, size, 0);
	assert_int_equal(ipc_receive(&keeper, &in, &why), 0); /* this one is well-formed */
	ipc_in_finish(&in);

	send_raw(&message, 8, 0);
	expect_refused("shorter than a head");
	send_raw(&message, size - 1, 0);
	expect_refused("wrong size");
	send_raw(&message, sizeof message.head, 0);
	expect_refused("wrong size");
	send_raw(&message, size + 1, 0);
	expect_refused("tail too long");
	send_raw(NULL, 70000, 0);
	expect_refused("oversized");
	send_raw(&message, size, 1);
	expect_refused("wrong number of descriptors");
	send_raw(&message, size, IPC_FDS_MAX);
	expect_refused("wrong number of descriptors");
	send_raw(&message, size, IPC_FDS_MAX + 1);
	expect_refused("too many descriptors");
	assert_int_equal(count_open_fds(), before);
}

static void test_refused_heads(void **state)
{
	(void)state;
	struct open_message message = {
	    .head = {.type = IPC_DROP_OPEN, .session = 1}
        };
	size_t size = sizeof message.head + sizeof message.open;
	message.head.session = 0;
	send_raw(&message, size, 0);
	expect_refused("no session number");
	message.head.session = 1;
	message.head.unused = 1;
	send_raw(&message, size, 0);
	expect_refused("no such message");
	message.head.unused = 0;
	message.head.type = IPC_TYPES;
	send_raw(&message, size, 0);
	expect_refused("no such message");
	message.head.type = UINT32_MAX;
	send_raw(&message, size, 0);
	expect_refused("no such message");
	message.head.type = IPC_DROP_FAILED; /* the keeper's own word */
	send_raw(&message, sizeof message.head + sizeof(struct ipc_drop_failed), 0);
	expect_refused("not this peer's to send");
	message.head.type = IPC_DROP_OPEN;
	memset(message.open.ticket.account, 'a', sizeof message.open.ticket.account);
	send_raw(&message, size, 0);
	expect_refused("reserved octets set or text not terminated");
}

static void test_refused_parts(void **state)
{
	(void)state;
	struct {
		struct ipc_head head;
		uint32_t count, returned, number;
	} body = {
	    .head = {.type = IPC_DROP_BODY, .session = 1},
              .count = 2, .number = 1
        };
	send_raw(&body, sizeof body.head + 12, 0);
	expect_refused("parts do not belong together");
	body.count = 0;
	send_raw(&body, sizeof body.head + 8, 0);
	expect_refused("parts do not belong together");
	body.count = 0x40000001; /* times four is 4 in 32 bits */
	send_raw(&body, sizeof body.head + 12, 0);
	expect_refused("parts do not belong together");
}

/* Every row: only its sender to its receiver, nothing over its lengths, secrets marked. */
static void test_rows(void **state)
{
	(void)state;
	static _Alignas(8) const char zeros[8192];
	for (int type = 0; type < IPC_TYPES; type++) {
		const struct ipc_row *row = &ipc_rows[type];
		assert_non_null(row->name);
		assert_true(row->fixed + sizeof(struct ipc_head) <= sizeof zeros);
		assert_true(row->tail_max <= IPC_TAIL_MAX && row->fds_max <= IPC_FDS_MAX);
		bool of_master = type < IPC_AUTH_BEGIN, control = of_master || row->control;
		bool from_worker = !control && row->from == 1 << IPC_WORKER;
		assert_int_equal(row->when != 0, from_worker);
		for (int from = 0; from < IPC_KINDS; from++) {
			for (int to = 0; to < IPC_KINDS; to++) {
				const char *flaw =
				    ipc_find_flaw((enum ipc_type)type, (enum ipc_kind)from, (enum ipc_kind)to,
				                  !control, zeros, span_of(NULL, 0), row->fds_min);
				bool allowed = row->from >> from & 1 && row->to >> to & 1;
				bool refused = flaw && strcmp(flaw, "not this peer's to send") == 0;
				assert_int_equal(allowed, !refused);
				assert_true(!of_master || !allowed ||
				            (from == IPC_MASTER) != (to == IPC_MASTER));
			}
		}
	}
	assert_int_equal(ipc_in_turn(IPC_DROP_OPEN, IPC_WHEN_ABSENT), 0);
	assert_int_equal(ipc_in_turn(IPC_DROP_OPEN, IPC_WHEN_WAITING), ERR_PEER);
	assert_int_equal(ipc_in_turn(IPC_DROP_BODY, IPC_WHEN_WORKING), ERR_PEER);
	assert_int_equal(ipc_in_turn(IPC_DROP_BODY, IPC_WHEN_ABSENT), ERR_PEER);
	assert_int_equal(ipc_in_turn(IPC_DROP_COMMIT, IPC_WHEN_ABSENT), ERR_PEER);
	assert_int_equal(ipc_in_turn(IPC_AUTH_STEP, IPC_WHEN_WAITING), 0);
	assert_int_equal(ipc_in_turn(IPC_AUTH_STEP, IPC_WHEN_ABSENT), ERR_PEER);
	assert_int_equal(ipc_in_turn(IPC_DROP_CLOSE, IPC_WHEN_ABSENT), 0);
}

static void test_wiped(void **state)
{
	(void)state;
	struct ipc_channel auth;
	close_pair(NULL);
	int fds[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
	ipc_channel_init(&worker, fds[0], IPC_WORKER, IPC_AUTH, 1);
	ipc_channel_init(&auth, fds[1], IPC_AUTH, IPC_WORKER, 1);
	struct ipc_auth_begin begin = {.method = IPC_AUTH_PASSWORD};
	assert_int_equal(ipc_send(&worker, IPC_AUTH_BEGIN, 1, &begin, SPAN("alice\0hunter2"), NULL, 0), 0);
	struct ipc_in in;
	const char *why;
	assert_int_equal(ipc_receive(&auth, &in, &why), 0);
	assert_memory_equal(in.tail.ptr, "alice\0hunter2", 13);
	const char *was = in.tail.ptr;
	ipc_in_finish(&in);
	for (int i = 0; i < 13; i++)
		assert_int_equal(was[i], 0);
	ipc_channel_finish(&auth);
}

static void test_ticket(void **state)
{
	(void)state;
	uint8_t key[TICKET_KEY_SIZE] = {1, 2, 3}, other[TICKET_KEY_SIZE] = {1, 2, 4};
	struct ticket ticket = {.nonce = 1,
	                        .session = 2,
	                        .worker = 3,
	                        .epoch = 4,
	                        .account = "alice",
	                        .location = "maildir:/srv/mail/alice"};
	assert_int_equal(ticket_seal(&ticket, key), 0);
	assert_int_equal(ticket_verify(&ticket, key), 0);
	assert_int_equal(ticket_verify(&ticket, key), 0);
	assert_int_equal(ticket_verify(&ticket, other), ERR_PEER);
	assert_int_equal(ticket_verify(&ticket, key), 0); /* the key of the last call is not kept */
	for (size_t i = 0; i < sizeof ticket; i++) {      /* no octet of it may change */
		((uint8_t *)&ticket)[i] ^= 1;
		assert_int_equal(ticket_verify(&ticket, key), ERR_PEER);
		((uint8_t *)&ticket)[i] ^= 1;
	}
	memset(ticket.location, 'x', sizeof ticket.location);
	assert_int_equal(ticket_seal(&ticket, key), 0);
	assert_int_equal(ticket_verify(&ticket, key), ERR_PEER);
}

/* RFC 4231 gives no key of 32 octets; this is HMAC-SHA-256 of 1,344 zero octets under 32 zeros. */
static void test_ticket_algorithm(void **state)
{
	(void)state;
	static const uint8_t want[] = {0x15, 0x3b, 0x1d, 0x43, 0xb8, 0x3f, 0xfa, 0xd0, 0x93, 0x45, 0x33,
	                               0x92, 0xfe, 0x36, 0xdd, 0x65, 0xe1, 0xf8, 0x2d, 0xc8, 0x2d, 0xd3,
	                               0xc7, 0x20, 0xcf, 0x29, 0xa6, 0xdc, 0x89, 0xd2, 0xfa, 0x19};
	uint8_t key[TICKET_KEY_SIZE] = {0};
	struct ticket ticket = {0};
	assert_int_equal(offsetof(struct ticket, mac), 1344);
	assert_int_equal(ticket_seal(&ticket, key), 0);
	assert_memory_equal(ticket.mac, want, sizeof want);
}

static void test_blob(void **state)
{
	(void)state;
	int fd;
	const char *map;
	assert_int_equal(blob_copy("test", SPAN("sealed octets"), &fd), 0);
	assert_int_equal(blob_map(fd, 13, &map), 0);
	assert_memory_equal(map, "sealed octets", 13);
	assert_int_equal(blob_map(fd, 12, &map), ERR_PEER);
	assert_int_equal(blob_map(fd, 14, &map), ERR_PEER);
	assert_int_equal(write(fd, "x", 1), -1);
	assert_int_equal(ftruncate(fd, 1), -1);
	assert_int_equal(ftruncate(fd, 100), -1);
	assert_ptr_equal(mmap(NULL, 13, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), MAP_FAILED);
	blob_unmap(map, 13);
	(void)close(fd);

	assert_int_equal(blob_copy("empty", span_of(NULL, 0), &fd), 0);
	assert_int_equal(blob_map(fd, 0, &map), 0);
	assert_null(map);
	(void)close(fd);

	char *fill;
	assert_int_equal(blob_new("unsealed", 10, &fd, &fill), 0);
	assert_int_equal(blob_map(fd, 10, &map), ERR_PEER);
	assert_int_equal(blob_seal(fd, fill, 10), 0);
	assert_int_equal(blob_map(fd, 10, &map), 0);
	blob_unmap(map, 10);
	(void)close(fd);

	fd = open("/dev/null", O_RDONLY);
	assert_int_equal(blob_map(fd, 0, &map), ERR_PEER);
	(void)close(fd);
	fd = memfd_create("half", MFD_ALLOW_SEALING);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), 0); /* could still shrink */
	assert_int_equal(blob_map(fd, 0, &map), ERR_PEER);
	(void)close(fd);
	assert_int_equal(blob_new("huge", BLOB_MAX + 1, &fd, &fill), ERR_FULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_round_trip, open_pair, close_pair),
	    cmocka_unit_test_setup_teardown(test_descriptors, open_pair, close_pair),
	    cmocka_unit_test_setup_teardown(test_trays, open_pair, close_pair),
	    cmocka_unit_test_setup_teardown(test_queue, open_pair, close_pair),
	    cmocka_unit_test_setup_teardown(test_refused_lengths, open_pair, close_pair),
	    cmocka_unit_test_setup_teardown(test_refused_heads, open_pair, close_pair),
	    cmocka_unit_test_setup_teardown(test_refused_parts, open_pair, close_pair),
	    cmocka_unit_test(test_rows),
	    cmocka_unit_test_setup_teardown(test_wiped, open_pair, close_pair),
	    cmocka_unit_test(test_ticket),
	    cmocka_unit_test(test_ticket_algorithm),
	    cmocka_unit_test(test_blob),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
