/* SPDX-License-Identifier: MIT */
/*
 * Removals from an mbox that are killed at every system call, and their recoveries that are killed too. Other
 * programs append in between. Afterwards each message that was not deleted is there once, octet for octet,
 * and those that were deleted are all there or all gone.
 */
#include "spool.h"

#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

enum {
	CALLS_MAX = 5000, /* of one removal; more is a loop */
};

struct crash {
	struct box *box;
	const char *marks;
	const char *appended; /* by others, after each kill */
	char *before, *after; /* the file: nothing done, all done */
};

static void run_child(struct box *box, const char *marks)
{
	uint32_t removed;
	if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0)
		_exit(2);
	if (marks && box_try_open(box, 0) != ERR_NONE)
		_exit(3);
	(void)raise(SIGSTOP);
	int err = marks ? commit(box, marks, &removed) : box_try_open(box, 0);
	_exit(err == ERR_NONE ? 0 : 4);
}

/* Runs a removal, or without `marks` an open, and kills it when it is about to make its system call number
 * `at`; false: it was over before. */
static bool kill_at(struct box *box, const char *marks, unsigned at)
{
	int status;
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		run_child(box, marks);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSTOPPED(status));
	for (unsigned stops = 0; stops < 2 * at - 1;
	     stops++) { /* each call stops when it begins and when it ends */
		assert_int_equal(ptrace(PTRACE_SYSCALL, pid, NULL, NULL), 0);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		if (!WIFSTOPPED(status)) {
			assert_true(WIFEXITED(status));
			assert_int_equal(WEXITSTATUS(status), 0);
			return false;
		}
	}
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return true;
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

/* Kills the removal at each call; `twice`: and each time the recovery at each of its calls. */
static void kill_everywhere(const struct crash *crash, unsigned stride, bool twice)
{
	unsigned at = 1;
	for (bool killed = true; killed; at += stride) {
		assert_true(at < CALLS_MAX);
		unsigned again = 1;
		for (bool killed_again = true; killed_again; again++) {
			begin(crash);
			killed = kill_at(crash->box, crash->marks, at);
			append(crash->box, crash->appended);
			killed_again = killed && twice && kill_at(crash->box, NULL, again);
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
