/* SPDX-License-Identifier: MIT */
/*
 * Deliveries into an mbox: appended under its locks. Runs in the keeper's disk threads and in administrator's
 * commands. The octets of a message come from anybody; the mbox may hold anything.
 *
 * Where the message is to lie is noted in the journal, then the file is made so long, and the first octet of
 * the From_ line is written last. So whoever comes after a delivery that died knows that it did, and what is
 * to go, even if programs have appended behind it meanwhile.
 */
#include "base/time.h"
#include "drop/deliver_int.h"
#include "drop/file.h"
#include "drop/mbox.h"
#include "drop/mbox_journal.h"
#include "drop/usage.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define YEAR_9999 INT64_C(253402300799) /* its last second */

enum {
	PIECE = 65536, /* octets read and written at once */
	TAIL = 3,      /* octets that show whether a file ends in an empty line */
};
_Static_assert((int)MBOX_FROM_LINE_MAX < (int)MBOX_SEPARATOR_MAX, "what is written is a separator");

int mbox_begin(const struct drop_root *root, const char *path, struct drop_incoming *incoming,
               struct error *error)
{
	int folder;
	char name[MBOX_NAME_MAX + 1], temporary[NAME_FRESH_MAX + 1] = ".";
	int err = mbox_open_folder(root, path, false, &folder, name, error);
	if (err)
		return err;
	incoming->fd = file_create_unnamed(folder, 0600);
	if (incoming->fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL)) {
		err = name_make_fresh(temporary + 1);
		if (err == ERR_NONE)
			incoming->fd = file_create(folder, temporary, 0600);
		if (err == ERR_NONE && incoming->fd >= 0)
			(void)unlinkat(folder, temporary, 0);
	}
	if (incoming->fd < 0) {
		err = err ? err : err_from_errno(errno);
		error_set(error, "mbox %s: no file can be made in its folder: %s", path, err_text(err));
	}
	(void)close(folder);
	return err;
}

/* A message on its way into the file. */
struct appending {
	int fd, err; /* -1: only to see how long it gets */
	uint64_t at, end;
	char last; /* octet that was written */
	size_t len;
	char piece[PIECE];
};

static void flush(struct appending *appending)
{
	if (appending->at + appending->len > appending->end)
		appending->err = ERR_CHANGED; /* somebody writes to the message still */
	if (appending->err == ERR_NONE && appending->fd >= 0)
		appending->err = file_write(appending->fd, appending->piece, appending->len, appending->at);
	appending->at += appending->len;
	appending->len = 0;
}

static void put_octets(void *owner, struct span octets)
{
	struct appending *appending = owner;
	if (octets.len)
		appending->last = octets.ptr[octets.len - 1];
	while (octets.len) {
		size_t room = PIECE - appending->len, len = octets.len < room ? octets.len : room;
		memcpy(appending->piece + appending->len, octets.ptr, len);
		appending->len += len;
		octets = span_after(octets, len);
		if (appending->len == PIECE)
			flush(appending);
	}
}

size_t mbox_make_from_line(int fd, uint64_t at, time_t when, char to[MBOX_FROM_LINE_MAX])
{
	char head[MBOX_SENDER_MAX + 32], sender[MBOX_SENDER_MAX + 1] = "MAILER-DAEMON", date[32];
	struct tm parts;
	ssize_t got = pread(fd, head, sizeof head, (off_t)at);
	struct span line = span_of(head, got > 0 ? (size_t)got : 0);
	if (span_equal_nocase(span_cut(&line, '<'), SPAN("Return-Path: "))) {
		struct span address = span_first(line, span_find(line, '>'));
		size_t len = address.len == line.len         ? 0
		             : address.len < MBOX_SENDER_MAX ? address.len
		                                             : MBOX_SENDER_MAX;
		for (size_t i = 0; i < len; i++)
			sender[i] = address.ptr[i] > ' ' && address.ptr[i] < 0x7f ? address.ptr[i] : '-';
		if (len)
			sender[len] = '\0';
	}
	if (when < 0 || when > YEAR_9999) /* a file's time may be anything */
		when = 0;
	(void)gmtime_r(&when, &parts);
	return (size_t)snprintf(to, MBOX_FROM_LINE_MAX, "From %s %s", sender, asctime_r(&parts, date));
}

