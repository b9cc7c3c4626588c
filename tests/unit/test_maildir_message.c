/* SPDX-License-Identifier: MIT */
/* Unit test of src/drop: messages while a maildrop is open, when other programs rename, replace, delete. */
#include "box.h"

#include <sys/resource.h>

static void test_facts(void **state)
{
	struct box *box = *state;
	static const struct {
		const char *path;
		struct span octets;
		uint64_t wire, header;
		bool crlf, no_dots;
	} cases[] = {
	    {"new/1.lf",         SPAN("A: b\n\nx\n"),            11, 6, false, true },
	    {"new/2.crlf",       SPAN("A: b\r\n\r\nx\r\n"),      11, 8, true,  true },
	    {"new/3.mixed",      SPAN("A: b\r\n\nx\r\n"),        11, 7, false, true },
	    {"new/4.lone-cr",    SPAN("a\rb\r\rc\n\n"),          10, 8, false, true },
	    {"new/5.nul",        SPAN("a\0b\n"),                 5,  4, false, true },
	    {"new/6.no-end",     SPAN("a\nb"),                   6,  3, false, true },
	    {"new/7.cr-end",     SPAN("a\r\nb\r"),               7,  5, false, true },
	    {"new/8.empty",      SPAN(""),                       0,  0, true,  true },
	    {"new/9.dot",        SPAN(".\r\n\r\n.x\r\n"),        9,  5, true,  false},
	    {"new/10.inner-dot", SPAN("a\r\n\r\nb.\r\nc.d\r\n"), 14, 5, true,  true },
	    {"new/11.late-dot",  SPAN("a\n\nb\n..\n"),           12, 3, false, false},
	    {"new/12.no-header", SPAN("\nbody\n"),               8,  1, false, true },
	    {"new/13.no-header", SPAN("\r\nbody\r\n"),           8,  2, true,  true },
	    {"new/14.cr-cr-lf",  SPAN("a\n\r\r\nb\n"),           9,  7, false, true },
	};
	enum { COUNT = sizeof cases / sizeof cases[0] };
	for (unsigned i = 0; i < COUNT; i++)
		box_put(box, cases[i].path, cases[i].octets);
	box_open(box);
	assert_int_equal(drop_count(box->drop), COUNT);
	for (uint32_t i = 0; i < COUNT; i++) {
		struct drop_body body;
		assert_int_equal(drop_body(box->drop, i + 1, 0, &body), ERR_NONE);
		(void)close(body.fd);
		bool right = box_size(box, i + 1) == cases[i].wire && body.wire == cases[i].wire &&
		             body.length == cases[i].octets.len && body.header == cases[i].header &&
		             body.crlf == cases[i].crlf && body.no_dots == cases[i].no_dots &&
		             body.offset == 0;
		if (!right)
			fail_msg("%s: wire %ju header %ju crlf %d no_dots %d", cases[i].path,
			         (uintmax_t)body.wire, (uintmax_t)body.header, body.crlf, body.no_dots);
	}
}

static void test_sparse_4_gib(void **state)
{
	struct box *box = *state;
	const uint64_t size = (UINT64_C(4) << 30) + 1;
	box_put_text(box, "new/1.big", "Subject: x\n\n");
	int fd = openat(box->fd, "new/1.big", O_WRONLY | O_CLOEXEC);
	if (ftruncate(fd, (off_t)size) != 0) {
		(void)close(fd);
		skip(); /* a file system without sparse files */
	}
	(void)close(fd);
	box_open(box);
	assert_int_equal(box_size(box, 1), size + 2 + 2);
	struct drop_body body;
	assert_int_equal(drop_body(box->drop, 1, 0, &body), ERR_NONE);
	(void)close(body.fd);
	assert_int_equal(body.length, size);
	assert_int_equal(body.header, 12);
}

static void test_gone(void **state)
{
	struct box *box = *state;
	box_put_text(box, "new/1.a", "a\n");
	box_put_text(box, "new/2.b", "b\n");
	box_open(box);
	box_delete(box, "new/1.a");
	box_expect_no_body(box, 1, ERR_NOTFOUND);
	box_expect_body(box, 2, "b\n"); /* numbering stays */
}

static void test_renamed_by_another_program(void **state)
{
	struct box *box = *state;
	box_put_text(box, "new/1.a", "a\n");
	box_put_text(box, "new/2.b", "b\n");
	box_put_text(box, "cur/3.c:2,S", "c\n");
	box_open(box);
	box_rename(box, "new/1.a", "cur/1.a:2,S");
	box_rename(box, "cur/3.c:2,S", "cur/3.c:2,RST");
	assert_int_equal(drop_body(box->drop, 1, DROP_NOWAIT, &(struct drop_body){0}), ERR_AGAIN);
	box_expect_body(box, 1, "a\n");
	box_expect_body(box, 3, "c\n");
	box_rename(box, "cur/1.a:2,S", "new/1.a");
	box_expect_body(box, 1, "a\n");
}

static void test_replaced(void **state)
{
	struct box *box = *state;
	box_put_text(box, "new/1.a", "old\n");
	box_put_text(box, "new/2.b", "old\n");
	box_put_text(box, "new/3.c", "old\n");
	box_put_text(box, "new/4.d", "old\n");
	box_open(box);
	/* Another file of the same size, one that grew, and one rewritten in place. */
	box_put_text(box, "tmp/x", "new\n");
	box_rename(box, "tmp/x", "new/1.a");
	box_put_text(box, "new/2.b", "longer\n");
	struct timespec times[2] = {
	    {1, 0},
            {1, 0}
        };
	box_put_text(box, "new/3.c", "bad\n");
	assert_int_equal(utimensat(box->fd, "new/3.c", times, 0), 0);
	for (uint32_t number = 1; number <= 3; number++)
		box_expect_no_body(box, number, ERR_CHANGED);
	box_expect_body(box, 4, "old\n");
	/* The next session has it right, without any folder having changed for two of them. */
	box_rest();
	box_open(box);
	assert_int_equal(box_size(box, 2), 8);
	box_expect_body(box, 1, "new\n");
	box_expect_body(box, 2, "longer\n");
	box_expect_body(box, 3, "bad\n");
}

