/* SPDX-License-Identifier: MIT */
/* Writing the index file. Runs in the keeper's disk threads. The file needs no fsync: what a crash
 * leaves of it does not pass its sums, or is old and does not fit its folders. */
#include "base/time.h"
#include "drop/catalog.h"
#include "drop/file.h"
#include "drop/index_layout.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PIECE = 65536 }; /* octets written at once; a multiple of SUM_BLOCK */

struct writer {
	int fd, err;
	uint64_t at; /* in the file */
	struct sum sum;
	size_t len;
	char piece[PIECE];
};

static void flush(struct writer *writer)
{
	if (writer->err == ERR_NONE)
		writer->err = file_write(writer->fd, writer->piece, writer->len, writer->at);
	sum_add(&writer->sum, span_of(writer->piece, writer->len));
	writer->at += writer->len;
	writer->len = 0;
}

static void put(struct writer *writer, struct span octets)
{
	while (octets.len) {
		size_t len = PIECE - writer->len < octets.len ? PIECE - writer->len : octets.len;
		memcpy(writer->piece + writer->len, octets.ptr, len);
		writer->len += len;
		octets = span_after(octets, len);
		if (writer->len == PIECE)
			flush(writer);
	}
}

static void put_listing(struct writer *writer, const struct catalog *catalog)
{
	for (uint32_t i = 0; i < catalog->count; i++)
		put(writer, span_of((const char *)&catalog->messages[i].row.wire, sizeof(uint64_t)));
	uint32_t uid_at = 0;
	put(writer, span_of((const char *)&uid_at, sizeof uid_at));
	for (uint32_t i = 0; i < catalog->count; i++) {
		uid_at += catalog->messages[i].uid_len;
		put(writer, span_of((const char *)&uid_at, sizeof uid_at));
	}
	for (uint32_t i = 0; i < catalog->count; i++)
		put(writer, catalog_uid(catalog, &catalog->messages[i]));
	flush(writer);
}

static void put_rows(struct writer *writer, const struct index_head *head, const struct catalog *catalog)
{
	static const char zeros[8];
	put(writer, span_of(zeros, layout_row_at(head, 1) - writer->at));
	uint64_t name_at = 0;
	for (uint32_t i = 0; i < catalog->count; i++) {
		struct index_row row = catalog->messages[i].row;
		row.name_at = name_at;
		row.unused = 0;
		row.sum = layout_row_sum(head, i + 1, &row, catalog_name(catalog, &catalog->messages[i]));
		put(writer, span_of((const char *)&row, sizeof row));
		name_at += row.name_len;
	}
	for (uint32_t i = 0; i < catalog->count; i++)
		put(writer, catalog_name(catalog, &catalog->messages[i]));
	flush(writer);
}

int index_write(int fd, bool memory, const struct catalog *catalog,
                const struct index_seen seen[INDEX_FOLDERS], struct index *ret)
{
	uint64_t now = time_real_ns();
	struct index index = {.fd = fd, .memory = memory};
	index.head = (struct index_head){
	    .count = catalog->count,
	    .stamp = now,
	    .written_ns = now,
	    .seen = {seen[INDEX_NEW], seen[INDEX_CUR]},
	};
	memcpy(index.head.magic, LAYOUT_MAGIC, sizeof index.head.magic);
	for (uint32_t i = 0; i < catalog->count; i++) {
		index.head.uid_octets += catalog->messages[i].uid_len;
		index.head.names_octets += catalog->messages[i].row.name_len;
		index.head.octets = layout_add_octets(index.head.octets, catalog->messages[i].row.wire);
	}
	struct writer *writer = malloc(sizeof *writer);
	if (!writer)
		return ERR_NOMEM;
	writer->fd = fd;
	writer->err = ERR_NONE;
	writer->at = sizeof index.head;
	writer->len = 0;
	sum_begin(&writer->sum, index.head.stamp);
	put_listing(writer, catalog);
	index.head.listing_sum = sum_end(&writer->sum);
	put_rows(writer, &index.head, catalog);
	index.head.sum = layout_head_sum(&index.head);
	int err = writer->err;
	if (err == ERR_NONE) /* last: without it the file is nothing */
		err = file_write(fd, &index.head, sizeof index.head, 0);
	free(writer);
	if (err == ERR_NONE)
		*ret = index;
	return err;
}

int index_write_beside(int folder, const char *fresh, const char *name, bool cheap,
                       const struct catalog *catalog, const struct index_seen seen[INDEX_FOLDERS],
                       struct index *ret)
{
	(void)unlinkat(folder, fresh, 0); /* left by a crash */
	int fd = file_create(folder, fresh, 0600);
	if (fd < 0)
		return err_from_errno(errno);
	int err = index_write(fd, false, catalog, seen, ret);
	/* File systems write a file out at once that is renamed over another, to spare careless programs a
	 * loss. */
	if (err == ERR_NONE && cheap)
		(void)unlinkat(folder, name, 0);
	if (err == ERR_NONE && renameat(folder, fresh, folder, name) != 0)
		err = err_from_errno(errno);
	if (err) {
		(void)unlinkat(folder, fresh, 0);
		(void)close(fd);
	}
	return err;
}

int index_write_memory(const struct catalog *catalog, const struct index_seen seen[INDEX_FOLDERS],
                       struct index *ret)
{
	int fd = memfd_create("restante-index", MFD_CLOEXEC);
	if (fd < 0)
		return err_from_errno(errno);
	int err = index_write(fd, true, catalog, seen, ret);
	if (err)
		(void)close(fd);
	return err;
}

void index_touch(struct index *index, int folder, const struct index_seen seen[INDEX_FOLDERS])
{
	if (index->memory)
		return;
	struct stat ours, named;
	int fd = file_open(folder, INDEX_NAME, O_WRONLY | O_NONBLOCK, false);
	if (fd < 0)
		return;
	if (fstat(index->fd, &ours) != 0 || fstat(fd, &named) != 0 || ours.st_ino != named.st_ino ||
	    ours.st_dev != named.st_dev) {
		(void)close(fd); /* somebody else's by now */
		return;
	}
	index->head.seen[INDEX_NEW] = seen[INDEX_NEW];
	index->head.seen[INDEX_CUR] = seen[INDEX_CUR];
	index->head.written_ns = time_real_ns();
	index->head.sum = layout_head_sum(&index->head);
	(void)file_write(fd, &index->head, sizeof index->head, 0);
	(void)close(fd);
}
