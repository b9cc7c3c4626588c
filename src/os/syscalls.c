/* SPDX-License-Identifier: MIT */
/*
 * The system calls a confined process may make: one table of call x roles, with checks
 * of arguments where they matter. Used by worker, auth and keeper. What is not
 * here fails with EPERM: above all socket, connect, bind, execve, fork, ptrace, kill,
 * and for the worker every way to a file.
 */
#include "os/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <sched.h>
#include <seccomp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

enum roles {
	W = 1 << OS_WORKER,
	A = 1 << OS_AUTH,
	K = 1 << OS_KEEPER,
	FILES = A | K, /* Landlock says which */
	ALL = W | A | K,
};

enum check {
	ANY,
	NO_EXEC,     /* argument 2 without PROT_EXEC */
	THREAD,      /* argument 0 is of a thread, not of a process */
	ITSELF,      /* argument 0 is this process */
	READ_LIMIT,  /* of this process (0), nothing set (argument 2 is NULL) */
	FLAGS,       /* fcntl: descriptor flags, seals */
	LEASES,      /* fcntl: whether somebody else can write to a file */
	FILE_LOCKS,  /* fcntl: SQLite's record locks */
	MBOX_LOCK,   /* fcntl: a lock of an open file, without waiting */
	SOCKET_CALL, /* ioctl: FIONBIO, FIONREAD, SIOCOUTQ */
};

struct call {
	int number;
	unsigned roles;
	enum check check;
};

/* clang-format off */
#define CALL(name, roles, ...) {SCMP_SYS(name), roles, ##__VA_ARGS__}
static const struct call calls[] = {
    /* memory */
    CALL(brk, ALL), CALL(mmap, ALL, NO_EXEC), CALL(mprotect, ALL, NO_EXEC), CALL(munmap, ALL),
    CALL(mremap, ALL), CALL(madvise, ALL), CALL(memfd_create, ALL), CALL(membarrier, ALL),
    /* descriptors at hand */
    CALL(read, ALL), CALL(readv, ALL), CALL(pread64, ALL), CALL(preadv, ALL), CALL(preadv2, K), CALL(write, ALL), CALL(writev, ALL),
    CALL(lseek, ALL), CALL(close, ALL), CALL(close_range, ALL), CALL(fstat, ALL), CALL(ftruncate, ALL),
    CALL(fcntl, ALL, FLAGS), CALL(fcntl, A, FILE_LOCKS), CALL(fcntl, K, LEASES), CALL(fcntl, K, MBOX_LOCK), CALL(ioctl, ALL, SOCKET_CALL), CALL(fadvise64, ALL),
    /* waiting */
    CALL(epoll_create1, ALL), CALL(epoll_ctl, ALL), CALL(epoll_wait, ALL), CALL(epoll_pwait, ALL),
    CALL(epoll_pwait2, ALL), CALL(poll, ALL), CALL(ppoll, ALL), CALL(eventfd2, ALL),
    CALL(futex, ALL), CALL(restart_syscall, ALL), CALL(nanosleep, ALL), CALL(clock_nanosleep, ALL),
    /* sockets that were handed over: none can be made, bound or connected */
    CALL(accept4, W), CALL(sendfile, W), CALL(sendto, ALL), CALL(recvfrom, ALL), CALL(sendmsg, ALL), CALL(recvmsg, ALL),
    CALL(shutdown, ALL), CALL(getsockopt, ALL), CALL(setsockopt, W), CALL(getsockname, W), CALL(getpeername, W),
    /* time, chance, and what a process may know about itself */
    CALL(clock_gettime, ALL), CALL(clock_getres, ALL), CALL(gettimeofday, ALL), CALL(time, ALL), CALL(getrandom, ALL),
    CALL(getpid, ALL), CALL(getppid, ALL), CALL(gettid, ALL), CALL(getuid, ALL), CALL(geteuid, ALL), CALL(getgid, ALL),
    CALL(getegid, ALL), CALL(getrusage, ALL), CALL(sysinfo, ALL), CALL(uname, ALL), CALL(prlimit64, ALL, READ_LIMIT),
    CALL(getrlimit, ALL), CALL(sched_getaffinity, ALL), CALL(sched_yield, ALL), CALL(getcpu, ALL),
    /* its own signals and end */
    CALL(rt_sigaction, ALL), CALL(rt_sigprocmask, ALL), CALL(rt_sigreturn, ALL), CALL(sigaltstack, ALL),
    CALL(alarm, ALL), CALL(tgkill, ALL, ITSELF), CALL(exit, ALL), CALL(exit_group, ALL),
    /* threads, for the pools */
    CALL(clone, FILES, THREAD), CALL(set_robust_list, FILES), CALL(rseq, FILES),
    /* files */
    CALL(openat, FILES), CALL(openat2, FILES), CALL(newfstatat, FILES), CALL(statx, FILES),
    CALL(fstatfs, FILES), CALL(access, FILES), CALL(faccessat, FILES), CALL(faccessat2, FILES), CALL(getcwd, FILES),
    CALL(readlink, FILES), CALL(readlinkat, FILES), CALL(getdents64, FILES),
    CALL(pwrite64, FILES), CALL(pwritev, FILES), CALL(fallocate, FILES), CALL(fsync, FILES), CALL(fdatasync, FILES),
    CALL(unlink, FILES), CALL(unlinkat, FILES), CALL(fchmod, FILES), CALL(fchown, FILES), CALL(umask, FILES),
    CALL(flock, K), CALL(sync_file_range, K), CALL(syncfs, K), CALL(mkdirat, K), CALL(linkat, K),
    CALL(rename, K), CALL(renameat, K), CALL(renameat2, K), CALL(utimensat, K), CALL(copy_file_range, K),
    CALL(io_uring_enter, K), /* rings made before, restricted to reading files: drop/ring.c */
};
/* clang-format on */

