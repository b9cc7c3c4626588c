/* SPDX-License-Identifier: MIT */
/* Unit test of src/drop: opening, locking, listing, unique-ids, and what is no message. */
#include "box.h"

#include "drop/catalog.h"
#include "drop/scan.h"

#include <sys/file.h>
#include <sys/socket.h>
#include <sys/un.h>

static void test_empty(void **state)
{
	struct box *box = *state;
	box_open(box);
	assert_int_equal(drop_count(box->drop), 0);
	assert_int_equal(drop_octets(box->drop), 0);
	box_expect_no_body(box, 1, ERR_RANGE);
}

static void test_made_where_there_is_none(void **state)
{
	struct box *box = *state;
	(void)snprintf(box->location, sizeof box->location, "maildir:%s/made", box->root);
	assert_int_equal(box_try_open(box, DROP_NOWAIT), ERR_AGAIN);
	box_open(box);
	struct stat what;
	assert_int_equal(fstatat(box->drop_root.fd, "made/tmp", &what, 0), 0);
	/* A part that is missing (a crash in between) is made. */
	box_close(box);
	assert_int_equal(unlinkat(box->drop_root.fd, "made/cur", AT_REMOVEDIR), 0);
	box_open(box);
	/* But no parents. */
	(void)snprintf(box->location, sizeof box->location, "maildir:%s/no/parent", box->root);
	assert_int_equal(box_try_open(box, 0), ERR_NOTFOUND);
}

static void test_something_else_in_its_place(void **state)
{
	struct box *box = *state;
	static const char *const bad[] = {"file", "link", "home"};
	assert_int_equal(close(openat(box->drop_root.fd, "file", O_CREAT | O_WRONLY | O_CLOEXEC, 0600)), 0);
	assert_int_equal(symlinkat("m", box->drop_root.fd, "link"), 0);
	assert_int_equal(mkdirat(box->drop_root.fd, "home", 0700), 0);
	assert_int_equal(close(openat(box->drop_root.fd, "home/x", O_CREAT | O_WRONLY | O_CLOEXEC, 0600)), 0);
	for (unsigned i = 0; i < 3; i++) {
		(void)snprintf(box->location, sizeof box->location, "maildir:%s/%s", box->root, bad[i]);
		assert_int_equal(box_try_open(box, 0), ERR_CORRUPT);
		assert_non_null(strstr(box->error.text, bad[i]));
	}
}

static void test_location(void **state)
{
	struct box *box = *state;
	static const char *const bad[] = {"m",         "mh:%s/m",      "maildir:%s",      "maildir:%s/",
	                                  "maildir:m", "maildir:%s/.", "maildir:%s/../m", "maildir:%sm",
	                                  "",          "maildir:/m",   "maildir:%s//m",   "maildir:%s/m/.."};
	for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		char location[256] = "";
		const char *at = strstr(bad[i], "%s");
		size_t before = at ? (size_t)(at - bad[i]) : strlen(bad[i]);
		(void)snprintf(location, sizeof location, "%.*s%s%s", (int)before, bad[i],
		               at ? box->root : "", at ? at + 2 : "");
		memcpy(box->location, location, sizeof location);
		if (box_try_open(box, 0) != ERR_SYNTAX)
			fail_msg("%s was not refused", location);
	}
	struct drop_root root;
	assert_int_equal(drop_root_open("relative", &root, &box->error), ERR_SYNTAX);
	assert_int_equal(drop_root_open("/nonexistent/root", &root, &box->error), ERR_NOTFOUND);
}

static void test_lock(void **state)
{
	struct box *box = *state;
	struct drop *second;
	struct drop_report report;
	box_open(box);
	assert_int_equal(drop_open(&box->drop_root, box->location, 0, &second, &report, NULL), ERR_BUSY);
	box_close(box);
	assert_int_equal(flock(box->fd, LOCK_EX | LOCK_NB), 0);
	assert_int_equal(box_try_open(box, 0), ERR_BUSY);
	assert_int_equal(flock(box->fd, LOCK_UN), 0);
	box_open(box);
}

