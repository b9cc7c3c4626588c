/* SPDX-License-Identifier: MIT */
/*
 * Confinement for good: limits, Landlock, and then the allow-list of syscalls.c. Called
 * by worker, auth and keeper when they are set up and before they have seen an octet
 * of a client's.
 */
#include "os/sandbox.h"

#include "os/os.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/types.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Landlock's interface, with the parts that are younger than the C library's headers. */
struct landlock_ruleset {
	__u64 handled_access_fs;
	__u64 handled_access_net; /* from ABI 4 on */
	__u64 scoped;             /* from ABI 6 on */
};
struct landlock_path_beneath {
	__u64 allowed_access;
	__s32 parent_fd;
} __attribute__((packed));

enum {
	LANDLOCK_CREATE_RULESET_VERSION = 1,
	LANDLOCK_RULE_PATH_BENEATH = 1,
};

enum access_fs {
	FS_EXECUTE = 1 << 0,
	FS_WRITE_FILE = 1 << 1,
	FS_READ_FILE = 1 << 2,
	FS_READ_DIR = 1 << 3,
	FS_REMOVE_DIR = 1 << 4,
	FS_REMOVE_FILE = 1 << 5,
	FS_MAKE_DIR = 1 << 7,
	FS_MAKE_REG = 1 << 8,
	FS_REFER = 1 << 13,     /* ABI 2 */
	FS_TRUNCATE = 1 << 14,  /* ABI 3 */
	FS_IOCTL_DEV = 1 << 15, /* ABI 5 */
	FS_ABI_1 = (1 << 13) - 1,
	/* What files in the folders are for: no programs, devices, sockets, pipes or links. */
	FS_USE = FS_WRITE_FILE | FS_READ_FILE | FS_READ_DIR | FS_REMOVE_DIR | FS_REMOVE_FILE | FS_MAKE_DIR |
	         FS_MAKE_REG | FS_REFER | FS_TRUNCATE,
	NET_BIND_AND_CONNECT_TCP = 3, /* ABI 4 */
	SCOPE_UNIX_AND_SIGNAL = 3,    /* ABI 6: abstract sockets and signals of others */
};

static size_t describe_ruleset(long abi, struct landlock_ruleset *ret)
{
	*ret = (struct landlock_ruleset){.handled_access_fs = FS_ABI_1};
	if (abi >= 2)
		ret->handled_access_fs |= FS_REFER;
	if (abi >= 3)
		ret->handled_access_fs |= FS_TRUNCATE;
	if (abi >= 5)
		ret->handled_access_fs |= FS_IOCTL_DEV;
	if (abi >= 4)
		ret->handled_access_net = NET_BIND_AND_CONNECT_TCP;
	if (abi >= 6)
		ret->scoped = SCOPE_UNIX_AND_SIGNAL;
	return abi >= 6   ? sizeof *ret
	       : abi >= 4 ? offsetof(struct landlock_ruleset, scoped)
	                  : offsetof(struct landlock_ruleset, handled_access_net);
}

static int allow_folder(int ruleset, const char *folder, __u64 access, struct error *error)
{
	struct landlock_path_beneath rule = {.allowed_access = access};
	rule.parent_fd = open(folder, O_PATH | O_CLOEXEC | O_DIRECTORY);
	long result = rule.parent_fd < 0
	                  ? -1
	                  : syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
	int err = errno;
	if (rule.parent_fd >= 0)
		(void)close(rule.parent_fd);
	if (result == 0)
		return ERR_NONE;
	error_set(error, "confining to folder \"%s\": %s", folder, strerror(err));
	return err_from_errno(err);
}

static int restrict_files(const struct os_confine *how, struct error *error)
{
	struct landlock_ruleset attributes;
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	if (abi < 1) {
		error_set(error, "the kernel offers no Landlock: %s", strerror(errno));
		return ERR_UNSUPPORTED;
	}
	size_t size = describe_ruleset(abi, &attributes);
	int ruleset = (int)syscall(SYS_landlock_create_ruleset, &attributes, size, 0);
	int err = ERR_NONE;
	for (const char *const *folder = how->folders; ruleset >= 0 && folder && *folder && !err; folder++)
		err = allow_folder(ruleset, *folder, attributes.handled_access_fs & FS_USE, error);
	if (!err && (ruleset < 0 || syscall(SYS_landlock_restrict_self, ruleset, 0) != 0)) {
		error_set(error, "Landlock: %s", strerror(errno));
		err = ERR_IO;
	}
	if (ruleset >= 0)
		(void)close(ruleset);
	return err;
}

static int set_limits(const struct os_confine *how, struct error *error)
{
	const struct rlimit none = {0, 0};
	struct rlimit files;
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		if (how->files_max && how->files_max < files.rlim_max)
			files.rlim_max = how->files_max;
		files.rlim_cur = files.rlim_max;
		if (setrlimit(RLIMIT_NOFILE, &files) == 0 && setrlimit(RLIMIT_CORE, &none) == 0 &&
		    (how->role != OS_WORKER || setrlimit(RLIMIT_NPROC, &none) == 0))
			return ERR_NONE;
	}
	error_set(error, "setting limits: %s", strerror(errno));
	return ERR_IO;
}

/* SIGTERM when the master dies; after os_become(), because a change of user undoes it. */
static int set_process(struct error *error)
{
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0 &&
	    prctl(PR_SET_PDEATHSIG, SIGTERM, 0, 0, 0) == 0)
		return ERR_NONE;
	error_set(error, "giving up privileges: %s", strerror(errno));
	return ERR_IO;
}

int os_confine(const struct os_confine *how, struct error *error)
{
	int err = set_process(error);
	if (!err)
		err = set_limits(how, error);
	if (err)
		return err;
	/* Without Landlock the allow-list still goes on, and the caller is told. */
	int files = restrict_files(how, error);
	if (files && files != ERR_UNSUPPORTED)
		return files;
	err = sandbox_restrict_calls(how->role, files ? NULL : error);
	return err ? err : files;
}
