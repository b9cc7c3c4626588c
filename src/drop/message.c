/* SPDX-License-Identifier: MIT */
/* Message files. Runs in the keeper; what lies under a message's name may be anything by now. */
#include "drop/message.h"

#include "base/fd.h"
#include "drop/file.h"
#include "drop/measure.h"
#include "drop/sum.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BUFFER = 131072 }; /* octets read at once */

void message_path(const struct index_row *row, struct span name, char to[INDEX_PATH_MAX])
{
	memcpy(to, row->flags & INDEX_IN_CUR ? "cur/" : "new/", 4);
	memcpy(to + 4, name.ptr, name.len);
	to[4 + name.len] = '\0';
}

/* What was opened, or not (-1 and errno), must be a regular file. */
static int take_opened(int fd, int *ret_fd, struct stat *ret_what)
{
	if (fd < 0)
		return err_from_errno(errno);
	int err = ERR_NONE;
	if (fstat(fd, ret_what) != 0)
		err = err_from_errno(errno);
	else if (!S_ISREG(ret_what->st_mode))
		err = ERR_NOTREGULAR;
	if (err)
		(void)close(fd);
	else
		*ret_fd = fd;
	return err;
}

int message_open(int folder, const char *path, bool nowait, int *ret_fd, struct stat *ret_what)
{
	return take_opened(file_open(folder, path, MESSAGE_OPEN, nowait), ret_fd, ret_what);
}

bool message_is_same(const struct index_row *row, const struct stat *what)
{
	return row->inode == what->st_ino && row->raw == (uint64_t)what->st_size &&
	       row->modified_ns == file_ns(what->st_mtim);
}

uint64_t message_sum(struct span octets)
{
	uint64_t sum = sum_of(0, octets);
	return sum ? sum : 1;
}

int message_reader_init(struct message_reader *reader, int folder)
{
	static const char *const names[INDEX_FOLDERS] = {[INDEX_NEW] = "new", [INDEX_CUR] = "cur"};
	*reader = (struct message_reader){
	    .folders = {-1, -1},
              .buffer = malloc(BUFFER)
        };
	int err = reader->buffer ? ERR_NONE : ERR_NOMEM;
	for (unsigned i = 0; err == ERR_NONE && i < INDEX_FOLDERS; i++) {
		reader->folders[i] = file_open(folder, names[i], O_PATH | O_DIRECTORY, false);
		if (reader->folders[i] < 0)
			err = err_from_errno(errno);
	}
	if (err)
		message_reader_finish(reader);
	return err;
}

static void close_read(struct message_reader *reader)
{
	fd_close_all(reader->fds, reader->fd_count);
	reader->fd_count = 0;
}

void message_reader_finish(struct message_reader *reader)
{
	if (!reader->buffer)
		return;
	close_read(reader);
	fd_close_all(reader->folders, INDEX_FOLDERS);
	free(reader->buffer);
	reader->buffer = NULL;
}

/* Octets of hole at `at`: a sparse file of many TiB, which costs nothing to make, is measured as fast. */
static uint64_t hole_at(int fd, uint64_t at, uint64_t size)
{
	off_t data = lseek(fd, (off_t)at, SEEK_DATA);
	if (data < 0)
		return errno == ENXIO ? size - at : 0; /* no more data; or no such notion here */
	return (uint64_t)data < size ? (uint64_t)data - at : size - at;
}

/* As much as the file held when it was opened: one that still grows is not the message any more, which
 * message_is_same() tells whoever opens it. */
static int read_facts(const struct message_reader *reader, int fd, const struct stat *what, struct facts *ret,
                      uint64_t *ret_content)
{
	struct measure measure = {0};
	uint64_t size = (uint64_t)what->st_size;
	bool sparse = (uint64_t)what->st_blocks * 512 < size;
	bool whole = false; /* in the buffer */
	while (measure.raw < size) {
		if (sparse)
			measure_add_hole(&measure, hole_at(fd, measure.raw, size));
		uint64_t left = size - measure.raw;
		if (left == 0)
			break;
		ssize_t got =
		    pread(fd, reader->buffer, left < BUFFER ? (size_t)left : BUFFER, (off_t)measure.raw);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return ERR_IO;
		if (got == 0)
			break;
		measure_add(&measure, span_of(reader->buffer, (size_t)got));
		whole = measure.raw == (uint64_t)got;
	}
	*ret = measure_end(&measure);
	*ret_content =
	    whole && measure.raw <= DROP_SMALL_MAX ? message_sum(span_of(reader->buffer, measure.raw)) : 0;
	return ERR_NONE;
}

static void set_row(struct index_row *row, const struct stat *what, const struct facts *facts,
                    uint64_t content, unsigned flags)
{
	row->content = content;
	row->raw = facts->raw;
	row->wire = facts->wire;
	row->header = facts->header;
	row->modified_ns = file_ns(what->st_mtim);
	row->inode = what->st_ino;
	flags |= row->flags & INDEX_IN_CUR;
	row->flags = (uint8_t)(flags | (facts->crlf ? INDEX_CRLF : 0) | (facts->no_dots ? INDEX_NO_DOTS : 0));
}

/* What can be said of a file that can not be read. */
static void set_unreadable(struct index_row *row, const struct stat *what)
{
	uint64_t size = (uint64_t)what->st_size;
	struct facts facts = {.raw = size, .wire = size, .header = size};
	set_row(row, what, &facts, 0, INDEX_UNREADABLE);
}

static int measure_unopened(struct message_reader *reader, int folder, const char *name,
                            struct index_row *row, bool *ret_is_message)
{
	struct stat what;
	*ret_is_message = false;
	if (fstatat(folder, name, &what, AT_SYMLINK_NOFOLLOW) != 0)
		return ERR_NONE; /* gone */
	if (S_ISREG(what.st_mode)) {
		set_unreadable(row, &what);
		*ret_is_message = true;
	} else {
		reader->skipped++;
	}
	return ERR_NONE;
}

int message_measure(struct message_reader *reader, struct span name, struct index_row *row,
                    bool *ret_is_message)
{
	int fd, folder = reader->folders[row->flags & INDEX_IN_CUR ? INDEX_CUR : INDEX_NEW];
	char text[NAME_OCTETS_MAX + 1];
	struct stat what;
	(void)span_to_text(name, text, sizeof text);
	int err = take_opened(file_open_entry(folder, text, MESSAGE_OPEN), &fd, &what);
	if (err == ERR_FULL || err == ERR_NOMEM)
		return err;
	if (err)
		return measure_unopened(reader, folder, text, row, ret_is_message);
	*ret_is_message = true;
	if (!message_is_same(row, &what) || row->flags & INDEX_UNREADABLE || row->modified_ns == 0) {
		struct facts facts;
		uint64_t content;
		err = read_facts(reader, fd, &what, &facts, &content);
		if (err)
			set_unreadable(row, &what);
		else
			set_row(row, &what, &facts, content, 0);
		reader->read++;
	}
	reader->fds[reader->fd_count++] = fd;
	if (reader->fd_count == MESSAGE_BATCH)
		close_read(reader);
	return ERR_NONE;
}
