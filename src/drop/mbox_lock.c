/* SPDX-License-Identifier: MIT */
/* Locking an mbox. Runs in the keeper's disk threads and in administrator's commands; whoever may write
 * into the mbox's folder can lock, or put anything in the place of the lock. */
#include "drop/mbox_lock.h"

#include "base/span.h"
#include "base/time.h"
#include "drop/file.h"
#include "drop/mbox.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
	PAUSE_MS = 50,        /* between two tries */
	DOT_CONTENT_MAX = 64, /* octets of a dot lock that are looked at */
	DOT_MODE = 0444,
};

/* A dot lock nobody has touched for so long, while nobody wrote into the mbox either, is a dead program's. */
#define STALE_NS (UINT64_C(300) * 1000000000)

static const char ours[] = " restante\n"; /* behind the process id */

static void dot_name(const char *name, char to[NAME_OCTETS_MAX + 1])
{
	(void)snprintf(to, NAME_OCTETS_MAX + 1, "%s.lock", name);
}

static int lock_file(int fd, bool exclusive)
{
	/* Of the open file, not of the process: the keeper has other threads, which close the same file. */
	struct flock lock = {.l_type = exclusive ? F_WRLCK : F_RDLCK, .l_whence = SEEK_SET};
	if (fcntl(fd, F_OFD_SETLK, &lock) == 0)
		return ERR_NONE;
	if (errno == EAGAIN || errno == EACCES)
		return ERR_BUSY;
	return errno == EINVAL || errno == ENOLCK ? ERR_UNSUPPORTED : err_from_errno(errno);
}

/* One of ours; whoever of us is alive holds the fcntl lock as well. */
static bool is_ours(int folder, const char *dot)
{
	char content[DOT_CONTENT_MAX];
	int fd = file_open(folder, dot, O_RDONLY | O_NONBLOCK | O_NOCTTY, false);
	if (fd < 0)
		return false;
	ssize_t got = pread(fd, content, sizeof content, 0);
	(void)close(fd);
	size_t len = sizeof ours - 1;
	return got >= (ssize_t)len && memcmp(content + (size_t)got - len, ours, len) == 0;
}

static bool is_stale(const struct mbox_lock *lock, const char *dot, const struct stat *dot_what)
{
	struct stat what;
	if (lock->exclusive && is_ours(lock->folder, dot))
		return true;
	if (fstat(lock->fd, &what) != 0)
		return false;
	uint64_t locked = file_ns(dot_what->st_mtim), written = file_ns(what.st_mtim);
	return (locked > written ? locked : written) + STALE_NS < time_real_ns();
}

/* Whether a dead program's lock was in the way and is gone. */
static bool remove_stale(const struct mbox_lock *lock, const char *dot)
{
	struct stat what, again;
	if (fstatat(lock->folder, dot, &what, AT_SYMLINK_NOFOLLOW) != 0)
		return errno == ENOENT;
	if (!is_stale(lock, dot, &what) || fstatat(lock->folder, dot, &again, AT_SYMLINK_NOFOLLOW) != 0 ||
	    again.st_ino != what.st_ino || file_ns(again.st_mtim) != file_ns(what.st_mtim))
		return false;
	return unlinkat(lock->folder, dot, 0) == 0;
}

/* A file that says whose the lock is, before it has the lock's name: one of ours that was left by a crash is
 * always known as ours. */
static int make_dot(int folder, const char *name, uint64_t *ret_inode)
{
	char content[DOT_CONTENT_MAX];
	struct stat what;
	(void)unlinkat(folder, name, 0);
	int fd = file_create(folder, name, DOT_MODE);
	if (fd < 0)
		return err_from_errno(errno);
	int len = snprintf(content, sizeof content, "%ld%s", (long)getpid(), ours);
	(void)file_write(fd, content, (size_t)len, 0); /* on a full disk it is a lock all the same */
	int err = fstat(fd, &what) == 0 ? ERR_NONE : ERR_IO;
	(void)close(fd);
	if (err == ERR_NONE)
		*ret_inode = what.st_ino;
	return err;
}

static int lock_by_dot(struct mbox_lock *lock)
{
	char dot[NAME_OCTETS_MAX + 1], fresh[NAME_OCTETS_MAX + 1];
	uint64_t inode;
	dot_name(lock->name, dot);
	mbox_file_name(lock->name, MBOX_DOT_NEW, fresh);
	int err = make_dot(lock->folder, fresh, &inode);
	if (err == ERR_DENIED || err == ERR_READONLY)
		return ERR_NONE; /* the folder allows none */
	if (err)
		return err == ERR_EXISTS ? ERR_BUSY : err;
	if (linkat(lock->folder, fresh, lock->folder, dot, 0) == 0 ||
	    (errno == EEXIST && remove_stale(lock, dot) &&
	     linkat(lock->folder, fresh, lock->folder, dot, 0) == 0))
		lock->dot_inode = inode;
	else
		err = errno == EEXIST || errno == ENOENT ? ERR_BUSY : err_from_errno(errno);
	(void)unlinkat(lock->folder, fresh, 0);
	return err;
}

