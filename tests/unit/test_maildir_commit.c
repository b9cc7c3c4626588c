/* SPDX-License-Identifier: MIT */
/* Unit test of src/drop/commit.c: what is marked goes, nothing else does, and failure is told. */
#include "box.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/mount.h>

static int commit(struct box *box, const char *bits, size_t octets, uint32_t *ret_removed)
{
	box->error.text[0] = '\0';
	return drop_commit(box->drop, span_of(bits, octets), ret_removed, &box->error);
}

static void put_numbered(struct box *box, unsigned count)
{
	for (unsigned i = 1; i <= count; i++) {
		char path[32];
		(void)snprintf(path, sizeof path, i % 2 ? "new/%u.x" : "cur/%u.x:2,S", i);
		box_put_text(box, path, "x\n");
	}
}

static void test_commit(void **state)
{
	struct box *box = *state;
	uint32_t removed;
	put_numbered(box, 11);
	box_open(box);
	assert_int_equal(commit(box, "\x86\x04", 2, &removed), ERR_NONE); /* 2, 3, 8, 11 */
	assert_int_equal(removed, 4);
	box_open(box);
	assert_int_equal(drop_count(box->drop), 7);
	assert_int_equal(box->report.read, 0);
	static const char *const left[] = {"1.x", "4.x", "5.x", "6.x", "7.x", "9.x", "10.x"};
	for (uint32_t i = 0; i < 7; i++)
		assert_string_equal(box_uid(box, i + 1), left[i]);
}

static void test_nothing_marked(void **state)
{
	struct box *box = *state;
	uint32_t removed = 9;
	put_numbered(box, 3);
	box_open(box);
	assert_int_equal(commit(box, "\0", 1, &removed), ERR_NONE);
	assert_int_equal(removed, 0);
	box_open(box);
	assert_int_equal(drop_count(box->drop), 3);
}

static void test_marks_that_do_not_fit(void **state)
{
	struct box *box = *state;
	uint32_t removed = 9;
	put_numbered(box, 3);
	box_open(box);
	assert_int_equal(commit(box, "\x09", 1, &removed), ERR_SYNTAX); /* there is no message 4 */
	assert_int_equal(commit(box, "\x01\0", 2, &removed), ERR_SYNTAX);
	assert_int_equal(commit(box, "", 0, &removed), ERR_SYNTAX);
	assert_int_equal(removed, 0);
	box_open(box);
	assert_int_equal(drop_count(box->drop), 3);
}

static void test_renamed_messages_go_too(void **state)
{
	struct box *box = *state;
	uint32_t removed;
	put_numbered(box, 4);
	box_open(box);
	box_rename(box, "new/1.x", "cur/1.x:2,S");
	box_rename(box, "cur/2.x:2,S", "cur/2.x:2,RS");
	box_rename(box, "new/3.x", "cur/3.x:2,");
	assert_int_equal(commit(box, "\x03", 1, &removed), ERR_NONE);
	assert_int_equal(removed, 2);
	box_open(box);
	assert_int_equal(drop_count(box->drop), 2);
	assert_string_equal(box_uid(box, 1), "3.x");
	assert_string_equal(box_uid(box, 2), "4.x");
}

static void test_gone_already(void **state)
{
	struct box *box = *state;
	uint32_t removed;
	put_numbered(box, 3);
	box_open(box);
	box_delete(box, "new/1.x");
	assert_int_equal(commit(box, "\x03", 1, &removed), ERR_NONE);
	assert_int_equal(removed, 2);
	assert_false(box_has(box, "cur/2.x:2,S"));
	assert_true(box_has(box, "new/3.x"));
}

/* Another message under a marked one's name was never marked by anybody. */
static void test_replaced_is_not_removed(void **state)
{
	struct box *box = *state;
	uint32_t removed;
	put_numbered(box, 3);
	box_open(box);
	box_put_text(box, "tmp/1", "precious\n");
	box_rename(box, "tmp/1", "new/1.x");
	box_delete(box, "cur/2.x:2,S");
	assert_int_equal(mkdirat(box->fd, "cur/2.x:2,S", 0700), 0);
	/* The third was moved and a stranger has taken its name. */
	box_rename(box, "new/3.x", "cur/3.x:2,S");
	box_put_text(box, "new/3.x", "stranger\n");
	assert_int_equal(commit(box, "\x07", 1, &removed), ERR_NONE);
	assert_int_equal(removed, 3);
	assert_true(box_has(box, "new/1.x"));
	assert_true(box_has(box, "cur/2.x:2,S"));
	assert_true(box_has(box, "new/3.x"));
	assert_false(box_has(box, "cur/3.x:2,S"));
}

static void test_folder_that_can_not_be_written(void **state)
{
	struct box *box = *state;
	uint32_t removed;
	put_numbered(box, 4);
	box_become_other(box);
	if (geteuid() != getuid())
		for (unsigned i = 1; i <= 4; i++) {
			char path[32];
			(void)snprintf(path, sizeof path, i % 2 ? "new/%u.x" : "cur/%u.x:2,S", i);
			box_become_self();
			assert_int_equal(fchmodat(box->fd, path, 0644, 0), 0);
			assert_int_equal(seteuid(BOX_OTHER_UID), 0);
		}
	assert_int_equal(fchmodat(box->fd, "cur", 0500, 0), 0);
	box_open(box);
	assert_int_equal(commit(box, "\x07", 1, &removed), ERR_DENIED);
	assert_int_equal(removed, 1); /* the first, which lies in new/ */
	assert_non_null(strstr(box->error.text, "cur/2.x:2,S"));
	assert_int_equal(fchmodat(box->fd, "cur", 0700, 0), 0);
	box_become_self();
	box_open(box);
	assert_int_equal(drop_count(box->drop), 3);
}

