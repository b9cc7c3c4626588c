/* SPDX-License-Identifier: MIT */
/*
 * Unit test of os/: what a confined process can and cannot do (in a child each), users, spawning. The
 * program starts itself once more for the last: with the name "spawned" it looks around and reports.
 */
#include "os/os.h"
#include "os/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[] = "/tmp/restante-test-os-XXXXXX";

/* Runs `body` in a child; it returns 0, or the line of what went wrong. */
static int in_child(int (*body)(void))
{
	pid_t pid = fork();
	if (pid == 0)
		_exit(body());
	int status = 0;
	(void)waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

#define MUST(condition)                                                                                      \
	do {                                                                                                 \
		if (!(condition)) {                                                                          \
			fprintf(stderr, "%s:%d: %s (errno %d)\n", __FILE__, __LINE__, #condition, errno);    \
			return 1;                                                                            \
		}                                                                                            \
	} while (0)
/* The call fails because it is forbidden, not because it makes no sense. */
#define FORBIDDEN(call)                                                                                      \
	do {                                                                                                 \
		errno = 0;                                                                                   \
		MUST((call) == -1 && (errno == EPERM || errno == EACCES));                                   \
	} while (0)

static int confine(enum os_role role)
{
	struct error error = {""};
	const char *folders[] = {folder, NULL};
	struct os_confine how = {
	    .role = role, .folders = role == OS_WORKER ? NULL : folders, .files_max = 100};
	int err = os_confine(&how, &error);
	if (err)
		fprintf(stderr, "%s\n", error.text);
	return err;
}

static void *do_nothing(void *arg)
{
	return arg;
}

static int try_processes(bool threads)
{
	pthread_t thread;
	FORBIDDEN(execve("/bin/true", (char *[]){NULL}, (char *[]){NULL}));
	FORBIDDEN(syscall(SYS_execveat, AT_FDCWD, "/bin/true", NULL, NULL, 0));
	FORBIDDEN(fork());
	FORBIDDEN(syscall(SYS_vfork));
	FORBIDDEN(ptrace(PTRACE_TRACEME, 0, NULL, NULL));
	FORBIDDEN(kill(getppid(), 0));
	FORBIDDEN(syscall(SYS_tgkill, getppid(), getppid(), SIGTERM));
	FORBIDDEN(syscall(SYS_pidfd_open, getppid(), 0));
	FORBIDDEN(syscall(SYS_process_vm_readv, getppid(), NULL, 0, NULL, 0, 0));
	FORBIDDEN(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0));
	FORBIDDEN(syscall(SYS_io_uring_setup, 1, NULL));
	FORBIDDEN(syscall(SYS_bpf, 0, NULL, 0));
	FORBIDDEN(syscall(SYS_setuid, 0));
	FORBIDDEN(syscall(SYS_setrlimit, RLIMIT_NOFILE, NULL));
	FORBIDDEN(syscall(SYS_mount, NULL, NULL, NULL, 0, NULL));
	FORBIDDEN(syscall(SYS_unshare, 0));
	FORBIDDEN(syscall(SYS_chroot, "/"));
	MUST((pthread_create(&thread, NULL, do_nothing, NULL) == 0) == threads);
	if (threads)
		MUST(pthread_join(thread, NULL) == 0);
	return 0;
}

static int try_memory(void)
{
	char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	MUST(page != MAP_FAILED);
	FORBIDDEN(mprotect(page, 4096, PROT_READ | PROT_EXEC));
	FORBIDDEN((intptr_t)mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	FORBIDDEN(syscall(SYS_pkey_mprotect, page, 4096, PROT_EXEC, -1));
	MUST(mprotect(page, 4096, PROT_READ) == 0 && munmap(page, 4096) == 0);
	return 0;
}

static int try_network(void)
{
	struct sockaddr_un nowhere = {.sun_family = AF_UNIX, .sun_path = "/tmp/nowhere"};
	FORBIDDEN(socket(AF_INET, SOCK_STREAM, 0));
	FORBIDDEN(socket(AF_UNIX, SOCK_STREAM, 0));
	FORBIDDEN(syscall(SYS_socketpair, AF_UNIX, SOCK_STREAM, 0, NULL));
	FORBIDDEN(connect(0, (struct sockaddr *)&nowhere, sizeof nowhere));
	FORBIDDEN(bind(0, (struct sockaddr *)&nowhere, sizeof nowhere));
	FORBIDDEN(listen(0, 1));
	return 0;
}

static int worker_body(void)
{
	struct open_how how = {0};
	struct stat what;
	MUST(confine(OS_WORKER) == 0);
	FORBIDDEN(syscall(SYS_open, "/etc/passwd", O_RDONLY));
	FORBIDDEN(open("/etc/passwd", O_RDONLY));
	FORBIDDEN(syscall(SYS_openat2, AT_FDCWD, "/etc/passwd", &how, sizeof how));
	FORBIDDEN(syscall(SYS_creat, "/tmp/nowhere", 0600));
	FORBIDDEN(stat("/etc/passwd", &what));
	FORBIDDEN(unlink("/tmp/nowhere"));
	FORBIDDEN(mkdir("/tmp/nowhere", 0700));
	FORBIDDEN(syscall(SYS_chdir, "/"));
	MUST(try_network() == 0 && try_memory() == 0 && try_processes(false) == 0);
	int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	MUST(fd >= 0 && ftruncate(fd, 1) == 0 && fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE) == 0);
	FORBIDDEN(fcntl(fd, F_SETOWN, getppid()));
	MUST(close(fd) == 0);
	MUST(sysconf(_SC_OPEN_MAX) == 100);
	return 0;
}

/* The allow-list alone, without Landlock before it. */
static int calls_body(void)
{
	struct open_how how = {0};
	struct error error = {""};
	MUST(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && sandbox_restrict_calls(OS_WORKER, &error) == 0);
	FORBIDDEN(open("/dev/null", O_RDONLY));
	FORBIDDEN(syscall(SYS_openat2, AT_FDCWD, "/dev/null", &how, sizeof how));
	MUST(try_network() == 0 && try_memory() == 0 && try_processes(false) == 0);
	return 0;
}

static int open_below(const char *name, int flags)
{
	char path[4096];
	(void)snprintf(path, sizeof path, "%s/%s", folder, name);
	return open(path, flags | O_CLOEXEC, 0600);
}

static int files_body(enum os_role role)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1};
	MUST(confine(role) == 0);
	int fd = open_below("file", O_RDWR | O_CREAT);
	MUST(fd >= 0 && write(fd, "x", 1) == 1 && fsync(fd) == 0);
	struct stat what;
	MUST(fstat(fd, &what) == 0 && what.st_size == 1);
	FORBIDDEN(open("/etc/passwd", O_RDONLY));
	FORBIDDEN(open_below("../beside", O_RDWR | O_CREAT));
	FORBIDDEN(open("/proc/self/mem", O_RDWR));
	FORBIDDEN(mknod("/tmp/nowhere", S_IFIFO | 0600, 0));
	MUST(try_network() == 0 && try_memory() == 0 && try_processes(true) == 0);
	if (role == OS_AUTH) {
		MUST(fcntl(fd, F_SETLK, &lock) == 0);
		FORBIDDEN(syscall(SYS_renameat2, AT_FDCWD, "a", AT_FDCWD, "b", 0));
	} else {
		FORBIDDEN(
		    fcntl(fd, F_SETLK, &lock)); /* one of the process, which its other threads would break */
		MUST(fcntl(fd, F_OFD_SETLK, &lock) == 0);
	}
	MUST(close(fd) == 0);
	return 0;
}

