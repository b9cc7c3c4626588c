/* SPDX-License-Identifier: MIT */
/*
 * What the operating system gives us for safety: identities, sandboxes,
 * children, readiness notification. Linux; the kernel's Landlock and seccomp.
 */
#ifndef OS_OS_H
#define OS_OS_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Becomes uid:gid for good (no supplementary groups, no way back, verified). With
 * (uint32_t)-1, or when not root, nothing happens. `root`, when not "" and we are root, becomes the
 * root directory first. ERR_DENIED, ERR_IO. */
int os_become(uint32_t uid, uint32_t gid, const char *root, struct error *error);

/* A user name or a decimal uid -> ids; the group is the user's primary group, or the same number.
 * ERR_NOTFOUND. */
int os_find_user(const char *name, uint32_t *ret_uid, uint32_t *ret_gid);

/* A group's name or a decimal gid -> its id. ERR_NOTFOUND. */
int os_find_group(const char *name, uint32_t *ret_gid);

/* Raises the limit on open descriptors to `want` where we may (root), else to the hard limit; returns
 * what it is now. */
uint64_t os_raise_files(uint64_t want);

enum os_role { OS_WORKER, OS_AUTH, OS_KEEPER };

struct os_confine {
	enum os_role role;
	const char *const *folders; /* NULL-terminated: below these, files may be used (not the worker) */
	uint64_t files_max;         /* RLIMIT_NOFILE; 0: as high as allowed */
};

/* Confines this process for good, before it has started any thread: no new privileges, not dumpable, rlimits
 * (no core, no new processes for the worker), Landlock (nothing but `folders`; the worker: nothing at all; no
 * TCP bind or connect), then the role's seccomp allow-list (syscalls.c; a forbidden call fails with EPERM).
 * SIGTERM comes when the parent dies. ERR_UNSUPPORTED if the kernel lacks Landlock (then the rest is in
 * force) or seccomp: says so in *error; the caller decides whether to go on. */
int os_confine(const struct os_confine *how, struct error *error);

/* Starts `path` with argv {name}, descriptor 3 = control, 4 = log, 0-2 = /dev/null (2 = log); all others
 * closed; default signals, a process group of its own; environment: only what is listed in spawn.c. Both
 * descriptors stay the caller's. */
int os_spawn(const char *path, const char *name, int control, int log, pid_t *ret_pid, struct error *error);

/* systemd's readiness protocol: sends e.g. "READY=1" to $NOTIFY_SOCKET if there is one. */
void os_notify(const char *state);

#endif