static void test_order_and_unique_ids(void **state)
{
	struct box *box = *state;
	box_put_text(box, "cur/20.b:2,S", "b\n");
	box_put_text(box, "new/3.c", "cc\n");
	box_put_text(box, "new/20.a", "aaa\n");
	box_put_text(box, "cur/x:2,", "xxxx\n");
	box_put_text(box, "tmp/1.t", "not yet\n");
	box_put_text(box, "new/.hidden", "no\n");
	box_open(box);
	assert_int_equal(drop_count(box->drop), 4);
	assert_int_equal(box->report.read, 4);
	assert_string_equal(box_uid(box, 1), "x");
	assert_string_equal(box_uid(box, 2), "3.c");
	assert_string_equal(box_uid(box, 3), "20.a");
	assert_string_equal(box_uid(box, 4), "20.b");
	assert_int_equal(box_size(box, 3), 5);
	box_expect_body(box, 4, "b\n");
	/* New mail comes last, whatever its number; nothing known is read again; flags do not matter. */
	box_close(box);
	box_put_text(box, "new/1.late", "late\n");
	box_rename(box, "new/3.c", "cur/3.c:2,RS");
	box_delete(box, "new/20.a");
	box_open(box);
	assert_int_equal(box->report.read, 1);
	assert_int_equal(drop_count(box->drop), 4);
	assert_string_equal(box_uid(box, 2), "3.c");
	assert_string_equal(box_uid(box, 3), "20.b");
	assert_string_equal(box_uid(box, 4), "1.late");
	box_expect_body(box, 2, "cc\n");
	assert_true(box_has(box, "tmp/1.t"));
	/* Without the index the unique-ids are the same. */
	box_close(box);
	box_delete(box, "restante.index");
	box_open(box);
	assert_int_equal(box->report.read, 4);
	assert_string_equal(box_uid(box, 2), "1.late");
	assert_int_not_equal(box_find(box, "3.c"), 0);
}

static void test_names_that_are_no_unique_id(void **state)
{
	struct box *box = *state;
	char longest[256 + 4], just[71 + 4], over[72 + 4];
	(void)snprintf(longest, sizeof longest, "new/%0255d", 1);
	(void)snprintf(just, sizeof just, "new/%070d", 2);
	(void)snprintf(over, sizeof over, "new/%071d", 3);
	const char *const names[] = {longest,
	                             just,
	                             over,
	                             "new/4 space",
	                             "new/5\nline",
	                             "new/6\xc3\xa4",
	                             "new/:2,",
	                             "cur/8\x7f:2,S",
	                             "new/h00112233445566778899aabbccddeeff"};
	enum { COUNT = sizeof names / sizeof names[0] };
	char uid[COUNT][DROP_UID_MAX + 1];
	for (unsigned i = 0; i < COUNT; i++)
		box_put_text(box, names[i], names[i]);
	box_open(box);
	assert_int_equal(drop_count(box->drop), COUNT);
	for (uint32_t i = 0; i < COUNT; i++) {
		(void)snprintf(uid[i], sizeof uid[i], "%s", box_uid(box, i + 1));
		assert_true(strlen(uid[i]) >= 1);
		for (const char *c = uid[i]; *c; c++)
			assert_true(*c >= 0x21 && *c <= 0x7e);
		for (uint32_t k = 0; k < i; k++)
			assert_string_not_equal(uid[i], uid[k]);
		int err;
		const char *text = box_body(box, i + 1, &err);
		assert_non_null(text);
		bool own = strcmp(text + 4, uid[i]) == 0;
		assert_true(own == (text == strstr(text, just)));
	}
	/* Hashed ones stay too, even when the index is lost. */
	box_close(box);
	box_delete(box, "restante.index");
	box_open(box);
	for (uint32_t i = 0; i < COUNT; i++)
		assert_string_equal(box_uid(box, i + 1), uid[i]);
}

/* Two files of one base name: two messages with two unique-ids, which stay with their files. */
static void test_one_base_name_twice(void **state)
{
	struct box *box = *state;
	char second[DROP_UID_MAX + 1];
	box_put_text(box, "cur/7.x:2,S", "first\n");
	box_open(box);
	box_close(box);
	box_put_text(box, "new/7.x", "second\n");
	box_open(box);
	assert_int_equal(drop_count(box->drop), 2);
	assert_string_equal(box_uid(box, 1), "7.x");
	(void)snprintf(second, sizeof second, "%s", box_uid(box, 2));
	assert_string_not_equal(second, "7.x");
	box_expect_body(box, 1, "first\n");
	box_expect_body(box, 2, "second\n");
	box_close(box);
	box_rename(box, "new/7.x", "cur/7.x:2,RS");
	box_open(box);
	assert_string_equal(box_uid(box, 1), "7.x");
	assert_string_equal(box_uid(box, 2), second);
	box_expect_body(box, 2, "second\n");
	/* The first one goes: the second keeps its own. */
	box_close(box);
	box_delete(box, "cur/7.x:2,S");
	box_open(box);
	assert_int_equal(drop_count(box->drop), 1);
	assert_string_equal(box_uid(box, 1), second);
}