static int auth_body(void)
{
	return files_body(OS_AUTH);
}

static int keeper_body(void)
{
	return files_body(OS_KEEPER);
}

static int signals_body(void)
{
	MUST(confine(OS_WORKER) == 0);
	abort(); /* may still kill itself */
}

static void test_confine(void **state)
{
	(void)state;
	assert_int_equal(in_child(worker_body), 0);
	assert_int_equal(in_child(calls_body), 0);
	assert_int_equal(in_child(auth_body), 0);
	assert_int_equal(in_child(keeper_body), 0);
	assert_int_equal(in_child(signals_body), 1000 + SIGABRT);
}

static int become_body(void)
{
	struct error error = {""};
	MUST(setgroups(1, &(gid_t){5}) == 0);
	MUST(os_become(61184, 61185, folder, &error) == 0);
	MUST(getuid() == 61184 && geteuid() == 61184 && getgid() == 61185 && getegid() == 61185);
	MUST(setuid(0) == -1 && seteuid(0) == -1 && setgid(0) == -1 && getgroups(0, NULL) == 0);
	MUST(open("/etc/passwd", O_RDONLY) == -1 && errno == ENOENT); /* another root */
	return 0;
}

static int become_wrong_body(void)
{
	struct error error = {""};
	MUST(os_become((uint32_t)-1, (uint32_t)-1, "", &error) == 0);
	MUST(geteuid() == 0);
	MUST(os_become(61184, 61184, "/nonexistent", &error) == ERR_IO);
	MUST(strstr(error.text, "/nonexistent"));
	return 0;
}