/* What is missing before the next message can begin: its length, or <0. ERR_CORRUPT: the file is no mbox. */
static int look_at_file(int fd, uint64_t size)
{
	char head[5], tail[TAIL] = "\n\n\n";
	size_t len = size < TAIL ? (size_t)size : TAIL,
	       head_len = size < sizeof head ? (size_t)size : sizeof head;
	int err = file_read(fd, false, head, head_len, 0);
	if (err)
		return err;
	struct span begins = span_of(head, head_len);
	if (size && !mbox_line_is_from(begins) && mbox_line_end(begins) == 0)
		return ERR_CORRUPT;
	err = file_read(fd, false, tail + TAIL - len, len, size - len);
	if (err)
		return err;
	if (tail[2] != '\n')
		return 2;
	return tail[1] == '\n' || (tail[1] == '\r' && tail[0] == '\n') ? 0 : 1;
}

/* The message as it is stored, its From_ line aside, from `at` up to `end` at most. *ret_at: where it
 * ends. */
static int put_message(int fd, int message, uint64_t size, enum mbox_quoting quoting, uint64_t at,
                       uint64_t end, uint64_t *ret_at)
{
	struct mbox_quoter quoter;
	struct appending *appending = malloc(sizeof *appending);
	char *room = malloc(PIECE);
	int err = appending && room ? ERR_NONE : ERR_NOMEM;
	if (err == ERR_NONE) {
		appending->fd = fd;
		appending->err = ERR_NONE;
		appending->at = at;
		appending->end = end;
		appending->len = 0;
		appending->last = '\n';
		mbox_quoter_init(&quoter, quoting, put_octets, appending);
	}
	for (uint64_t done = 0; err == ERR_NONE && done < size;) {
		size_t len = size - done < PIECE ? (size_t)(size - done) : PIECE;
		err = file_read(message, false, room, len, done);
		if (err == ERR_NONE) {
			mbox_quoter_feed(&quoter, span_of(room, len));
			err = appending->err;
		}
		done += len;
	}
	if (err == ERR_NONE) {
		mbox_quoter_end(&quoter);
		put_octets(appending, appending->last == '\n' ? SPAN("\n") : SPAN("\n\n"));
		flush(appending);
		err = appending->err;
		*ret_at = appending->at;
	}
	free(appending);
	free(room);
	return err;
}

/* Where in the mbox a message is to lie. */
struct target {
	int fd, journal; /* -1: none can be had */
	struct journal_range range;
	uint64_t from_at, body_at;
	char from_line[MBOX_FROM_LINE_MAX];
	enum mbox_quoting quoting;
};

/* First of all the file gets as long as it will be, and an end like a message's: what others append to it is
 * theirs, and looks like it. */
static int write_message(const struct target *target, int message, uint64_t size)
{
	int fd = target->fd;
	uint64_t end = target->range.at + target->range.len, written;
	int err = ftruncate(fd, (off_t)end) == 0 ? ERR_NONE : err_from_errno(errno);
	if (err == ERR_NONE)
		err = file_write(fd, "\n\n", 2, end - 2);
	if (err == ERR_NONE)
		err = file_write(fd, "\n\n", target->from_at - target->range.at, target->range.at);
	if (err == ERR_NONE)
		err = file_write(fd, target->from_line + 1, target->body_at - target->from_at - 1,
		                 target->from_at + 1);
	if (err == ERR_NONE)
		err = put_message(fd, message, size, target->quoting, target->body_at, end, &written);
	if (err == ERR_NONE && written != end)
		err = ERR_CHANGED;
	if (err == ERR_NONE && fsync(fd) != 0)
		err = err_from_errno(errno);
	if (err == ERR_NONE)
		err = file_write(fd, target->from_line, 1, target->from_at);
	return err == ERR_NONE && fsync(fd) != 0 ? err_from_errno(errno) : err;
}

/* Appends and makes it durable; on failure the file is as long as it was. */
static int append_locked(struct target *target, uint64_t file_size, int message, uint64_t size)
{
	uint64_t end;
	int missing = look_at_file(target->fd, file_size);
	if (missing < 0)
		return missing;
	target->from_at = file_size + (unsigned)missing;
	target->body_at =
	    target->from_at +
	    mbox_make_from_line(message, 0, (time_t)(time_real_ns() / 1000000000u), target->from_line);
	int err = put_message(-1, message, size, target->quoting, target->body_at, INT64_MAX, &end);
	if (err)
		return err;
	target->range = (struct journal_range){file_size, end - file_size};
	if (target->journal >= 0)
		err = journal_note_append(target->journal, target->fd, &target->range, target->from_at);
	if (err)
		return err;
	err = write_message(target, message, size);
	if (err && (ftruncate(target->fd, (off_t)file_size) != 0 || fsync(target->fd) != 0))
		return err; /* whoever comes next sees to it */
	if (target->journal >= 0)
		journal_clear(target->journal);
	return err;
}

/* The journal, which is empty then; -1 where none can be had, and where what it holds can not be finished:
 * that does not keep mail out. */
