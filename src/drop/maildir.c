/* SPDX-License-Identifier: MIT */
/*
 * Maildir behind drop.h. Runs in the keeper: in its loop with DROP_NOWAIT, else in its disk threads.
 * Other programs deliver, rename and delete beside us without any lock; the maildrop's owner may have
 * put anything there.
 */
#include "drop/maildir.h"

#include "base/time.h"
#include "drop/catalog.h"
#include "drop/file.h"
#include "drop/message.h"
#include "drop/ring.h"
#include "drop/scan.h"
#include "drop/update.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
	INDEX_LOCK_MS = 2000, /* how long a thread waits for another program or keeper to renew an index */
	FIND_TRIES_MAX = 8,   /* searches for a message that is renamed all the time */
};

/* Who renews the index does it alone: sessions that share the maildrop wait a while, and find it done. Makes
 * folders that are missing; close *ret_guard in the end. */
static int lock_index(int folder, const char *path, int *ret_guard, struct error *error)
{
	struct index_seen seen[INDEX_FOLDERS];
	int err = scan_look(folder, seen);
	if (err == ERR_NOTFOUND)
		err = maildir_make_folders(folder, path, error);
	int guard = err ? -1 : file_open(folder, "new", O_RDONLY | O_DIRECTORY, false);
	if (err || guard < 0) {
		err = err ? err : err_from_errno(errno);
		error_set(error, "maildrop %s: new/ or cur/ can not be used: %s", path, err_text(err));
		return err;
	}
	err = file_lock_within(guard, INDEX_LOCK_MS);
	if (err) {
		(void)close(guard);
		error_set(error, "maildrop %s: its index is being renewed by somebody else: %s", path,
		          err_text(err));
	} else {
		*ret_guard = guard;
	}
	return err;
}

/* Whether there is a valid index, and folders as it says; drop->index is open if it is valid. */
static int open_index(struct drop *drop, const char *path, bool nowait, bool *ret_fresh, struct error *error)
{
	struct index_seen seen[INDEX_FOLDERS];
	int err = index_open(drop->folder, nowait, &drop->index);
	if (err == ERR_FULL || err == ERR_NOMEM) {
		error_set(error, "maildrop %s: can not open its index: %s", path, err_text(err));
		return err;
	}
	if (err && nowait)
		return ERR_AGAIN;
	err = scan_look(drop->folder, seen);
	if (err) {
		error_set(error, "maildrop %s: new/ or cur/ can not be used: %s", path, err_text(err));
		return nowait ? ERR_AGAIN : err;
	}
	*ret_fresh = drop->index.fd >= 0 && index_is_fresh(&drop->index, seen);
	return ERR_NONE;
}

static void end_update(struct maildir *maildir)
{
	if (maildir->update)
		update_end(maildir->update);
	if (maildir->guard >= 0)
		(void)close(maildir->guard);
	maildir->update = NULL;
	maildir->guard = -1;
}

/* Goes on with the update until it is done, or `until_ms` comes. */
static int go_on(struct maildir *maildir, uint64_t until_ms, struct drop_report *report, struct error *error)
{
	int err = update_step(maildir->update, &maildir->drop, until_ms, report);
	if (err == ERR_AGAIN)
		return err;
	if (err)
		error_set(error, "can not read the messages: %s", err_text(err));
	end_update(maildir);
	return err;
}

/* Begins to bring the index up to date, unless somebody else has just done it. */
static int begin_update(struct maildir *maildir, const char *path, struct drop_report *report,
                        struct error *error)
{
	bool fresh;
	struct drop *drop = &maildir->drop;
	int err = lock_index(drop->folder, path, &maildir->guard, error);
	if (err == ERR_NONE)
		err = open_index(drop, path, false, &fresh, error);
	if (err == ERR_NONE && fresh) {
		report->messages = drop->index.head.count;
		end_update(maildir);
		return ERR_NONE;
	}
	if (err)
		return err;
	err = update_begin(drop, &maildir->update);
	if (err)
		error_set(error, "maildrop %s: can not read its messages: %s", path, err_text(err));
	return err;
}

static int prepare(struct drop *drop, struct drop_report *report, struct error *error)
{
	struct maildir *maildir = (struct maildir *)drop;
	return maildir->update ? go_on(maildir, time_mono_ms() + DROP_STEP_MS, report, error) : ERR_NONE;
}