/* As a rename looks to somebody who reads the folders while it happens. */
static void test_one_file_under_two_names(void **state)
{
	struct box *box = *state;
	box_put_text(box, "new/7.x", "text\n");
	assert_int_equal(linkat(box->fd, "new/7.x", box->fd, "cur/7.x:2,S", 0), 0);
	box_open(box);
	assert_int_equal(drop_count(box->drop), 1);
	box_close(box);
	box_put_text(box, "new/8.y", "text\n");
	box_open(box);
	assert_int_equal(drop_count(box->drop), 2);
	assert_int_equal(box->report.read, 1);
}

static void test_what_is_no_message(void **state)
{
	struct box *box = *state;
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	box_put_text(box, "new/1.good", "good\n");
	assert_int_equal(mkdirat(box->fd, "new/2.folder", 0700), 0);
	assert_int_equal(symlinkat("1.good", box->fd, "new/3.link"), 0);
	assert_int_equal(symlinkat("nowhere", box->fd, "cur/4.dangling"), 0);
	assert_int_equal(mkfifoat(box->fd, "new/5.fifo", 0600), 0);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	(void)snprintf(address.sun_path, sizeof address.sun_path, "%.60s/m/new/6.socket", box->root);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
	(void)close(fd);
	box_open(box);
	assert_int_equal(drop_count(box->drop), 1);
	assert_int_equal(box->report.skipped, 5);
	assert_string_equal(box_uid(box, 1), "1.good");
}

static void test_warm_open_reads_nothing(void **state)
{
	struct box *box = *state;
	box_put_text(box, "new/1.a", "a\n");
	box_open(box);
	assert_true(box->report.rescanned);
	/* The folders have only just changed: not to be relied on. */
	assert_int_equal(box_try_open(box, DROP_NOWAIT), ERR_AGAIN);
	box_open(box);
	assert_true(box->report.rescanned);
	assert_int_equal(box->report.read, 0);
	box_rest();
	box_open(box);
	assert_true(box->report.rescanned);
	box_open(box);
	assert_false(box->report.rescanned);
	assert_int_equal(box_try_open(box, DROP_NOWAIT), ERR_NONE);
	/* Any change of a folder is seen, even if somebody sets its time back. */
	struct stat before;
	assert_int_equal(fstatat(box->fd, "new", &before, 0), 0);
	box_put_text(box, "new/2.b", "b\n");
	struct timespec times[2] = {before.st_atim, before.st_mtim};
	assert_int_equal(utimensat(box->fd, "new", times, 0), 0);
	assert_int_equal(box_try_open(box, DROP_NOWAIT), ERR_AGAIN);
	box_open(box);
	assert_int_equal(drop_count(box->drop), 2);
}

/* A folder that another one took the place of, with the very time of the first. */
static void test_folder_replaced(void **state)
{
	struct box *box = *state;
	box_put_text(box, "new/1.a", "a\n");
	box_rest();
	box_open(box);
	box_close(box);
	assert_int_equal(mkdirat(box->fd, "other", 0700), 0);
	box_put_text(box, "other/2.b", "bb\n");
	assert_int_equal(renameat2(box->fd, "new", box->fd, "other", RENAME_EXCHANGE), 0);
	box_open(box);
	assert_int_equal(drop_count(box->drop), 1);
	assert_string_equal(box_uid(box, 1), "2.b");
}

static void test_unreadable_file(void **state)
{
	struct box *box = *state;
	box_put_text(box, "new/1.a", "1\n2\n");
	box_put_text(box, "new/2.b", "b\n");
	assert_int_equal(fchmodat(box->fd, "new/1.a", 0, 0), 0);
	if (geteuid() == 0)
		assert_int_equal(fchownat(box->fd, "new/2.b", BOX_OTHER_UID, BOX_OTHER_UID, 0), 0);
	box_become_other(box);
	box_rest(); /* the folders are to be relied on, but for that file */
	box_open(box);
	assert_int_equal(drop_count(box->drop), 2);
	assert_int_equal(box->report.unreadable, 1);
	assert_int_equal(box_size(box, 1), 4);
	box_expect_no_body(box, 1, ERR_DENIED);
	box_expect_body(box, 2, "b\n");
	box_become_self();
	/* Readable by now, but its announced size was a guess. */
	assert_int_equal(fchmodat(box->fd, "new/1.a", 0644, 0), 0);
	box_expect_no_body(box, 1, ERR_DENIED);
	/* No folder has changed, yet the next open looks again. */
	box_open(box);
	assert_int_equal(box->report.unreadable, 0);
	assert_int_equal(box->report.read, 1);
	assert_int_equal(box_size(box, 1), 6);
	box_expect_body(box, 1, "1\n2\n");
}

