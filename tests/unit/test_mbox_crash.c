/* SPDX-License-Identifier: MIT */
/*
 * Removals from an mbox that are killed at every system call, and their recoveries that are killed too. Other
 * programs append in between. Afterwards each message that was not deleted is there once, octet for octet,
 * and those that were deleted are all there or all gone.
 */
#include "spool.h"

#include "killed.h"

enum {
	CALLS_MAX = 5000, /* of one removal; more is a loop */
};

struct crash {
	struct box *box;
	const char *marks;
	const char *appended; /* by others, after each kill */
	char *before, *after; /* the file: nothing done, all done */
};

static int remove_messages(void *user)
{
	const struct crash *crash = user;
	uint32_t removed;
	if (box_try_open(crash->box, 0) != ERR_NONE)
		return 3;
	(void)raise(SIGSTOP);
	return commit(crash->box, crash->marks, &removed) == ERR_NONE ? 0 : 4;
}

static int recover(void *user)
{
	const struct crash *crash = user;
	(void)raise(SIGSTOP);
	return box_try_open(crash->box, 0) == ERR_NONE ? 0 : 4;
}

static char *join(const char *a, const char *b)
{
	size_t size = strlen(a) + strlen(b) + 1;
	char *both = malloc(size);
	assert_non_null(both);
	(void)snprintf(both, size, "%s%s", a, b);
	return both;
}

/* The file as it may be, and `more` behind it; anything else fails. */
static void check(const struct crash *crash, const char *more, unsigned at, unsigned again)
{
	struct box *box = crash->box;
	box_open(box); /* finishes what was begun */
	char *before = join(crash->before, more), *after = join(crash->after, more);
	size_t len = strlen(before);
	char *got = malloc(len + 1);
	assert_non_null(got);
	int fd = openat(box->drop_root.fd, "inbox", O_RDONLY | O_CLOEXEC);
	ssize_t size = read(fd, got, len + 1);
	(void)close(fd);
	bool undone = size == (ssize_t)len && memcmp(got, before, len) == 0;
	bool done = size == (ssize_t)strlen(after) && memcmp(got, after, strlen(after)) == 0;
	if (!undone && !done)
		fail_msg("marks %s, killed at %u and %u: neither as before nor as it should be", crash->marks,
		         at, again);
	assert_int_equal(faccessat(box->drop_root.fd, "inbox.lock", F_OK, 0), -1);
	box_close(box);
	free(before);
	free(after);
	free(got);
}

static void begin(const struct crash *crash)
{
	static const char *const files[] = {"inbox.lock", ".inbox.restante-journal", ".inbox.restante-index"};
	for (unsigned i = 0; i < sizeof files / sizeof files[0]; i++)
		(void)unlinkat(crash->box->drop_root.fd, files[i], 0);
	put_mbox(crash->box, span_str(crash->before));
}

/* Kills the removal at each call; `twice`: and the recovery at each of its calls, where there is
 * something to finish. */
static void kill_everywhere(struct crash *crash, unsigned stride, bool twice)
{
	unsigned at = 1;
	for (bool killed = true; killed; at += stride) {
		assert_true(at < CALLS_MAX);
		unsigned again = 1;
		for (bool killed_again = true; killed_again; again++) {
			begin(crash);
			killed = killed_at(remove_messages, crash, at);
			append(crash->box, crash->appended);
			killed_again =
			    killed && twice && has_journal(crash->box) && killed_at(recover, crash, again);
			if (killed_again)
				append(crash->box, crash->appended);
			char *more = join(crash->appended, killed_again ? crash->appended : "");
			check(crash, more, at, killed_again ? again : 0);
			free(more);
		}
	}
	assert_true(at > 10); /* something was killed */
}

/* Small messages: `marks` says which go. */
static void set_up(struct crash *crash, const char *marks, size_t octets)
{
	size_t room = strlen(marks) * (octets + 200) + 1, before = 0, after = 0;
	crash->marks = marks;
	crash->before = malloc(room);
	crash->after = malloc(room);
	assert_true(crash->before && crash->after);
	for (unsigned i = 0; marks[i]; i++) {
		char *one = crash->before + before;
		size_t len = (size_t)snprintf(one, 200, FROM "Subject: %u\n\n", i);
		for (size_t at = 0; at < octets; at++)
			one[len++] = at % 64 == 63 ? '\n' : (char)('a' + (at / 64 + i) % 26);
		memcpy(one + len, "\n\n", 3);
		len += 2;
		before += len;
		if (marks[i] != 'x') {
			memcpy(crash->after + after, one, len);
			after += len;
		}
	}
	crash->before[before] = crash->after[after] = '\0';
}

static void tear_down(struct crash *crash)
{
	free(crash->before);
	free(crash->after);
}

static void test_killed_everywhere(void **state)
{
	static const char *const marks[] = {"x---------", "-x-x-x-x-x", "x--------x", "xxxxxxxxxx",
	                                    "-----xxxxx"};
	static const char *const appended[] = {"", THREE,
	                                       FROM
	                                       "A: b\n\nmuch longer than all of the others, and then some\n"
	                                       "more of it, so that the file is longer\n\n"};
	for (unsigned i = 0; i < sizeof marks / sizeof marks[0]; i++)
		for (unsigned j = 0; j < sizeof appended / sizeof appended[0]; j++) {
			struct crash crash = {.box = *state, .appended = appended[j]};
			if (j > 0 && i % 3 != 1) /* enough of them */
				continue;
			set_up(&crash, marks[i], 10);
			kill_everywhere(&crash, 1, false);
			tear_down(&crash);
		}
}

static void test_recovery_killed_everywhere(void **state)
{
	struct crash crash = {.box = *state, .appended = TWO};
	set_up(&crash, "-x--x-", 10);
	kill_everywhere(&crash, 7, true);
	tear_down(&crash);
}

/* What is appended is just what was deleted, octet for octet and of the same length. */
static void test_the_same_appended(void **state)
{
	struct crash crash = {.box = *state};
	set_up(&crash, "x-", 10);
	crash.appended = crash.after; /* looks like what lies behind the cut */
	kill_everywhere(&crash, 11, true);
	tear_down(&crash);
}

/* More than one step. */
static void test_large(void **state)
{
	struct crash crash = {.box = *state, .appended = ONE};
	set_up(&crash, "-x---x-", 5 << 19);
	kill_everywhere(&crash, 3, false);
	tear_down(&crash);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    BOX_TEST(test_killed_everywhere),
	    BOX_TEST(test_recovery_killed_everywhere),
	    BOX_TEST(test_the_same_appended),
	    BOX_TEST(test_large),
	};
	/* Thousands of files are made durable: in memory, where that costs nothing. */
	if (access("/dev/shm", W_OK) == 0)
		(void)setenv("TMPDIR", "/dev/shm", 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