static int reindex(struct drop *drop, struct drop_report *report, struct error *error)
{
	struct maildir *maildir = (struct maildir *)drop;
	*report = (struct drop_report){0};
	index_close(&drop->index);
	int err = lock_index(drop->folder, ".", &maildir->guard, error);
	if (err == ERR_NONE)
		err = update_begin(drop, &maildir->update);
	if (err == ERR_NONE)
		return go_on(maildir, UINT64_MAX, report, error);
	end_update(maildir);
	return err;
}

static int count_files(struct drop *drop, uint64_t *ret_messages)
{
	struct catalog catalog;
	struct usage usage;
	struct index_seen seen[INDEX_FOLDERS];
	catalog_init(&catalog, 0);
	int err = scan_count(drop->folder, &catalog, &usage, seen);
	catalog_finish(&catalog);
	if (err == ERR_NONE)
		*ret_messages = usage.messages;
	return err;
}

static void close_drop(struct drop *drop)
{
	struct maildir *maildir = (struct maildir *)drop;
	if (maildir->update)
		update_save(maildir->update, drop);
	end_update(maildir);
	maildir_end_commit(maildir);
	index_close(&drop->index);
	if (drop->folder >= 0)
		(void)close(drop->folder);
	free(maildir);
}

/* The folder is locked: its index. */
static int open_locked(struct maildir *maildir, const char *path, unsigned flags, struct drop_report *report,
                       struct error *error)
{
	if (flags & DROP_NOWAIT) {
		bool fresh;
		int err = open_index(&maildir->drop, path, true, &fresh, error);
		report->messages = maildir->drop.index.head.count;
		return err == ERR_NONE && !fresh ? ERR_AGAIN : err;
	}
	int err = begin_update(maildir, path, report, error);
	bool now = err == ERR_NONE && maildir->update && !(flags & DROP_STEPS);
	return now ? go_on(maildir, UINT64_MAX, report, error) : err;
}

static int open_drop(const struct drop_root *root, const char *path, unsigned flags, struct drop **ret,
                     struct drop_report *ret_report, struct error *error)
{
	bool shared = flags & DROP_SHARED;
	struct drop_report report = {0};
	struct maildir *maildir = malloc(sizeof *maildir);
	if (!maildir)
		return ERR_NOMEM;
	*maildir = (struct maildir){
	    .drop = {.kind = &maildir_kind, .folder = -1, .shared = shared, .index.fd = -1},
              .guard = -1
        };
	int err = maildir_open_folder(root, path, flags & DROP_NOWAIT, &maildir->drop.folder, error);
	maildir->drop.lock = maildir->drop.folder;
	if (err == ERR_NONE && flock(maildir->drop.lock, (shared ? LOCK_SH : LOCK_EX) | LOCK_NB) != 0) {
		err = errno == EWOULDBLOCK ? ERR_BUSY : ERR_IO;
		error_set(error, "maildrop %s: can not be locked: %m", path);
	}
	if (err == ERR_NONE)
		err = open_locked(maildir, path, flags, &report, error);
	if (err) {
		close_drop(&maildir->drop);
		return err;
	}
	*ret_report = report;
	*ret = &maildir->drop;
	return ERR_NONE;
}

static void discard_index(struct drop *drop)
{
	index_discard(drop->folder);
}

/* Opens the first message of the catalog under the name it has by now. ERR_AGAIN: it may have been overlooked
 * while the folders changed, or moved on again. */
static int find_renamed(struct drop *drop, struct catalog *catalog, int *ret_fd, struct stat *ret_what)
{
	bool stable;
	char now[INDEX_PATH_MAX];
	int err = scan_find(drop->folder, catalog, &stable);
	if (err)
		return err;
	if (!catalog->messages[0].seen)
		return stable ? ERR_NOTFOUND : ERR_AGAIN;
	message_path(&catalog->messages[0].row, catalog_name(catalog, &catalog->messages[0]), now);
	err = message_open(drop->folder, now, false, ret_fd, ret_what);
	return err == ERR_NOTFOUND ? ERR_AGAIN : err;
}

