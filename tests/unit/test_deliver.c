/* SPDX-License-Identifier: MIT */
/* Unit test of src/drop: mail that comes in. */
#include "box.h"

#include "base/time.h"
#include "drop/deliver.h"
#include "drop/name.h"

#include <dirent.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>

static const char text[] = "Subject: x\n\nbody\n";

static struct drop_incoming *begin(struct box *box)
{
	struct drop_incoming *incoming;
	int err = drop_incoming_begin(&box->drop_root, box->location, &incoming, &box->error);
	if (err)
		fail_msg("begin: %s: %s", err_text(err), box->error.text);
	int fd = drop_incoming_fd(incoming);
	assert_int_equal(write(fd, text, sizeof text - 1), sizeof text - 1);
	return incoming;
}

static int deliver_to(struct box *box, struct drop_incoming *incoming, const char *maildrop,
                      struct drop_delivered *ret)
{
	char location[256];
	(void)snprintf(location, sizeof location, "maildir:%s/%s", box->root, maildrop);
	return drop_deliver(&box->drop_root, incoming, location, NULL, ret, &box->error);
}

/* Files in a folder below root; `ret_inode` is that of the last. */
static unsigned count_files(const struct box *box, const char *path, ino_t *ret_inode)
{
	unsigned count = 0;
	int fd = openat(box->drop_root.fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	assert_non_null(dir);
	for (const struct dirent *entry; (entry = readdir(dir));)
		if (entry->d_name[0] != '.') {
			count++;
			*ret_inode = entry->d_ino;
		}
	(void)closedir(dir);
	return count;
}

static void expect_files(const struct box *box, const char *path, unsigned want)
{
	ino_t inode;
	assert_int_equal(count_files(box, path, &inode), want);
}

static void remove_all(const struct box *box, const char *part)
{
	DIR *dir = fdopendir(openat(box->fd, part, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	assert_non_null(dir);
	for (const struct dirent *entry; (entry = readdir(dir));)
		if (entry->d_name[0] != '.')
			assert_int_equal(unlinkat(dirfd(dir), entry->d_name, 0), 0);
	(void)closedir(dir);
}

static void test_one(void **state)
{
	struct box *box = *state;
	struct drop_delivered delivered;
	box_open(box);
	struct drop_incoming *incoming = begin(box);
	expect_files(box, "m/new", 0);
	assert_int_equal(deliver_to(box, incoming, "m", &delivered), ERR_NONE);
	drop_incoming_end(incoming);
	expect_files(box, "m/tmp", 0);
	expect_files(box, "m/new", 1);
	/* The session that is open goes on as it is; the next one has it. */
	assert_int_equal(drop_count(box->drop), 0);
	box_open(box);
	assert_int_equal(drop_count(box->drop), 1);
	assert_string_equal(box_uid(box, 1), delivered.unique_id);
	assert_int_equal(delivered.raw, sizeof text - 1);
	box_expect_body(box, 1, text);
}

static void test_given_up(void **state)
{
	struct box *box = *state;
	drop_incoming_end(begin(box));
	drop_incoming_end(NULL);
	expect_files(box, "m/tmp", 0);
	expect_files(box, "m/new", 0);
}

static void test_many_share_one_file(void **state)
{
	struct box *box = *state;
	struct drop_delivered delivered[4];
	static const char *const to[] = {"m", "b", "c", "m"};
	struct drop_incoming *incoming = begin(box);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(deliver_to(box, incoming, to[i], &delivered[i]), ERR_NONE);
	/* A maildrop that can not be had is nobody else's trouble. */
	struct drop_delivered none;
	assert_int_equal(deliver_to(box, incoming, "no/parent", &none), ERR_NOTFOUND);
	assert_int_equal(deliver_to(box, incoming, "..", &none), ERR_SYNTAX);
	drop_incoming_end(incoming);
	ino_t inode[3];
	assert_int_equal(count_files(box, "m/new", &inode[0]), 2);
	assert_int_equal(count_files(box, "b/new", &inode[1]), 1);
	assert_int_equal(count_files(box, "c/new", &inode[2]), 1);
	assert_int_equal(inode[0], inode[1]);
	assert_int_equal(inode[0], inode[2]);
	box_open(box);
	assert_int_equal(drop_count(box->drop), 2);
	assert_string_equal(box_uid(box, 1), delivered[0].unique_id);
	assert_string_equal(box_uid(box, 2), delivered[3].unique_id);
}

static void test_kept_name(void **state)
{
	struct box *box = *state;
	struct drop_delivered delivered;
	static const char *const bad[] = {"1.x", "tmp/1.x", "new/", "new/.x", "cur/a/b", "new/../x", ""};
	struct drop_incoming *incoming = begin(box);
	for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++)
		assert_int_equal(drop_incoming_keep_name(incoming, bad[i]), ERR_SYNTAX);
	assert_int_equal(drop_incoming_keep_name(incoming, "cur/1.x:2,RS"), ERR_NONE);
	assert_int_equal(deliver_to(box, incoming, "m", &delivered), ERR_NONE);
	assert_string_equal(delivered.unique_id, "1.x");
	assert_true(box_has(box, "cur/1.x:2,RS"));
	/* Nothing is written over, by a link or by a copy. */
	box_put_text(box, "cur/1.x:2,RS", "another\n");
	assert_int_equal(deliver_to(box, incoming, "m", &delivered), ERR_EXISTS);
	drop_incoming_end(incoming);
	incoming = begin(box);
	assert_int_equal(drop_incoming_keep_name(incoming, "cur/1.x:2,RS"), ERR_NONE);
	remove_all(box, "tmp");
	assert_int_equal(deliver_to(box, incoming, "m", &delivered), ERR_EXISTS);
	drop_incoming_end(incoming);
	expect_files(box, "m/tmp", 0);
	box_open(box);
	box_expect_body(box, 1, "another\n");
}

static void test_cleaned_tmp(void **state)
{
	/* Somebody's cleaner took the file: there still is its descriptor. */
	struct box *box = *state;
	struct drop_delivered delivered;
	struct drop_incoming *incoming = begin(box);
	remove_all(box, "tmp");
	assert_int_equal(deliver_to(box, incoming, "m", &delivered), ERR_NONE);
	drop_incoming_end(incoming);
	box_open(box);
	box_expect_body(box, 1, text);
	expect_files(box, "m/tmp", 0);
}

static void test_other_file_system(void **state)
{
	struct box *box = *state;
	struct drop_delivered delivered;
	char path[256];
	assert_int_equal(mkdirat(box->drop_root.fd, "far", 0700), 0);
	(void)snprintf(path, sizeof path, "%s/far", box->root);
	if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
	    mount("tmpfs", path, "tmpfs", 0, "size=256k") != 0)
		skip();                   /* needs root */
	drop_root_close(&box->drop_root); /* it was opened where nothing is mounted */
	assert_int_equal(drop_root_open(box->root, &box->drop_root, &box->error), ERR_NONE);
	struct drop_incoming *incoming = begin(box);
	assert_int_equal(deliver_to(box, incoming, "far/m", &delivered), ERR_NONE);
	assert_int_equal(deliver_to(box, incoming, "m", &delivered), ERR_NONE);
	expect_files(box, "far/m/new", 1);
	expect_files(box, "far/m/tmp", 0);
	drop_incoming_end(incoming);
	(void)snprintf(box->location, sizeof box->location, "maildir:%s/far/m", box->root);
	box_open(box);
	box_expect_body(box, 1, text);
	/* That file system is full: nothing of the message is there. */
	(void)snprintf(box->location, sizeof box->location, "maildir:%s/m", box->root);
	incoming = begin(box);
	assert_int_equal(ftruncate(drop_incoming_fd(incoming), 1 << 20), 0);
	assert_int_equal(deliver_to(box, incoming, "far/m", &delivered), ERR_NOSPACE);
	expect_files(box, "far/m/new", 1);
	expect_files(box, "far/m/tmp", 0);
	assert_int_equal(deliver_to(box, incoming, "m", &delivered), ERR_NONE);
	drop_incoming_end(incoming);
	box_close(box);
	assert_int_equal(umount2(path, MNT_DETACH), 0);
}

static void test_not_permitted(void **state)
{
	struct box *box = *state;
	struct drop_delivered delivered;
	struct drop_incoming *incoming;
	box_become_other(box);
	assert_int_equal(fchmodat(box->fd, "new", 0500, 0), 0);
	incoming = begin(box);
	assert_int_equal(deliver_to(box, incoming, "m", &delivered), ERR_DENIED);
	assert_non_null(strstr(box->error.text, "m"));
	drop_incoming_end(incoming);
	expect_files(box, "m/new", 0);
	expect_files(box, "m/tmp", 0);
	assert_int_equal(fchmodat(box->fd, "tmp", 0500, 0), 0);
	assert_int_equal(drop_incoming_begin(&box->drop_root, box->location, &incoming, &box->error),
	                 ERR_DENIED);
	box_become_self();
}

static void test_no_maildrop(void **state)
{
	struct box *box = *state;
	struct drop_incoming *incoming;
	static const char *const bad[] = {"file", "link", "home"};
	assert_int_equal(close(openat(box->drop_root.fd, "file", O_CREAT | O_WRONLY | O_CLOEXEC, 0600)), 0);
	assert_int_equal(symlinkat("m", box->drop_root.fd, "link"), 0);
	assert_int_equal(mkdirat(box->drop_root.fd, "home", 0700), 0);
	assert_int_equal(close(openat(box->drop_root.fd, "home/x", O_CREAT | O_WRONLY | O_CLOEXEC, 0600)), 0);
	for (unsigned i = 0; i < 3; i++) {
		(void)snprintf(box->location, sizeof box->location, "maildir:%s/%s", box->root, bad[i]);
		assert_int_equal(drop_incoming_begin(&box->drop_root, box->location, &incoming, &box->error),
		                 ERR_CORRUPT);
	}
	/* Nor is what new/ points to. */
	(void)snprintf(box->location, sizeof box->location, "maildir:%s/m", box->root);
	assert_int_equal(unlinkat(box->fd, "new", AT_REMOVEDIR), 0);
	assert_int_equal(symlinkat("cur", box->fd, "new"), 0);
	struct drop_delivered delivered;
	incoming = begin(box);
	assert_int_equal(deliver_to(box, incoming, "m", &delivered), ERR_CORRUPT);
	drop_incoming_end(incoming);
	expect_files(box, "m/cur", 0);
}

static void age(const struct box *box, const char *path, long hours)
{
	struct timespec then = {.tv_sec = (time_t)(time_real_ns() / 1000000000) - hours * 3600};
	const struct timespec times[2] = {then, then};
	box_put_text(box, path, "half\n");
	assert_int_equal(utimensat(box->fd, path, times, AT_SYMLINK_NOFOLLOW), 0);
}

static void test_leftovers(void **state)
{
	struct box *box = *state;
	age(box, "tmp/old", 37);
	age(box, "tmp/young", 35);
	age(box, "new/old", 37);
	assert_int_equal(mkdirat(box->fd, "tmp/folder", 0700), 0);
	drop_incoming_end(begin(box));
	assert_false(box_has(box, "tmp/old"));
	assert_true(box_has(box, "tmp/young"));
	assert_true(box_has(box, "tmp/folder"));
	assert_true(box_has(box, "new/old"));
}

static void test_names(void **state)
{
	(void)state;
	enum { NAMES = 1000 };
	static char names[NAMES][NAME_FRESH_MAX];
	for (unsigned i = 0; i < NAMES; i++) {
		assert_int_equal(name_make_fresh(names[i]), ERR_NONE);
		struct span name = span_str(names[i]);
		assert_true(name_is_message(name));
		assert_true(name_is_unique_id(name));
		assert_true(span_equal(name_base(name), name));
		for (unsigned j = 0; j < i; j++)
			assert_string_not_equal(names[i], names[j]);
	}
	assert_true(name_compare(span_str(names[0]), span_str(names[NAMES - 1])) < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    BOX_TEST(test_one),
	    BOX_TEST(test_given_up),
	    BOX_TEST(test_many_share_one_file),
	    BOX_TEST(test_kept_name),
	    BOX_TEST(test_cleaned_tmp),
	    BOX_TEST(test_not_permitted),
	    BOX_TEST(test_no_maildrop),
	    BOX_TEST(test_leftovers),
	    cmocka_unit_test(test_names),
	    BOX_TEST(test_other_file_system),
	};
	return cmocka_run_group_tests_name("deliver", tests, NULL, NULL);
}
