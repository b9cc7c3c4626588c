/* SPDX-License-Identifier: MIT */
/*
 * The index of an mbox: index.h's, filled from one file instead of many. Runs in the keeper's disk threads.
 * Other programs append to the mbox and rewrite it; whoever may write into it may put anything there.
 */
#include "base/num.h"
#include "base/time.h"
#include "drop/catalog.h"
#include "drop/file.h"
#include "drop/mbox.h"
#include "drop/mbox_uid.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BUFFER = 1 << 18 }; /* octets read at once */
_Static_assert((int)BUFFER > (int)MBOX_LOOK, "what decides about a line fits");

void mbox_see(const struct stat *what, const struct drop_mbox_rules *rules,
              struct index_seen ret[INDEX_FOLDERS])
{
	/* Other rules make other messages of the same file. */
	const uint64_t which[] = {what->st_ino, rules->keep_quotes, rules->content_length};
	ret[MBOX_SEEN_FILE].inode = sum_of(0, span_of((const char *)which, sizeof which));
	ret[MBOX_SEEN_FILE].changed_ns = file_ns(what->st_ctim);
	ret[MBOX_SEEN_SIZE].inode = (uint64_t)what->st_size;
	ret[MBOX_SEEN_SIZE].changed_ns = file_ns(what->st_mtim);
}

int mbox_open_index(int folder, const char *name, bool nowait, struct index *ret)
{
	char file[NAME_OCTETS_MAX + 1];
	mbox_file_name(name, MBOX_INDEX, file);
	int fd = file_open(folder, file, O_RDONLY | O_NONBLOCK | O_NOCTTY, nowait);
	int err = fd < 0 ? err_from_errno(errno) : index_open_fd(fd, false, nowait, ret);
	if (err && fd >= 0)
		(void)close(fd);
	return err;
}

/* --- rows --- */

void mbox_set_row(const struct mbox_message *message, struct index_row *ret, char ret_name[MBOX_ROW_NAME_MAX])
{
	const struct facts *facts = &message->facts;
	int len = snprintf(ret_name, MBOX_ROW_NAME_MAX, "%.*s:2,%u-%u-%llu", MBOX_IDENTITY, message->identity,
	                   message->from_len, message->trail, (unsigned long long)message->stored);
	*ret = (struct index_row){
	    .raw = facts->raw,
	    .wire = facts->wire,
	    .header = facts->header,
	    .modified_ns = message->sum,
	    .inode = message->at,
	    .name_len = (uint16_t)len,
	    .flags = (uint8_t)((facts->crlf ? INDEX_CRLF : 0) | (facts->no_dots ? INDEX_NO_DOTS : 0)),
	};
}

int mbox_get_place(const struct index_row *row, struct span name, struct mbox_place *ret)
{
	uint64_t from_len, trail, stored;
	struct span rest = span_after(name, name_base(name).len);
	if (rest.len < 3)
		return ERR_CORRUPT;
	rest = span_after(rest, 3);
	if (num_parse(span_cut(&rest, '-'), MBOX_SEPARATOR_MAX, &from_len) != ERR_NONE ||
	    num_parse(span_cut(&rest, '-'), 2, &trail) != ERR_NONE ||
	    num_parse(rest, INT64_MAX, &stored) != ERR_NONE || row->raw > stored || row->inode > INT64_MAX)
		return ERR_CORRUPT;
	*ret = (struct mbox_place){
	    .at = row->inode,
	    .stored = stored,
	    .from_len = (uint16_t)from_len,
	    .trail = (uint8_t)trail,
	};
	return ERR_NONE;
}

int mbox_sum_place(int fd, bool nowait, const struct mbox_place *place, uint64_t *ret_sum)
{
	uint64_t at = place->at, end = at + place->from_len + place->stored;
	char *buffer = malloc(BUFFER);
	int err = buffer ? ERR_NONE : ERR_NOMEM;
	struct sum sum;
	sum_begin(&sum, 0);
	while (err == ERR_NONE && at < end) {
		size_t len = end - at < BUFFER ? (size_t)(end - at) : BUFFER;
		err = file_read(fd, nowait, buffer, len, at);
		if (err == ERR_NONE)
			sum_add(&sum, span_of(buffer, len));
		at += len;
	}
	free(buffer);
	if (err == ERR_NONE)
		*ret_sum = sum_end(&sum);
	return err == ERR_CORRUPT ? ERR_CHANGED : err;
}

