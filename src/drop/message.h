/* SPDX-License-Identifier: MIT */
/* One message file: opening it safely, and finding out its facts. */
#ifndef DROP_MESSAGE_H
#define DROP_MESSAGE_H

#include "drop/index.h"

#include <fcntl.h>
#include <sys/stat.h>

enum { MESSAGE_OPEN = O_RDONLY | O_NONBLOCK | O_NOCTTY }; /* a FIFO would wait for its writer */

/* The path of a row's file in the maildrop. */
void message_path(const struct index_row *row, struct span name, char to[INDEX_PATH_MAX]);

/* Opens the message file at `path` ("cur/..."), which must be a regular file. ERR_NOTFOUND, ERR_NOTREGULAR,
 * ERR_DENIED, ERR_AGAIN, ... */
int message_open(int folder, const char *path, bool nowait, int *ret_fd, struct stat *ret_what);

/* The file a row speaks of, unaltered since. */
bool message_is_same(const struct index_row *row, const struct stat *what);

/* What tells one small message from another, without asking for its file's inode. Never 0. */
uint64_t message_sum(struct span octets);

enum { MESSAGE_BATCH = 32 }; /* files closed together: closing is dear, and a range costs one call */

struct message_reader {
	int folders[INDEX_FOLDERS]; /* new/ and cur/ */
	int fds[MESSAGE_BATCH];     /* read, and not closed yet */
	unsigned fd_count;
	char *buffer;
	uint32_t read;    /* files read */
	uint32_t skipped; /* directory entries that turned out to be no messages */
};

/* For the messages of this maildrop. ERR_NOMEM, ERR_NOTFOUND, ... */
int message_reader_init(struct message_reader *reader, int folder);
/* Closes what is open; also of a zeroed reader. */
void message_reader_finish(struct message_reader *reader);

/* Brings *row up to date with the file `name` in the folder row->flags says; the file is read
 * only if the row does not know it as it is. *ret_is_message is false, and *row as it was, when it is gone or
 * no message. A file that can not be read is one of INDEX_UNREADABLE. ERR_FULL, ERR_NOMEM: our own limits. */
int message_measure(struct message_reader *reader, struct span name, struct index_row *row,
                    bool *ret_is_message);

#endif