static int open_renamed(struct drop *drop, const struct index_row *row, const char *path, int *ret_fd,
                        struct stat *ret_what)
{
	struct catalog catalog;
	catalog_init(&catalog, 0);
	int err = catalog_add(&catalog, row, span_str(path + 4));
	if (err == ERR_NONE)
		err = ERR_AGAIN;
	for (unsigned tries = 0; err == ERR_AGAIN && tries < FIND_TRIES_MAX; tries++)
		err = find_renamed(drop, &catalog, ret_fd, ret_what);
	catalog_finish(&catalog);
	return err == ERR_AGAIN ? ERR_BUSY : err;
}

static int open_row(struct drop *drop, const struct index_row *row, const char *path, bool nowait,
                    int *ret_fd)
{
	int fd;
	struct stat what;
	int err = message_open(drop->folder, path, nowait, &fd, &what);
	if (err == ERR_NOTFOUND && nowait)
		return ERR_AGAIN; /* looking for it takes time */
	if (err == ERR_NOTFOUND)
		err = open_renamed(drop, row, path, &fd, &what);
	if (err)
		return err;
	/* Readable by now, but it was listed by guess. */
	if (row->flags & INDEX_UNREADABLE)
		err = ERR_DENIED;
	else if (!message_is_same(row, &what))
		err = ERR_CHANGED;
	if (err)
		(void)close(fd);
	else
		*ret_fd = fd;
	return err;
}

static struct drop_body body_of(const struct index_row *row)
{
	return (struct drop_body){
	    .fd = -1,
	    .length = row->raw,
	    .wire = row->wire,
	    .header = row->header,
	    .crlf = row->flags & INDEX_CRLF,
	    .no_dots = row->flags & INDEX_NO_DOTS,
	};
}

static int open_body(struct drop *drop, uint32_t number, unsigned flags, struct drop_body *ret)
{
	bool nowait = flags & DROP_NOWAIT;
	struct index_row row;
	char path[INDEX_PATH_MAX];
	int fd = -1;
	int err = index_row(&drop->index, number, nowait, &row, path);
	if (err == ERR_NONE)
		err = open_row(drop, &row, path, nowait, &fd);
	if (err == ERR_CORRUPT || err == ERR_CHANGED)
		index_discard(drop->folder);
	if (err)
		return err;
	*ret = body_of(&row);
	ret->fd = fd;
	return ERR_NONE;
}

_Static_assert((int)DROP_BATCH_MAX <= (int)RING_FILES_MAX, "a batch is one of the ring's");

/* A small message to be read. */
struct small {
	char path[INDEX_PATH_MAX];
	uint64_t content;
	unsigned at; /* in the caller's list */
};

static unsigned read_small(struct drop *drop, const uint32_t *numbers, unsigned count, unsigned flags,
                           char *room, size_t room_size, struct drop_body *ret)
{
	bool nowait = flags & DROP_NOWAIT;
	struct small small[DROP_BATCH_MAX];
	struct ring_read reads[DROP_BATCH_MAX];
	struct index_row row;
	unsigned known = 0, wanted = 0;
	for (size_t used = 0; known < count && known < DROP_BATCH_MAX; known++) {
		struct small *next = &small[wanted];
		ret[known].here = NULL;
		if (index_row(&drop->index, numbers[known], nowait, &row, next->path) != ERR_NONE ||
		    !row.content || row.raw > DROP_SMALL_MAX)
			continue;
		if (row.raw >= room_size - used)
			break;
		next->content = row.content;
		next->at = known;
		ret[known] = body_of(&row);
		/* One octet more than there should be is asked for: a file that grew is not the same. */
		reads[wanted++] = (struct ring_read){next->path, room + used, (size_t)row.raw + 1, 0};
		used += row.raw;
	}
	ring_read_files(drop->folder, reads, wanted, nowait);
	for (unsigned i = 0; i < wanted; i++) {
		struct drop_body *body = &ret[small[i].at];
		if (reads[i].result == (int)body->length &&
		    message_sum(span_of(reads[i].to, body->length)) == small[i].content)
			body->here = reads[i].to;
	}
	return known;
}

const struct drop_kind maildir_kind = {
    .name = "maildir",
    .open = open_drop,
    .body = open_body,
    .read_small = read_small,
    .commit = maildir_commit,
    .discard = discard_index,
    .begin = maildir_begin,
    .deliver = maildir_deliver,
    .reindex = reindex,
    .prepare = prepare,
    .count = count_files,
    .close = close_drop,
};