/* --- reading the mbox --- */

struct reading {
	int fd;
	uint64_t size;
	struct catalog *catalog;
	bool loaded; /* the catalog is what the index knows */
	struct drop_report *report;
};

static int take_message(void *owner, const struct mbox_message *found)
{
	struct reading *reading = owner;
	struct catalog *catalog = reading->catalog;
	struct index_row row;
	char name[MBOX_ROW_NAME_MAX];
	mbox_set_row(found, &row, name);
	int err = catalog_add(catalog, &row, span_of(name, row.name_len));
	if (err == ERR_FULL) {
		reading->report->hidden++;
		return ERR_NONE;
	}
	if (err)
		return err;
	reading->report->read++;
	catalog->messages[catalog->count - 1].seen = true;
	return ERR_NONE;
}

static bool may_end(void *owner, uint64_t end)
{
	const struct reading *reading = owner;
	char room[1 + MBOX_LOOK];
	if (end < 1 || end > reading->size)
		return false;
	uint64_t left = reading->size - end;
	size_t len = left < MBOX_LOOK ? (size_t)left : MBOX_LOOK;
	if (file_read(reading->fd, false, room, len + 1, end - 1) != ERR_NONE || room[0] != '\n')
		return false;
	struct span rest = span_of(room + 1, len);
	size_t empty = mbox_line_end(rest);
	if (left == empty)
		return true;
	rest = span_after(rest, empty);
	size_t lf = span_find(rest, '\n');
	return empty && mbox_line_is_separator(span_first(rest, lf < rest.len ? lf + 1 : lf));
}

int mbox_read_file(int fd, uint64_t size, uint64_t at, struct mbox_parser *parser)
{
	char *buffer = malloc(BUFFER);
	size_t kept = 0;
	int err = buffer ? ERR_NONE : ERR_NOMEM;
	bool last = false;
	while (err == ERR_NONE && !last) {
		uint64_t left = size - at;
		size_t len = left < BUFFER - kept ? (size_t)left : BUFFER - kept, used = 0;
		last = len == left;
		err = file_read(fd, false, buffer + kept, len, at);
		if (err == ERR_CORRUPT)
			err = ERR_CHANGED; /* shortened by somebody who ignores our lock */
		if (err == ERR_NONE)
			err = mbox_parser_feed(parser, span_of(buffer, kept + len), last, &used);
		at += len;
		kept += len - used;
		if (err == ERR_NONE)
			memmove(buffer, buffer + used, kept);
	}
	free(buffer);
	return err;
}

/* Adds the messages from `at` on to the catalog. */
static int read_messages(struct reading *reading, const struct drop_mbox_rules *rules, uint64_t at)
{
	struct mbox_parser parser;
	int err = mbox_parser_init(&parser, at);
	parser.unquote = !rules->keep_quotes;
	parser.owner = reading;
	parser.message = take_message;
	if (rules->content_length)
		parser.may_end = may_end;
	if (err == ERR_NONE)
		err = mbox_read_file(reading->fd, reading->size, at, &parser);
	mbox_parser_finish(&parser);
	return err;
}

/* --- bringing the index up to date --- */

/* What the index knows of an mbox that has only grown since: all but the last message, which is read again
 * with what came behind it. *ret_at: where to begin. False: nothing is known, or the file was rewritten. */
static bool keep_known(const struct reading *reading, const struct index_head *head,
                       const struct index_seen seen[INDEX_FOLDERS], uint64_t *ret_at)
{
	struct catalog *catalog = reading->catalog;
	struct mbox_place place;
	uint64_t sum;
	if (catalog->count == 0 || head->seen[MBOX_SEEN_FILE].inode != seen[MBOX_SEEN_FILE].inode ||
	    head->seen[MBOX_SEEN_SIZE].inode >= reading->size)
		return false;
	const struct message *last = &catalog->messages[catalog->count - 1];
	if (mbox_get_place(&last->row, catalog_name(catalog, last), &place) != ERR_NONE ||
	    mbox_sum_place(reading->fd, false, &place, &sum) != ERR_NONE || sum != last->row.modified_ns)
		return false;
	*ret_at = place.at;
	catalog->count--;
	return true;
}

