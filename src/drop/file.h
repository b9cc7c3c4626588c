/* SPDX-License-Identifier: MIT */
/* Opening files below a folder, and nowhere else. */
#ifndef DROP_FILE_H
#define DROP_FILE_H

#include <linux/openat2.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

/* openat2: no component of `path` may be a symlink or lead out of `folder`; close-on-exec. With `nowait`,
 * EAGAIN instead of reading the disk for a name. -1 and errno. */
int file_open(int folder, const char *path, int flags, bool nowait);

/* The same for an entry of the folder itself (a name without '/'), for less. */
int file_open_entry(int folder, const char *name, int flags);

/* How it does that. */
struct open_how file_how(int flags, bool nowait);

/* Creates a file that must not exist. */
int file_create(int folder, const char *path, unsigned mode);

/* Creates a file without a name (O_TMPFILE), where the file system has such. */
int file_create_unnamed(int folder, unsigned mode);

/* Reads exactly `size` octets at `at`. ERR_CORRUPT: the file is shorter; ERR_AGAIN: `nowait` and they
 * are not in memory; ERR_IO. */
int file_read(int fd, bool nowait, void *to, size_t size, uint64_t at);

/* Writes all of it. */
int file_write(int fd, const void *from, size_t size, uint64_t at);

/* flock() for us alone, within about `ms`: whoever may open the file may have locked it, and never let go.
 * ERR_BUSY; ERR_IO. */
int file_lock_within(int fd, unsigned ms);

static inline uint64_t file_ns(struct timespec time)
{
	return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

#endif