void mbox_lock_drop(struct mbox_lock *lock)
{
	char dot[NAME_OCTETS_MAX + 1];
	struct stat what;
	dot_name(lock->name, dot);
	if (lock->dot_inode && fstatat(lock->folder, dot, &what, AT_SYMLINK_NOFOLLOW) == 0 &&
	    what.st_ino == lock->dot_inode)
		(void)unlinkat(lock->folder, dot, 0);
	if (lock->fd >= 0)
		(void)close(lock->fd);
	lock->fd = -1;
	lock->dot_inode = 0;
}

static int open_file(struct mbox_lock *lock, enum mbox_lock_for what_for)
{
	const int flags = O_NONBLOCK | O_NOCTTY;
	lock->exclusive = true;
	lock->fd = file_open(lock->folder, lock->name, O_RDWR | flags, false);
	if (lock->fd < 0 && errno == ENOENT && what_for == MBOX_LOCK_CREATE) {
		lock->fd = file_create(lock->folder, lock->name, 0600);
		if (lock->fd < 0 && errno == EEXIST)
			return ERR_BUSY; /* somebody else made it just now */
	}
	if (lock->fd < 0 && what_for == MBOX_LOCK_READ && (errno == EACCES || errno == EROFS)) {
		lock->exclusive = false;
		lock->fd = file_open(lock->folder, lock->name, O_RDONLY | flags, false);
	}
	return lock->fd < 0 ? err_from_errno(errno) : ERR_NONE;
}

/* The file under our lock is still the one that has the name. */
static int check_file(const struct mbox_lock *lock, struct stat *ret_what)
{
	struct stat named;
	if (fstat(lock->fd, ret_what) != 0)
		return err_from_errno(errno);
	if (!S_ISREG(ret_what->st_mode))
		return ERR_NOTREGULAR;
	if (fstatat(lock->folder, lock->name, &named, AT_SYMLINK_NOFOLLOW) != 0 ||
	    named.st_ino != ret_what->st_ino || named.st_dev != ret_what->st_dev)
		return ERR_BUSY;
	return ERR_NONE;
}

static int try_lock(struct mbox_lock *lock, enum mbox_lock_for what_for, struct stat *ret_what)
{
	int err = open_file(lock, what_for);
	if (err)
		return err;
	err = check_file(lock, ret_what); /* first: nobody locks a FIFO */
	if (err == ERR_NONE)
		err = lock_file(lock->fd, lock->exclusive);
	if (err == ERR_NONE)
		err = lock_by_dot(lock);
	if (err == ERR_NONE)
		err = check_file(lock, ret_what);
	if (err)
		mbox_lock_drop(lock);
	return err;
}

int mbox_lock_take(int folder, const char *name, enum mbox_lock_for what_for, struct mbox_lock *ret,
                   struct stat *ret_what, struct error *error)
{
	const struct timespec pause = {.tv_nsec = PAUSE_MS * 1000000};
	uint64_t end =
	    time_mono_ms() + (what_for == MBOX_LOCK_READ ? MBOX_WAIT_SESSION_MS : MBOX_WAIT_WRITE_MS);
	struct mbox_lock lock = {.folder = folder, .name = name};
	for (;;) {
		int err = try_lock(&lock, what_for, ret_what);
		if (err == ERR_NONE) {
			*ret = lock;
			return ERR_NONE;
		}
		if (err != ERR_BUSY || time_mono_ms() >= end) {
			error_set(error, "mbox %s: %s", name,
			          err == ERR_BUSY ? "another program holds its lock" : err_text(err));
			return err;
		}
		(void)nanosleep(&pause, NULL);
	}
}

bool mbox_lock_is_there(int folder, const char *name)
{
	char dot[NAME_OCTETS_MAX + 1];
	struct stat what;
	dot_name(name, dot);
	return fstatat(folder, dot, &what, AT_SYMLINK_NOFOLLOW) == 0;
}

void mbox_lock_clean(int folder, const char *name)
{
	char dot[NAME_OCTETS_MAX + 1];
	struct mbox_lock lock;
	struct stat what;
	dot_name(name, dot);
	if (is_ours(folder, dot) &&
	    mbox_lock_take(folder, name, MBOX_LOCK_READ, &lock, &what, NULL) == ERR_NONE)
		mbox_lock_drop(&lock);
}