/* All there is, from the beginning; unique-ids stay what they were. */
static int read_all(const struct mbox *mbox, struct reading *reading)
{
	struct catalog *catalog = reading->catalog, before = *catalog;
	catalog_init(catalog, before.seed);
	int err = read_messages(reading, &mbox->rules, 0);
	if (err == ERR_NONE)
		err = mbox_give_uids(catalog, 0, &before);
	catalog_finish(&before);
	return err;
}

/* What came behind the messages that are known, and the last of these, from `at` on. */
static int read_more(const struct mbox *mbox, struct reading *reading, uint64_t at)
{
	struct catalog *catalog = reading->catalog;
	uint32_t known = catalog->count;
	const struct message last = catalog->messages[known];
	int err = read_messages(reading, &mbox->rules, at);
	if (err)
		return err;
	if (catalog->count > known && span_equal(name_base(catalog_name(catalog, &catalog->messages[known])),
	                                         name_base(catalog_name(catalog, &last)))) {
		catalog->messages[known].uid_at = last.uid_at;
		catalog->messages[known].uid_len = last.uid_len;
		known++;
		reading->report->read--; /* not a new one */
	}
	return mbox_give_uids(catalog, known, NULL);
}

static int read_file(const struct mbox *mbox, struct reading *reading, const struct index_head *head,
                     const struct index_seen seen[INDEX_FOLDERS])
{
	uint64_t at;
	if (reading->loaded && memcmp(head->seen, seen, sizeof head->seen) == 0)
		return ERR_NONE;
	return keep_known(reading, head, seen, &at) ? read_more(mbox, reading, at) : read_all(mbox, reading);
}

int mbox_write_index(const struct mbox *mbox, const struct catalog *catalog,
                     const struct index_seen seen[INDEX_FOLDERS], struct index *ret)
{
	char fresh[NAME_OCTETS_MAX + 1], name[NAME_OCTETS_MAX + 1];
	mbox_file_name(mbox->name, MBOX_INDEX_NEW, fresh);
	mbox_file_name(mbox->name, MBOX_INDEX, name);
	/* Not the cheap way: the old one knows which of several same messages is which. */
	if (mbox->has_journal &&
	    index_write_beside(mbox->drop.folder, fresh, name, false, catalog, seen, ret) == ERR_NONE)
		return ERR_NONE;
	return index_write_memory(catalog, seen, ret);
}

/* Reads the mbox under its lock; a missing one is empty. */
static int read_locked(const struct mbox *mbox, struct reading *reading, const struct index_head *head,
                       struct index_seen ret_seen[INDEX_FOLDERS], struct error *error)
{
	struct mbox_lock lock;
	struct stat what = {0};
	int err = mbox_lock(mbox, MBOX_LOCK_READ, &lock, &what, error);
	if (err == ERR_NOTFOUND) {
		reading->catalog->count = 0;
		memset(ret_seen, 0, INDEX_FOLDERS * sizeof *ret_seen);
		return ERR_NONE;
	}
	if (err)
		return err;
	mbox_see(&what, &mbox->rules, ret_seen);
	reading->fd = lock.fd;
	reading->size = (uint64_t)what.st_size;
	err = read_file(mbox, reading, head, ret_seen);
	mbox_lock_drop(&lock);
	if (err == ERR_CORRUPT)
		error_set(error, "mbox %s: does not begin with a line \"From ...\": no mbox", mbox->name);
	else if (err)
		error_set(error, "mbox %s: can not be read: %s", mbox->name, err_text(err));
	return err;
}

int mbox_update_index(struct mbox *mbox, struct drop_report *report, struct error *error)
{
	struct catalog catalog;
	struct index *index = &mbox->drop.index;
	struct index_seen seen[INDEX_FOLDERS];
	struct reading reading = {.catalog = &catalog, .report = report};
	catalog_init(&catalog, time_real_ns());
	int err = index->fd < 0 ? ERR_NOTFOUND : index_load(index, &catalog);
	reading.loaded = err == ERR_NONE;
	if (err && err != ERR_NOMEM) { /* begin without it */
		catalog_finish(&catalog);
		catalog_init(&catalog, time_real_ns());
		err = ERR_NONE;
	}
	if (err == ERR_NONE)
		err = read_locked(mbox, &reading, &index->head, seen, error);
	if (err == ERR_NONE) {
		index_close(index);
		err = mbox_write_index(mbox, &catalog, seen, index);
		report->unwritten = err == ERR_NONE && index->memory;
	}
	report->messages = catalog.count;
	report->rescanned = 1;
	catalog_finish(&catalog);
	return err;
}
