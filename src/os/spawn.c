/* SPDX-License-Identifier: MIT */
/* Starting the master's children with nothing of the master's but two descriptors. */
#include "os/os.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	CHILD_CONTROL = 3,
	CHILD_LOG = 4,
	CHILD_FIRST_CLOSED = 5,
	OUT_OF_THE_WAY = 16, /* descriptors from here on are not hit by the child's own numbers */
	ENTRY_MAX = 1024,    /* octets of one passed-on variable */
};

/* All that a child inherits of the environment: what sanitizer builds are told. */
static const char *const passed_on[] = {"ASAN_OPTIONS", "UBSAN_OPTIONS"};
enum { PASSED_ON = sizeof passed_on / sizeof passed_on[0] };

struct environment {
	char text[PASSED_ON][ENTRY_MAX];
	char *list[PASSED_ON + 1];
};

static void fill_environment(struct environment *env)
{
	size_t count = 0;
	for (size_t i = 0; i < PASSED_ON; i++) {
		const char *value = getenv(passed_on[i]);
		if (!value)
			continue;
		(void)snprintf(env->text[count], ENTRY_MAX, "%s=%s", passed_on[i], value);
		env->list[count] = env->text[count];
		count++;
	}
	env->list[count] = NULL;
}

static int set_files(posix_spawn_file_actions_t *files, int control, int log)
{
	int err = posix_spawn_file_actions_addopen(files, 0, "/dev/null", O_RDONLY, 0);
	if (!err)
		err = posix_spawn_file_actions_addopen(files, 1, "/dev/null", O_WRONLY, 0);
	if (!err)
		err = posix_spawn_file_actions_adddup2(files, log, 2);
	if (!err)
		err = posix_spawn_file_actions_adddup2(files, control, CHILD_CONTROL);
	if (!err)
		err = posix_spawn_file_actions_adddup2(files, log, CHILD_LOG);
	if (!err)
		err = posix_spawn_file_actions_addclosefrom_np(files, CHILD_FIRST_CLOSED);
	return err;
}

/* A process group of its own: Ctrl-C at the terminal is for the master alone. */
static int set_attributes(posix_spawnattr_t *attr)
{
	sigset_t every, none;
	(void)sigfillset(&every);
	(void)sigemptyset(&none);
	int err = posix_spawnattr_setsigdefault(attr, &every);
	if (!err)
		err = posix_spawnattr_setsigmask(attr, &none);
	if (!err)
		err = posix_spawnattr_setpgroup(attr, 0);
	if (!err)
		err = posix_spawnattr_setflags(attr, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK |
		                                         POSIX_SPAWN_SETPGROUP);
	return err;
}

static int spawn(const char *path, char *argv[], int control, int log, pid_t *ret_pid)
{
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attr;
	struct environment env;
	int err = posix_spawn_file_actions_init(&files);
	if (err)
		return err;
	err = posix_spawnattr_init(&attr);
	if (!err) {
		fill_environment(&env);
		err = set_files(&files, control, log);
		if (!err)
			err = set_attributes(&attr);
		if (!err)
			err = posix_spawn(ret_pid, path, &files, &attr, argv, env.list);
		(void)posix_spawnattr_destroy(&attr);
	}
	(void)posix_spawn_file_actions_destroy(&files);
	return err;
}

int os_spawn(const char *path, const char *name, int control, int log, pid_t *ret_pid, struct error *error)
{
	char argv0[64];
	(void)snprintf(argv0, sizeof argv0, "%s", name);
	char *argv[] = {argv0, NULL};
	int high_control = fcntl(control, F_DUPFD_CLOEXEC, OUT_OF_THE_WAY);
	int high_log = fcntl(log, F_DUPFD_CLOEXEC, OUT_OF_THE_WAY);
	int err = high_control < 0 || high_log < 0 ? errno : 0;
	if (!err)
		err = spawn(path, argv, high_control, high_log, ret_pid);
	if (high_control >= 0)
		(void)close(high_control);
	if (high_log >= 0)
		(void)close(high_log);
	if (!err)
		return ERR_NONE;
	error_set(error, "starting %s: %s", path, strerror(err));
	return err_from_errno(err);
}
