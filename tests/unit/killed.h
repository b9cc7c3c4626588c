/* SPDX-License-Identifier: MIT */
/* Something that is killed at one of its system calls. */
#ifndef UNIT_KILLED_H
#define UNIT_KILLED_H

#include <signal.h>
#include <stdbool.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

/* Runs `work`, which calls raise(SIGSTOP) where it begins and returns 0, in a process of its own, and kills
 * that when it is about to make its system call number `at` (from 1); false: it was over before. */
static inline bool killed_at(int (*work)(void *user), void *user, unsigned at)
{
	int status;
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		_exit(ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0 ? work(user) : 2);
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

#endif
