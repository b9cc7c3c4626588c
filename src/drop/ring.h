/* SPDX-License-Identifier: MIT */
/*
 * Reading many small files in one system call (io_uring), as opening, reading and closing each by itself
 * costs more than what is in it. The rings are made before the process confines itself, can do nothing but
 * that, and are only a quicker way: where the kernel gives none, callers open files one by one.
 */
#ifndef DROP_RING_H
#define DROP_RING_H

#include <stdbool.h>
#include <stddef.h>

enum {
	RING_FILES_MAX = 32, /* files read at once */
	RINGS_MAX = 64,      /* threads that read at once; others go without */
};

struct ring_read {
	const char *path; /* below the folder: resolved as file_open() does */
	char *to;
	size_t size; /* octets to read at most */
	int result;  /* octets read, or -1 */
};

/* Makes `count` rings, at most RINGS_MAX. ERR_UNSUPPORTED: the kernel has none for us. */
int rings_init(unsigned count);
void rings_finish(void);

/* Reads the beginnings of regular or other files; at most RING_FILES_MAX. With `nowait`, those that would
 * have to be fetched from the disk fail. All fail when no ring is free. May be called by any thread. */
void ring_read_files(int folder, struct ring_read *reads, unsigned count, bool nowait);

#endif
