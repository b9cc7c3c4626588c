/* SPDX-License-Identifier: MIT */
/* What a worker that was taken over would try against the machine. Runs confined like a worker. */
#include "hostile.h"
#include "log/log.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

static const char victim[] = "/etc/passwd";

static long try_open(void)
{
	return syscall(SYS_open, victim, O_RDONLY);
}

static long try_openat(void)
{
	return openat(AT_FDCWD, victim, O_RDONLY);
}

static long try_openat2(void)
{
	struct open_how how = {0};
	return syscall(SYS_openat2, AT_FDCWD, victim, &how, sizeof how);
}

static long try_creat(void)
{
	return syscall(SYS_creat, "/tmp/restante-escaped", 0600);
}

static long try_memory_of_itself(void)
{
	return open("/proc/self/mem", O_RDWR);
}

static long try_stat(void)
{
	struct stat what;
	return stat(victim, &what);
}

static long try_unlink(void)
{
	return unlink("/tmp/restante-escaped");
}

static long try_socket(void)
{
	return socket(AF_INET, SOCK_STREAM, 0);
}

static long try_unix_socket(void)
{
	return socket(AF_UNIX, SOCK_STREAM, 0);
}

static long try_socketpair(void)
{
	int fds[2];
	return socketpair(AF_UNIX, SOCK_STREAM, 0, fds);
}

static long try_connect(void)
{
	struct sockaddr_un to = {.sun_family = AF_UNIX, .sun_path = "/run/anything"};
	return connect(0, (struct sockaddr *)&to, sizeof to);
}

static long try_bind(void)
{
	struct sockaddr_in at = {.sin_family = AF_INET};
	return bind(0, (struct sockaddr *)&at, sizeof at);
}

static long try_execve(void)
{
	return execve("/bin/sh", (char *[]){NULL}, (char *[]){NULL});
}

static long try_fork(void)
{
	pid_t pid = fork();
	if (pid == 0)
		_exit(0);
	return pid;
}

static long try_clone(void)
{
	return syscall(SYS_clone, CLONE_NEWUSER, NULL, NULL, NULL, NULL);
}

static long try_ptrace(void)
{
	return ptrace(PTRACE_SEIZE, getppid(), NULL, NULL);
}

static long try_kill(void)
{
	return kill(getppid(), 0);
}

static long try_tgkill(void)
{
	return syscall(SYS_tgkill, getppid(), getppid(), 0);
}

static long try_peek(void)
{
	return syscall(SYS_process_vm_readv, getppid(), NULL, 0, NULL, 0, 0);
}

static long try_pidfd(void)
{
	return syscall(SYS_pidfd_open, getppid(), 0);
}

static long try_mmap_exec(void)
{
	void *page = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return page == MAP_FAILED ? -1 : 0;
}

static long try_mprotect_exec(void)
{
	static _Alignas(4096) char page[4096];
	return mprotect(page, sizeof page, PROT_READ | PROT_WRITE | PROT_EXEC);
}

static long try_setuid(void)
{
	return syscall(SYS_setuid, 0);
}

static long try_chroot(void)
{
	return chroot(".");
}

static long try_prctl(void)
{
	return prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
}

static long try_unshare(void)
{
	return unshare(CLONE_NEWUSER);
}

static long try_io_uring(void)
{
	return syscall(SYS_io_uring_setup, 1, NULL);
}

static long try_bpf(void)
{
	return syscall(SYS_bpf, 0, NULL, 0);
}

static const struct attempt {
	const char *call;
	long (*attempt)(void); /* -1 when it failed */
} attempts[] = {
    {"open",             try_open            },
    {"openat",           try_openat          },
    {"openat2",          try_openat2         },
    {"creat",            try_creat           },
    {"proc-self-mem",    try_memory_of_itself},
    {"stat",             try_stat            },
    {"unlink",           try_unlink          },
    {"socket",           try_socket          },
    {"socket-unix",      try_unix_socket     },
    {"socketpair",       try_socketpair      },
    {"connect",          try_connect         },
    {"bind",             try_bind            },
    {"execve",           try_execve          },
    {"fork",             try_fork            },
    {"clone",            try_clone           },
    {"ptrace",           try_ptrace          },
    {"kill",             try_kill            },
    {"tgkill",           try_tgkill          },
    {"process_vm_readv", try_peek            },
    {"pidfd_open",       try_pidfd           },
    {"mmap-exec",        try_mmap_exec       },
    {"mprotect-exec",    try_mprotect_exec   },
    {"setuid",           try_setuid          },
    {"chroot",           try_chroot          },
    {"prctl",            try_prctl           },
    {"unshare",          try_unshare         },
    {"io_uring_setup",   try_io_uring        },
    {"bpf",              try_bpf             },
};

void escape_try_all(void)
{
	for (size_t i = 0; i < sizeof attempts / sizeof attempts[0]; i++) {
		errno = 0;
		long result = attempts[i].attempt();
		bool denied = result == -1 && (errno == EPERM || errno == EACCES);
		struct log_line line;
		log_begin(&line, LOG_INFO, "escape");
		log_text(&line, "call", attempts[i].call);
		log_text(&line, "result", denied ? "denied" : "POSSIBLE");
		log_end(&line);
	}
	log_note(LOG_INFO, "every escape was tried");
}