static int allow(scmp_filter_ctx filter, int number, unsigned count, const struct scmp_arg_cmp *compare)
{
	return seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, number, count, compare);
}

/* A rule for each permitted value of one argument. */
static int allow_values(scmp_filter_ctx filter, int number, unsigned argument, const unsigned *values,
                        size_t count)
{
	int err = 0;
	for (size_t i = 0; i < count && !err; i++) {
		struct scmp_arg_cmp equal = SCMP_CMP32(argument, SCMP_CMP_EQ, values[i]);
		err = allow(filter, number, 1, &equal);
	}
	return err;
}

static int allow_call(scmp_filter_ctx filter, const struct call *call, unsigned pid)
{
	static const unsigned flags[] = {F_GETFD,         F_SETFD,     F_GETFL,    F_SETFL,
	                                 F_DUPFD_CLOEXEC, F_ADD_SEALS, F_GET_SEALS};
	static const unsigned locks[] = {F_SETLK, F_SETLKW, F_GETLK};
	static const unsigned leases[] = {F_SETLEASE};
	static const unsigned socket_calls[] = {FIONBIO, FIONREAD, SIOCOUTQ};
	struct scmp_arg_cmp no_exec = SCMP_CMP32(2, SCMP_CMP_MASKED_EQ, PROT_EXEC, 0);
	struct scmp_arg_cmp thread =
	    SCMP_CMP64(0, SCMP_CMP_MASKED_EQ, CLONE_VM | CLONE_THREAD, CLONE_VM | CLONE_THREAD);
	struct scmp_arg_cmp mbox_lock = SCMP_CMP32(1, SCMP_CMP_EQ, F_OFD_SETLK);
	struct scmp_arg_cmp itself = SCMP_CMP32(0, SCMP_CMP_EQ, pid);
	struct scmp_arg_cmp read_limit[] = {SCMP_CMP32(0, SCMP_CMP_EQ, 0), SCMP_CMP64(2, SCMP_CMP_EQ, 0)};
	switch (call->check) {
	case ANY:
		return allow(filter, call->number, 0, NULL);
	case NO_EXEC:
		return allow(filter, call->number, 1, &no_exec);
	case THREAD:
		return allow(filter, call->number, 1, &thread);
	case ITSELF:
		return allow(filter, call->number, 1, &itself);
	case READ_LIMIT:
		return allow(filter, call->number, 2, read_limit);
	case FLAGS:
		return allow_values(filter, call->number, 1, flags, sizeof flags / sizeof flags[0]);
	case LEASES:
		return allow_values(filter, call->number, 1, leases, sizeof leases / sizeof leases[0]);
	case FILE_LOCKS:
		return allow_values(filter, call->number, 1, locks, sizeof locks / sizeof locks[0]);
	case MBOX_LOCK:
		return allow(filter, call->number, 1, &mbox_lock);
	case SOCKET_CALL:
		return allow_values(filter, call->number, 1, socket_calls,
		                    sizeof socket_calls / sizeof socket_calls[0]);
	}
	return -EINVAL;
}

static int fill_filter(scmp_filter_ctx filter, enum os_role role)
{
	int err = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
	if (!err)
		err = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2); /* a tree, not a list */
	/* The C library takes this as "an older kernel" and calls clone, whose flags can be seen. */
	if (!err)
		err = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
	for (size_t i = 0; i < sizeof calls / sizeof calls[0] && !err; i++)
		if (calls[i].roles & 1u << role)
			err = allow_call(filter, &calls[i], (unsigned)getpid());
	return err;
}

int sandbox_restrict_calls(enum os_role role, struct error *error)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	if (!filter) {
		error_set(error, "preparing the system call filter failed");
		return ERR_NOMEM;
	}
	int err = fill_filter(filter, role);
	if (!err)
		err = seccomp_load(filter);
	seccomp_release(filter);
	if (!err)
		return ERR_NONE;
	error_set(error, "system call filter: %s", strerror(-err));
	return err == -EINVAL || err == -EOPNOTSUPP ? ERR_UNSUPPORTED : ERR_IO;
}