static void test_become(void **state)
{
	(void)state;
	if (geteuid() != 0)
		skip();
	assert_int_equal(in_child(become_body), 0);
	assert_int_equal(in_child(become_wrong_body), 0);
}

static void test_find_user(void **state)
{
	(void)state;
	uint32_t uid = 1, gid = 1;
	assert_int_equal(os_find_user("root", &uid, &gid), 0);
	assert_int_equal(uid, 0);
	assert_int_equal(gid, 0);
	assert_int_equal(os_find_user("4294901234", &uid, &gid), 0); /* nobody has this one */
	assert_int_equal(uid, 4294901234u);
	assert_int_equal(gid, 4294901234u);
	assert_int_equal(os_find_user("no such user", &uid, &gid), ERR_NOTFOUND);
	assert_int_equal(os_find_user("4294967295", &uid, &gid), ERR_NOTFOUND); /* means "no change" */
}

static void test_spawn(void **state)
{
	(void)state;
	int control[2], log[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, control), 0);
	assert_int_equal(pipe2(log, O_CLOEXEC), 0);
	int leaked = open("/dev/null", O_RDONLY); /* not close-on-exec */
	assert_true(leaked >= 0);
	(void)signal(SIGPIPE, SIG_IGN);
	(void)setenv("RESTANTE_TEST_LEAK", "1", 1);
	char self[4096];
	ssize_t len = readlink("/proc/self/exe", self, sizeof self - 1);
	assert_true(len > 0);
	self[len] = '\0';
	pid_t pid = 0;
	struct error error = {""};
	assert_int_equal(os_spawn(self, "spawned", control[1], log[1], &pid, &error), 0);
	(void)close(control[1]);
	(void)close(log[1]);
	int status = -1;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	char text[1024] = "";
	(void)!read(log[0], text, sizeof text - 1);
	assert_string_equal(text, "log stderr");
	assert_int_equal(status, 0);
	(void)close(control[0]);
	(void)close(log[0]);
	(void)close(leaked);
	assert_int_equal(os_spawn("/nonexistent", "spawned", 0, 0, &pid, &error), ERR_NOTFOUND);
	assert_non_null(strstr(error.text, "/nonexistent"));
}

/* What a spawned child finds. */
static int look_around(void)
{
	struct sigaction pipe_action;
	int type = 0;
	socklen_t size = sizeof type;
	MUST(write(4, "log ", 4) == 4 && write(2, "stderr", 6) == 6);
	MUST(getsockopt(3, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_SEQPACKET);
	MUST(read(0, &type, 1) == 0 && write(1, "x", 1) == 1);
	for (int fd = 5; fd < 1024; fd++)
		MUST(fcntl(fd, F_GETFD) == -1);
	MUST(!getenv("RESTANTE_TEST_LEAK") && !getenv("PATH"));
	MUST(sigaction(SIGPIPE, NULL, &pipe_action) == 0 && pipe_action.sa_handler == SIG_DFL);
	MUST(getpgid(0) == getpid());
	return 0;
}

static void test_notify(void **state)
{
	(void)state;
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	(void)snprintf(at.sun_path, sizeof at.sun_path, "%s/notify", folder);
	int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
	(void)setenv("NOTIFY_SOCKET", at.sun_path, 1);
	os_notify("READY=1");
	char text[64] = "";
	assert_int_equal(recv(fd, text, sizeof text - 1, MSG_DONTWAIT), 7);
	assert_string_equal(text, "READY=1");
	(void)unsetenv("NOTIFY_SOCKET");
	os_notify("READY=1");
	assert_int_equal(recv(fd, text, sizeof text - 1, MSG_DONTWAIT), -1);
	(void)close(fd);
	(void)unlink(at.sun_path);
}

static int make_folder(void **state)
{
	(void)state;
	return mkdtemp(folder) ? chmod(folder, 0755) : -1;
}

static int remove_folder(void **state)
{
	(void)state;
	char path[4096];
	(void)snprintf(path, sizeof path, "%s/file", folder);
	(void)unlink(path);
	return rmdir(folder);
}

int main(int argc, char **argv)
{
	if (argc == 1 && strcmp(argv[0], "spawned") == 0)
		return look_around();
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_confine), cmocka_unit_test(test_become), cmocka_unit_test(test_find_user),
	    cmocka_unit_test(test_spawn),   cmocka_unit_test(test_notify),
	};
	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