static int get_journal(const struct mbox_lock *lock, struct stat *what)
{
	int journal = journal_open(lock->folder, lock->name, false);
	if (journal >= 0 && journal_finish(journal, lock->fd, what) != ERR_NONE) {
		(void)close(journal);
		journal = -1;
	}
	return journal;
}

static int deliver(const struct drop_root *root, int folder, const char *name,
                   const struct drop_incoming *incoming, uint64_t size, struct error *error)
{
	struct mbox_lock lock;
	struct stat what;
	int err = mbox_lock_take(folder, name, MBOX_LOCK_CREATE, &lock, &what, error);
	if (err)
		return err;
	struct target target = {.fd = lock.fd, .journal = get_journal(&lock, &what)};
	target.quoting = root->mbox.keep_quotes ? MBOX_QUOTE_PLAIN : MBOX_QUOTE_ALL;
	/* The file may have been made just now. */
	if (what.st_size == 0 && fsync(folder) != 0)
		err = err_from_errno(errno);
	if (err == ERR_NONE)
		err = append_locked(&target, (uint64_t)what.st_size, incoming->fd, size);
	if (target.journal >= 0)
		(void)close(target.journal);
	mbox_lock_drop(&lock);
	if (err)
		error_set(error, "mbox %s: the message can not be appended: %s", name,
		          err == ERR_CORRUPT ? "the file is no mbox" : err_text(err));
	return err;
}

/* --- quotas --- */

static int look(const void *maildrop, struct index_seen ret[INDEX_FOLDERS])
{
	const struct mbox *mbox = maildrop;
	struct stat what;
	if (fstatat(mbox->drop.folder, mbox->name, &what, AT_SYMLINK_NOFOLLOW) != 0)
		return err_from_errno(errno);
	mbox_see(&what, &mbox->rules, ret);
	return ERR_NONE;
}

/* By the index, brought up to date in memory: the one beside the mbox is for sessions to write. */
static int count(const void *maildrop, struct usage *ret, struct index_seen ret_seen[INDEX_FOLDERS])
{
	struct mbox mbox = *(const struct mbox *)maildrop;
	struct drop_report report;
	struct error error;
	struct index *index = &mbox.drop.index;
	int err = look(&mbox, ret_seen);
	if (err == ERR_NOTFOUND) {
		*ret = (struct usage){0};
		memset(ret_seen, 0, INDEX_FOLDERS * sizeof *ret_seen);
		return ERR_NONE;
	}
	if (err)
		return err;
	if (mbox_open_index(mbox.drop.folder, mbox.name, false, index) != ERR_NONE)
		index->fd = -1;
	if (index->fd < 0 || memcmp(index->head.seen, ret_seen, sizeof index->head.seen) != 0)
		err = mbox_update_index(&mbox, &report, &error);
	if (err == ERR_NONE) {
		*ret = (struct usage){index->head.count, index->head.octets};
		memcpy(ret_seen, index->head.seen, sizeof index->head.seen);
	}
	index_close(index);
	return err;
}

static int deliver_within(const struct drop_root *root, const struct mbox *mbox,
                          struct drop_incoming *incoming, const struct drop_quota *quota, uint64_t size,
                          struct error *error)
{
	static const struct usage_calls calls = {look, count};
	char name[NAME_OCTETS_MAX + 1];
	struct usage_guard usage;
	uint64_t octets = 0;
	mbox_file_name(mbox->name, MBOX_USAGE, name);
	int err = quota ? incoming_measure(incoming, &octets, error) : ERR_NONE;
	if (err == ERR_NONE)
		err = usage_begin(&usage, quota, octets, mbox->drop.folder, name, &calls, mbox, error);
	if (err)
		return err;
	err = deliver(root, mbox->drop.folder, mbox->name, incoming, size, error);
	usage_end(&usage, err == ERR_NONE);
	return err;
}

int mbox_deliver(const struct drop_root *root, const char *path, struct drop_incoming *incoming,
                 const struct drop_quota *quota, struct drop_delivered *ret, struct error *error)
{
	struct stat what;
	struct mbox mbox = {
	    .drop = {.kind = &mbox_kind, .lock = -1, .index.fd = -1},
              .rules = root->mbox
        };
	if (fstat(incoming->fd, &what) != 0)
		return ERR_IO;
	int err = mbox_open_folder(root, path, false, &mbox.drop.folder, mbox.name, error);
	if (err)
		return err;
	err = deliver_within(root, &mbox, incoming, quota, (uint64_t)what.st_size, error);
	(void)close(mbox.drop.folder);
	if (err == ERR_NONE)
		*ret = (struct drop_delivered){.raw = (uint64_t)what.st_size};
	return err;
}
