/* SPDX-License-Identifier: MIT */
/*
 * Reading the index file. Runs in the keeper. The file may have been written by an older
 * version, cut by a full disk, or made up by the maildrop's owner: no number in it is
 * used before it was checked, and it is never mapped, because a mapped file that
 * somebody shortens kills its reader.
 */
#include "drop/index.h"

#include "base/time.h"
#include "drop/catalog.h"
#include "drop/file.h"
#include "drop/index_layout.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Not on the stack, which would be zeroed at each call. A multiple of SUM_BLOCK. */
static _Thread_local _Alignas(8) char scratch[65536];
enum { SCRATCH = sizeof scratch };

uint64_t index_listing_size(const struct index *index)
{
	return layout_listing_size(&index->head);
}

static int check_head(const struct index_head *head)
{
	if (memcmp(head->magic, LAYOUT_MAGIC, sizeof head->magic) != 0 || head->octets > INT64_MAX ||
	    head->sum != layout_head_sum(head))
		return ERR_CORRUPT;
	if (head->count > DROP_MESSAGES_MAX || head->uid_octets < head->count ||
	    head->uid_octets > (uint64_t)head->count * DROP_UID_MAX ||
	    head->names_octets > (uint64_t)head->count * NAME_OCTETS_MAX)
		return ERR_CORRUPT;
	return ERR_NONE;
}

int index_open_fd(int fd, bool memory, bool nowait, struct index *ret)
{
	struct index index = {.fd = fd, .memory = memory};
	int err = file_read(fd, nowait && !memory, &index.head, sizeof index.head, 0);
	if (err && err != ERR_AGAIN)
		return ERR_CORRUPT;
	if (err == ERR_NONE)
		err = check_head(&index.head);
	if (err == ERR_NONE)
		*ret = index;
	return err;
}

int index_open(int folder, bool nowait, struct index *ret)
{
	/* Not waiting for somebody to open the other end, should it be a FIFO. */
	int fd = file_open(folder, INDEX_NAME, O_RDONLY | O_NONBLOCK, nowait);
	int err = fd < 0 ? err_from_errno(errno) : ERR_NONE;
	if (err == ERR_AGAIN || err == ERR_NOTFOUND || err == ERR_FULL || err == ERR_NOMEM)
		return err;
	if (err)
		return ERR_CORRUPT; /* whatever lies there, it is not ours */
	err = index_open_fd(fd, false, nowait, ret);
	if (err)
		(void)close(fd);
	return err;
}

void index_close(struct index *index)
{
	if (index->fd >= 0)
		(void)close(index->fd);
	index->fd = -1;
}

/* The listing's own rule: where unique-ids lie, what they are made of, and what the sizes add up to. */
static int check_listing(const struct index_head *head, const char *listing)
{
	const char *uid_at = listing + (size_t)head->count * sizeof(uint64_t);
	const char *uids = uid_at + ((size_t)head->count + 1) * sizeof(uint32_t);
	uint32_t begin, end = 0;
	uint64_t octets = 0;
	memcpy(&begin, uid_at, sizeof begin);
	if (begin != 0)
		return ERR_CORRUPT;
	for (uint32_t i = 0; i < head->count; i++, begin = end) {
		uint64_t wire;
		memcpy(&wire, listing + i * sizeof wire, sizeof wire);
		octets = layout_add_octets(octets, wire);
		memcpy(&end, uid_at + ((size_t)i + 1) * sizeof end, sizeof end);
		if (end <= begin || end - begin > DROP_UID_MAX)
			return ERR_CORRUPT;
	}
	bool holds = octets == head->octets && end == head->uid_octets && name_is_legal(span_of(uids, end));
	return holds ? ERR_NONE : ERR_CORRUPT;
}

int index_listing(const struct index *index, bool nowait, char *to)
{
	uint64_t size = index_listing_size(index);
	int err = file_read(index->fd, nowait && !index->memory, to, size, sizeof index->head);
	if (err == ERR_NONE && sum_of(index->head.stamp, span_of(to, size)) != index->head.listing_sum)
		err = ERR_CORRUPT;
	return err ? err : check_listing(&index->head, to);
}

enum {
	INDEX_WINDOW_ROWS = 32,
	INDEX_WINDOW_NAMES = 4096, /* octets */
};

/* What a row must be for its name to be looked at. */
static int check_row(const struct index_head *head, const struct index_row *row)
{
	bool whole = row->unused == 0 && (row->flags & ~INDEX_FLAGS) == 0 && row->name_len >= 1 &&
	             row->name_len <= NAME_OCTETS_MAX && row->name_len <= head->names_octets &&
	             row->name_at <= head->names_octets - row->name_len;
	return whole && row->header <= row->raw && row->wire >= row->raw ? ERR_NONE : ERR_CORRUPT;
}

static int check_name(const struct index_head *head, uint32_t number, const struct index_row *row,
                      struct span name)
{
	return name_is_message(name) && row->sum == layout_row_sum(head, number, row, name) ? ERR_NONE
	                                                                                    : ERR_CORRUPT;
}

/* Rows and names that lie together, as clients ask for messages in order: two reads for many messages instead
 * of two for each. Stale or damaged ones do no harm, for every row has its own sum, the stamp in it. */
struct window {
	int fd;
	uint64_t stamp;
	uint32_t first, count;
	uint64_t names_at;
	size_t names_len;
	struct index_row rows[INDEX_WINDOW_ROWS];
	char names[INDEX_WINDOW_NAMES];
};

static _Thread_local struct window window;