static void test_something_else_under_the_name(void **state)
{
	struct box *box = *state;
	static const char *const names[] = {"new/1.a", "new/2.b", "new/3.c", "new/4.d"};
	for (unsigned i = 0; i < 4; i++)
		box_put_text(box, names[i], "a\n");
	box_open(box);
	for (unsigned i = 0; i < 3; i++)
		box_delete(box, names[i]);
	assert_int_equal(mkdirat(box->fd, names[0], 0700), 0);
	assert_int_equal(symlinkat("4.d", box->fd, names[1]), 0);
	assert_int_equal(mkfifoat(box->fd, names[2], 0600), 0);
	for (uint32_t number = 1; number <= 3; number++)
		box_expect_no_body(box, number, ERR_NOTREGULAR);
	box_expect_body(box, 4, "a\n");
	/* A folder that became a symlink leads nowhere, wherever it points. */
	assert_int_equal(renameat(box->fd, "new", box->fd, "away"), 0);
	assert_int_equal(symlinkat("away", box->fd, "new"), 0);
	box_expect_no_body(box, 4, ERR_NOTREGULAR);
	assert_int_equal(box_try_open(box, 0), ERR_CORRUPT);
}

static void test_index_lost_meanwhile(void **state)
{
	struct box *box = *state;
	box_put_text(box, "new/1.a", "a\n");
	box_put_text(box, "new/2.b", "b\n");
	box_open(box);
	box_delete(box, "restante.index");
	box_expect_body(box, 2, "b\n");
	box_open(box);
	box_put_text(box, "tmp/other", "nothing\n");
	box_rename(box, "tmp/other", "restante.index");
	box_expect_body(box, 2, "b\n");
}

/* Another index of this very maildrop, written over the one that is in use. */
static void test_index_overwritten_meanwhile(void **state)
{
	struct box *box = *state;
	static char older[4096];
	box_put_text(box, "new/1.a", "a\n");
	box_put_text(box, "new/2.b", "b\n");
	box_open(box);
	int fd = openat(box->fd, "restante.index", O_RDONLY | O_CLOEXEC);
	ssize_t len = read(fd, older, sizeof older);
	(void)close(fd);
	box_close(box);
	box_delete(box, "new/1.a");
	box_put_text(box, "new/3.c", "c\n");
	box_open(box); /* 2.b is message 1 now */
	fd = openat(box->fd, "restante.index", O_WRONLY | O_CLOEXEC);
	assert_int_equal(pwrite(fd, older, (size_t)len, 0), len);
	box_expect_no_body(box, 1, ERR_CORRUPT);
	assert_int_equal(ftruncate(fd, 100), 0);
	box_expect_no_body(box, 2, ERR_CORRUPT);
	(void)close(fd);
	uint32_t removed = 9;
	assert_int_equal(drop_commit(box->drop, SPAN("\3"), &removed, &box->error), ERR_CORRUPT);
	assert_int_equal(removed, 0);
	box_open(box);
	assert_int_equal(drop_count(box->drop), 2);
	box_expect_body(box, 1, "b\n");
	box_expect_body(box, 2, "c\n");
}

/* A maildrop that can be read and not written: an index in memory serves. */
static void test_read_only_maildrop(void **state)
{
	struct box *box = *state;
	box_put_text(box, "new/1.a", "a\n");
	assert_int_equal(fchmodat(box->fd, "new/1.a", 0644, 0), 0);
	box_become_other(box);
	assert_int_equal(fchmodat(box->fd, ".", 0500, 0), 0);
	for (unsigned i = 0; i < 2; i++) {
		box_open(box);
		assert_int_equal(box->report.read, 1);
		box_expect_body(box, 1, "a\n");
		struct drop_body body;
		assert_int_equal(drop_body(box->drop, 1, DROP_NOWAIT, &body), ERR_NONE);
		(void)close(body.fd);
	}
	assert_false(box_has(box, "restante.index"));
	assert_int_equal(fchmodat(box->fd, ".", 0700, 0), 0);
	box_become_self();
}

static void test_no_descriptors(void **state)
{
	struct box *box = *state;
	struct rlimit limit, none;
	box_put_text(box, "new/1.a", "a\n");
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	int next = dup(0); /* the lowest free one */
	(void)close(next);
	none = limit;
	for (rlim_t more = 0; more < 4; more++) { /* never a message that is taken for unreadable */
		none.rlim_cur = (rlim_t)next + more;
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
		int err = box_try_open(box, 0);
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
		if (err == ERR_NONE)
			assert_int_equal(box->report.unreadable, 0);
		else
			assert_int_equal(err, ERR_FULL);
	}
	box_open(box);
	box_expect_body(box, 1, "a\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    BOX_TEST(test_facts),
	    BOX_TEST(test_sparse_4_gib),
	    BOX_TEST(test_gone),
	    BOX_TEST(test_renamed_by_another_program),
	    BOX_TEST(test_replaced),
	    BOX_TEST(test_something_else_under_the_name),
	    BOX_TEST(test_index_lost_meanwhile),
	    BOX_TEST(test_index_overwritten_meanwhile),
	    BOX_TEST(test_read_only_maildrop),
	    BOX_TEST(test_no_descriptors),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
