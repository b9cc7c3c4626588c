/* SPDX-License-Identifier: MIT */
/* Unit test of src/drop: a delivery that is killed at each of its system calls, and disks that fail.
 * Afterwards there is no message or a whole one; one that was reported is there. */
#include "box.h"

#include "drop/deliver.h"
#include "killed.h"

#include <dirent.h>
#include <sys/resource.h>

static const char *const text = "Subject: x\n\nSome lines\nof text.\n";

static int deliver_once(const struct box *box, const char *const *maildrops)
{
	struct drop_incoming *incoming = NULL;
	struct drop_delivered delivered;
	char location[256];
	int err = drop_incoming_begin(&box->drop_root, box->location, &incoming, NULL);
	if (err == ERR_NONE && write(drop_incoming_fd(incoming), text, strlen(text)) != (ssize_t)strlen(text))
		err = ERR_IO;
	for (; err == ERR_NONE && *maildrops; maildrops++) {
		(void)snprintf(location, sizeof location, "maildir:%s/%s", box->root, *maildrops);
		err = drop_deliver(&box->drop_root, incoming, location, NULL, &delivered, NULL);
	}
	drop_incoming_end(incoming);
	return err;
}

static const char *const two[] = {"m", "b", NULL};

static int deliver(void *box)
{
	(void)raise(SIGSTOP);
	return deliver_once(box, two);
}

static uint32_t count_whole(struct box *box, const char *maildrop)
{
	(void)snprintf(box->location, sizeof box->location, "maildir:%s/%s", box->root, maildrop);
	box_open(box);
	uint32_t count = drop_count(box->drop);
	for (uint32_t number = 1; number <= count; number++)
		box_expect_body(box, number, text);
	return count;
}

/* What the crash left in tmp/ as well: the next run would look at it. */
static void empty(struct box *box)
{
	static const char all[] = {(char)0xff};
	uint32_t count = drop_count(box->drop), removed;
	char mark = (char)(all[0] & ((1 << count) - 1));
	assert_true(count < 8);
	if (count)
		assert_int_equal(drop_commit(box->drop, span_of(&mark, 1), &removed, NULL), ERR_NONE);
	box_close(box);
	DIR *dir = fdopendir(openat(box->fd, "tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	assert_non_null(dir);
	for (const struct dirent *entry; (entry = readdir(dir));)
		if (entry->d_name[0] != '.')
			assert_int_equal(unlinkat(dirfd(dir), entry->d_name, 0), 0);
	(void)closedir(dir);
}

static void test_killed(void **state)
{
	struct box *box = *state;
	bool ended = false;
	unsigned calls = 1, none = 0, one = 0, both = 0;
	for (; !ended; calls++) {
		(void)snprintf(box->location, sizeof box->location, "maildir:%s/m", box->root);
		ended = !killed_at(deliver, box, calls);
		uint32_t first = count_whole(box, "m");
		empty(box);
		uint32_t second = count_whole(box, "b");
		empty(box);
		assert_true(first <= 1 && second <= first);
		if (ended)
			assert_int_equal(first + second, 2);
		none += first + second == 0;
		one += first + second == 1;
		both += first + second == 2;
	}
	/* It was killed before, between and behind. */
	assert_true(none > 10 && one > 5 && both > 1);
}

static unsigned count_entries(const struct box *box, const char *part)
{
	unsigned count = 0;
	DIR *dir = fdopendir(openat(box->fd, part, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	assert_non_null(dir);
	for (const struct dirent *entry; (entry = readdir(dir));)
		count += entry->d_name[0] != '.';
	(void)closedir(dir);
	return count;
}

/* No file may be larger than half the message: as with a quota of the file system. */
static void test_no_room(void **state)
{
	struct box *box = *state;
	static const char *const maildrops[] = {"m", NULL};
	struct rlimit limit, old;
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	limit = (struct rlimit){.rlim_cur = strlen(text) / 2, .rlim_max = old.rlim_max};
	assert_ptr_not_equal(signal(SIGXFSZ, SIG_IGN), SIG_ERR);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
	int err = deliver_once(box, maildrops);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	assert_int_equal(err, ERR_IO);
	assert_int_equal(count_entries(box, "new"), 0);
	assert_int_equal(count_entries(box, "tmp"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {BOX_TEST(test_killed), BOX_TEST(test_no_room)};
	return cmocka_run_group_tests_name("deliver_crash", tests, NULL, NULL);
}