/* A read-only file system, and a full one, where the test may mount. */
static bool mount_on(const struct box *box, const char *kind, unsigned long flags, const char *options)
{
	char path[256];
	(void)snprintf(path, sizeof path, "%s/m", box->root);
	return mount(kind, path, kind, flags, options) == 0;
}

/* Mounts of our own, and the root seen through them. */
static bool own_mounts(struct box *box)
{
	if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
		return false;
	drop_root_close(&box->drop_root);
	assert_int_equal(drop_root_open(box->root, &box->drop_root, &box->error), ERR_NONE);
	return true;
}

static void unmount(struct box *box)
{
	char path[256];
	box_close(box);
	(void)close(box->fd);
	(void)snprintf(path, sizeof path, "%s/m", box->root);
	assert_int_equal(umount2(path, MNT_DETACH), 0);
	box->fd = openat(box->drop_root.fd, "m", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static void mount_box(struct box *box, const char *options)
{
	if (!own_mounts(box) || !mount_on(box, "tmpfs", 0, options))
		skip(); /* not permitted here */
	(void)close(box->fd);
	box->fd = openat(box->drop_root.fd, "m", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(mkdirat(box->fd, "new", 0700), 0);
	assert_int_equal(mkdirat(box->fd, "cur", 0700), 0);
}

static void test_read_only_file_system(void **state)
{
	struct box *box = *state;
	uint32_t removed;
	mount_box(box, "size=1m");
	put_numbered(box, 3);
	box_open(box);
	box_open(box); /* the first one wrote the index and has it open for that */
	assert_true(mount_on(box, "tmpfs", MS_REMOUNT | MS_RDONLY, "size=1m"));
	assert_int_equal(commit(box, "\x07", 1, &removed), ERR_READONLY);
	assert_int_equal(removed, 0);
	unmount(box);
}

static void test_full_file_system(void **state)
{
	struct box *box = *state;
	uint32_t removed;
	static char page[4096];
	mount_box(box, "size=64k");
	put_numbered(box, 3);
	int fd = openat(box->fd, "filler", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	while (write(fd, page, sizeof page) > 0)
		;
	box_open(box); /* with an index in memory */
	assert_int_equal(drop_count(box->drop), 3);
	assert_false(box_has(box, "restante.index"));
	assert_false(box_has(box, "restante.index.new"));
	box_expect_body(box, 3, "x\n");
	assert_int_equal(commit(box, "\x07", 1, &removed), ERR_NONE);
	assert_int_equal(removed, 3);
	(void)close(fd);
	unmount(box);
}

/* --- another program that changes flags all the time --- */

enum { BUSY_MESSAGES = 40 };
static atomic_bool enough;

static void *rename_all(void *fd)
{
	for (unsigned turn = 0; !enough; turn++)
		for (unsigned i = 1; i <= BUSY_MESSAGES && !enough; i++) {
			static const char *const flags[] = {"", "S", "RS"};
			char from[32], to[32];
			(void)snprintf(from, sizeof from, "cur/%u.x:2,%s", i, flags[turn % 3]);
			(void)snprintf(to, sizeof to, "cur/%u.x:2,%s", i, flags[(turn + 1) % 3]);
			(void)renameat(*(int *)fd, from, *(int *)fd, to);
			(void)usleep(50);
		}
	return NULL;
}

static void test_renamed_while_committing(void **state)
{
	struct box *box = *state;
	pthread_t thread;
	char bits[BUSY_MESSAGES / 8];
	memset(bits, 0xff, sizeof bits);
	for (unsigned i = 1; i <= BUSY_MESSAGES; i++) {
		char path[32];
		(void)snprintf(path, sizeof path, "cur/%u.x:2,", i);
		box_put_text(box, path, "x\n");
	}
	box_open(box);
	enough = false;
	assert_int_equal(pthread_create(&thread, NULL, rename_all, &box->fd), 0);
	(void)usleep(2000);
	uint32_t removed;
	int err = commit(box, bits, sizeof bits, &removed);
	enough = true;
	assert_int_equal(pthread_join(thread, NULL), 0);
	/* What it says has gone has gone; if it could not keep up, it says so. */
	assert_true(err == ERR_NONE || err == ERR_BUSY);
	box_open(box);
	assert_int_equal(drop_count(box->drop), BUSY_MESSAGES - removed);
	assert_true(err == ERR_BUSY || removed == BUSY_MESSAGES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    BOX_TEST(test_commit),
	    BOX_TEST(test_nothing_marked),
	    BOX_TEST(test_marks_that_do_not_fit),
	    BOX_TEST(test_renamed_messages_go_too),
	    BOX_TEST(test_gone_already),
	    BOX_TEST(test_replaced_is_not_removed),
	    BOX_TEST(test_folder_that_can_not_be_written),
	    BOX_TEST(test_read_only_file_system),
	    BOX_TEST(test_full_file_system),
	    BOX_TEST(test_renamed_while_committing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