static int move_window(const struct index *index, uint32_t number, bool nowait)
{
	const struct index_head *head = &index->head;
	uint32_t left = head->count - number + 1;
	uint32_t count = left < INDEX_WINDOW_ROWS ? left : INDEX_WINDOW_ROWS;
	window.count = 0;
	int err = file_read(index->fd, nowait, window.rows, count * sizeof window.rows[0],
	                    layout_row_at(head, number));
	if (err == ERR_NONE)
		err = check_row(head, &window.rows[0]);
	if (err)
		return err;
	uint64_t names = head->names_octets - window.rows[0].name_at;
	window.names_at = window.rows[0].name_at;
	window.names_len = names < INDEX_WINDOW_NAMES ? (size_t)names : INDEX_WINDOW_NAMES;
	err = file_read(index->fd, nowait, window.names, window.names_len,
	                layout_names_at(head) + window.names_at);
	if (err)
		return err;
	window.fd = index->fd;
	window.stamp = head->stamp;
	window.first = number;
	window.count = count;
	return ERR_NONE;
}

static bool in_window(const struct index *index, uint32_t number)
{
	return window.count && window.fd == index->fd && window.stamp == index->head.stamp &&
	       number >= window.first && number - window.first < window.count;
}

static int read_name(const struct index *index, bool nowait, const struct index_row *row, char *to)
{
	uint64_t at = row->name_at - window.names_at;
	if (row->name_at < window.names_at || at > window.names_len || row->name_len > window.names_len - at)
		return file_read(index->fd, nowait, to, row->name_len,
		                 layout_names_at(&index->head) + row->name_at);
	memcpy(to, window.names + at, row->name_len);
	return ERR_NONE;
}

static int take_row(const struct index *index, uint32_t number, bool nowait, struct index_row *ret,
                    char path[INDEX_PATH_MAX])
{
	struct index_row row = window.rows[number - window.first];
	int err = check_row(&index->head, &row);
	if (err)
		return err;
	memcpy(path, row.flags & INDEX_IN_CUR ? "cur/" : "new/", 4);
	path[4 + row.name_len] = '\0';
	err = read_name(index, nowait, &row, path + 4);
	if (err == ERR_NONE)
		err = check_name(&index->head, number, &row, span_of(path + 4, row.name_len));
	if (err == ERR_NONE)
		*ret = row;
	return err;
}

int index_row(const struct index *index, uint32_t number, bool nowait, struct index_row *ret,
              char path[INDEX_PATH_MAX])
{
	nowait = nowait && !index->memory;
	int err = in_window(index, number) ? take_row(index, number, nowait, ret, path) : ERR_CORRUPT;
	if (err != ERR_CORRUPT)
		return err;
	err = move_window(index, number, nowait); /* nothing at hand, or no good: as the file has it now */
	return err ? err : take_row(index, number, nowait, ret, path);
}

/* Rows and unique-ids into the catalog, which has the names. */
static int load_rows(const struct index *index, const char *listing, struct catalog *to)
{
	const struct index_head *head = &index->head;
	enum { ROWS = SCRATCH / sizeof(struct index_row) };
	const char *uid_at = listing + (size_t)head->count * sizeof(uint64_t);
	for (uint32_t i = 0; i < head->count; i++) {
		if (i % ROWS == 0) {
			uint32_t rows = head->count - i < ROWS ? head->count - i : ROWS;
			int err = file_read(index->fd, false, scratch, rows * sizeof(struct index_row),
			                    layout_row_at(head, i + 1));
			if (err)
				return err;
		}
		struct message message = {0};
		uint64_t listed;
		uint32_t uid[2];
		memcpy(&message.row, scratch + i % ROWS * sizeof message.row, sizeof message.row);
		memcpy(&listed, listing + i * sizeof listed, sizeof listed);
		memcpy(uid, uid_at + i * sizeof uid[0], sizeof uid);
		if (check_row(head, &message.row) || listed != message.row.wire ||
		    check_name(head, i + 1, &message.row, catalog_name(to, &message)))
			return ERR_CORRUPT;
		message.uid_at = uid[0];
		message.uid_len = (uint8_t)(uid[1] - uid[0]);
		to->messages[to->count++] = message;
	}
	return ERR_NONE;
}

int index_load(const struct index *index, struct catalog *ret)
{
	const struct index_head *head = &index->head;
	uint64_t size = index_listing_size(index);
	char *listing = malloc(size);
	int err = listing ? index_listing(index, false, listing) : ERR_NOMEM;
	if (err == ERR_NONE)
		err = buf_reserve(&ret->names, head->names_octets);
	if (err == ERR_NONE)
		err = file_read(index->fd, false, ret->names.ptr, head->names_octets, layout_names_at(head));
	if (err == ERR_NONE)
		err = catalog_reserve(ret, head->count);
	if (err == ERR_NONE) {
		ret->names.len = head->names_octets;
		err = buf_add(&ret->uids, span_of(listing + size - head->uid_octets, head->uid_octets));
	}
	if (err == ERR_NONE)
		err = load_rows(index, listing, ret);
	free(listing);
	return err;
}

void index_discard(int folder)
{
	(void)unlinkat(folder, INDEX_NAME, 0);
}

static uint64_t boot_ns(void)
{
	struct timespec up = {0};
	(void)clock_gettime(CLOCK_BOOTTIME, &up);
	return time_real_ns() - file_ns(up);
}

/* An index from before the machine
 * was started may have lost octets that were never written out; it is read whole, and so checked, once. */
bool index_is_fresh(const struct index *index, const struct index_seen seen[INDEX_FOLDERS])
{
	for (unsigned i = 0; i < INDEX_FOLDERS; i++)
		if (index->head.seen[i].changed_ns == 0 || index->head.seen[i].inode != seen[i].inode ||
		    index->head.seen[i].changed_ns != seen[i].changed_ns)
			return false;
	return index->head.written_ns >= boot_ns();
}