/* DROP_MESSAGES_MAX itself is too many for a test. */
static void test_too_many_messages(void **state)
{
	struct box *box = *state;
	struct catalog catalog;
	struct index_seen seen[INDEX_FOLDERS];
	struct drop_report report;
	struct scan scan;
	bool altered;
	for (unsigned i = 0; i < 5; i++) {
		char path[32];
		(void)snprintf(path, sizeof path, "new/%u.x", i);
		box_put_text(box, path, "x\n");
	}
	catalog_init(&catalog, 1);
	assert_int_equal(scan_begin(&scan, box->fd, &catalog, 3), ERR_NONE);
	assert_int_equal(scan_step(&scan, UINT64_MAX), ERR_NONE);
	scan_end(&scan, seen, &altered, &report);
	scan_finish(&scan);
	assert_int_equal(report.messages, 3);
	assert_int_equal(report.hidden, 2);
	catalog_finish(&catalog);
}

enum { MANY = 30000 };

static void put_many(const struct box *box)
{
	for (unsigned i = 0; i < MANY; i++) {
		char path[32];
		(void)snprintf(path, sizeof path, "new/%u.x", 100000 + i);
		if (i == 0)
			box_put_text(box, path, "x\n");
		else
			assert_int_equal(linkat(box->fd, "new/100000.x", box->fd, path, 0), 0);
	}
}

/* An indexing that is stopped halfway goes on where it was, and nothing else comes of it. */
static void test_indexing_in_steps(void **state)
{
	struct box *box = *state;
	struct drop_report report = {0};
	put_many(box);
	assert_int_equal(box_try_open(box, DROP_STEPS), ERR_NONE);
	while (report.settled < 2000) /* what is worth keeping */
		assert_int_equal(drop_prepare(box->drop, &report, NULL), ERR_AGAIN);
	assert_int_equal(report.messages, MANY);
	uint32_t kept = report.settled;
	box_close(box);
	assert_int_equal(box_try_open(box, DROP_STEPS), ERR_NONE);
	while (drop_prepare(box->drop, &report, NULL) == ERR_AGAIN)
		assert_true(report.settled >= kept);
	assert_int_equal(report.read, MANY - kept);
	assert_int_equal(drop_count(box->drop), MANY);
	assert_int_equal(drop_octets(box->drop), MANY * 3);
	box_close(box);
	box_open(box);
	assert_int_equal(box->report.read, 0);
	for (uint32_t number = 1; number <= MANY; number += 997) {
		char uid[16];
		(void)snprintf(uid, sizeof uid, "%u.x", 100000 + number - 1);
		assert_string_equal(box_uid(box, number), uid);
	}
}

static void test_commit_in_steps(void **state)
{
	struct box *box = *state;
	static char marks[(MANY + 7) / 8];
	uint32_t removed, before = 0;
	unsigned steps = 0;
	int err;
	put_many(box);
	box_open(box);
	memset(marks, 0xff, MANY / 8);
	marks[0] = (char)0xf7;
	while ((err = drop_commit_step(box->drop, span_of(marks, sizeof marks), &removed, NULL)) ==
	       ERR_AGAIN) {
		assert_true(removed > before);
		before = removed;
		steps++;
	}
	assert_int_equal(err, ERR_NONE);
	assert_true(steps > 0);
	assert_int_equal(removed, MANY - 1);
	box_close(box);
	box_open(box);
	assert_int_equal(drop_count(box->drop), 1);
	assert_string_equal(box_uid(box, 1), "100003.x");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    BOX_TEST(test_empty),
	    BOX_TEST(test_made_where_there_is_none),
	    BOX_TEST(test_something_else_in_its_place),
	    BOX_TEST(test_location),
	    BOX_TEST(test_lock),
	    BOX_TEST(test_order_and_unique_ids),
	    BOX_TEST(test_names_that_are_no_unique_id),
	    BOX_TEST(test_one_base_name_twice),
	    BOX_TEST(test_one_file_under_two_names),
	    BOX_TEST(test_what_is_no_message),
	    BOX_TEST(test_warm_open_reads_nothing),
	    BOX_TEST(test_folder_replaced),
	    BOX_TEST(test_unreadable_file),
	    BOX_TEST(test_too_many_messages),
	    BOX_TEST(test_indexing_in_steps),
	    BOX_TEST(test_commit_in_steps),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
