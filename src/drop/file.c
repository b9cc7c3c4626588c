/* SPDX-License-Identifier: MIT */
/* Opening, reading and writing in a maildrop. Runs in the keeper; the maildrop's owner may have put anything
 * there. */
#include "drop/file.h"

#include "base/err.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

struct open_how file_how(int flags, bool nowait)
{
	return (struct open_how){
	    .flags = (uint64_t)(unsigned)(flags | O_CLOEXEC | O_NOFOLLOW),
	    .resolve =
	        RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | (nowait ? RESOLVE_CACHED : 0),
	};
}

static int open_below(int folder, const char *path, int flags, unsigned mode, bool nowait)
{
	struct open_how how = file_how(flags, nowait);
	how.mode = mode;
	return (int)syscall(SYS_openat2, folder, path, &how, sizeof how);
}

int file_open(int folder, const char *path, int flags, bool nowait)
{
	return open_below(folder, path, flags, 0, nowait);
}

int file_open_entry(int folder, const char *name, int flags)
{
	return openat(folder, name, flags | O_CLOEXEC | O_NOFOLLOW);
}

int file_create(int folder, const char *path, unsigned mode)
{
	return open_below(folder, path, O_RDWR | O_CREAT | O_EXCL, mode, false);
}

int file_create_unnamed(int folder, unsigned mode)
{
	return open_below(folder, ".", O_RDWR | O_TMPFILE, mode, false);
}

int file_read(int fd, bool nowait, void *to, size_t size, uint64_t at)
{
	char *next = to;
	while (size) {
		struct iovec iov = {next, size};
		ssize_t got =
		    nowait ? preadv2(fd, &iov, 1, (off_t)at, RWF_NOWAIT) : pread(fd, next, size, (off_t)at);
		if (got < 0 && errno == EINTR)
			continue;
		/* EOPNOTSUPP: a file system that can not promise not to wait. */
		if (got < 0)
			return nowait && (errno == EAGAIN || errno == EOPNOTSUPP) ? ERR_AGAIN : ERR_IO;
		if (got == 0)
			return ERR_CORRUPT;
		next += got;
		size -= (size_t)got;
		at += (uint64_t)got;
	}
	return ERR_NONE;
}

int file_write(int fd, const void *from, size_t size, uint64_t at)
{
	const char *next = from;
	while (size) {
		ssize_t put = pwrite(fd, next, size, (off_t)at);
		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0)
			return err_from_errno(errno);
		next += put;
		size -= (size_t)put;
		at += (uint64_t)put;
	}
	return ERR_NONE;
}

int file_lock_within(int fd, unsigned ms)
{
	enum { PAUSE_MS = 5 };
	for (unsigned waited = 0; flock(fd, LOCK_EX | LOCK_NB) != 0; waited += PAUSE_MS) {
		if (errno != EWOULDBLOCK)
			return ERR_IO;
		if (waited >= ms)
			return ERR_BUSY;
		(void)usleep(PAUSE_MS * 1000);
	}
	return ERR_NONE;
}
