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
#include "drop/scan.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum {
	REWRITE_CHEAP_MAX = 20000, /* messages read anew in a few seconds, should a crash take the index */
	FIND_TRIES_MAX = 8,        /* searches for a message that is renamed all the time */
};

static uint64_t boot_ns(void)
{
	struct timespec up = {0};
	(void)clock_gettime(CLOCK_BOOTTIME, &up);
	return time_real_ns() - file_ns(up);
}

/* Whether the folders are what they were when the index was written. An index from before the machine
 * was started may have lost octets that were never written out; it is read whole, and so checked, once. */
static bool is_fresh(const struct index *index, const struct index_seen seen[INDEX_FOLDERS])
{
	for (unsigned i = 0; i < INDEX_FOLDERS; i++)
		if (index->head.seen[i].changed_ns == 0 || index->head.seen[i].inode != seen[i].inode ||
		    index->head.seen[i].changed_ns != seen[i].changed_ns)
			return false;
	return index->head.written_ns >= boot_ns();
}

static int write_beside(int folder, const struct catalog *catalog,
                        const struct index_seen seen[INDEX_FOLDERS], struct index *ret)
{
	(void)unlinkat(folder, INDEX_NAME_NEW, 0); /* left by a crash: we are alone */
	int fd = file_create(folder, INDEX_NAME_NEW, 0600);
	if (fd < 0)
		return err_from_errno(errno);
	int err = index_write(fd, false, catalog, seen, ret);
	/* File systems write a file out at once that is renamed over another, to spare careless programs a
	 * loss. Where reading all messages anew is no disaster, that costs more than the index is worth. */
	if (err == ERR_NONE && catalog->count < REWRITE_CHEAP_MAX)
		(void)unlinkat(folder, INDEX_NAME, 0);
	if (err == ERR_NONE && renameat(folder, INDEX_NAME_NEW, folder, INDEX_NAME) != 0)
		err = err_from_errno(errno);
	if (err) {
		(void)unlinkat(folder, INDEX_NAME_NEW, 0);
		(void)close(fd);
	}
	return err;
}

/* Writes the index beside the messages or, where that can not be done (read-only, full), into a memory
 * file for this session. */
static int write_index(int folder, const struct catalog *catalog, const struct index_seen seen[INDEX_FOLDERS],
                       struct index *ret)
{
	if (write_beside(folder, catalog, seen, ret) == ERR_NONE)
		return ERR_NONE;
	int fd = memfd_create("restante-index", MFD_CLOEXEC);
	if (fd < 0)
		return err_from_errno(errno);
	int err = index_write(fd, true, catalog, seen, ret);
	if (err)
		(void)close(fd);
	return err;
}

/* Reads the folders and brings drop->index, which is open or not (fd -1), up to date. */
static int update_index(struct drop *drop, struct drop_report *report)
{
	struct catalog catalog;
	struct index_seen seen[INDEX_FOLDERS];
	bool altered;
	catalog_init(&catalog, time_real_ns());
	int err = drop->index.fd < 0 ? ERR_CORRUPT : index_load(&drop->index, &catalog);
	if (err && err != ERR_NOMEM) { /* begin without it */
		index_close(&drop->index);
		catalog_finish(&catalog);
		catalog_init(&catalog, time_real_ns());
		err = ERR_NONE;
	}
	if (err == ERR_NONE)
		err = scan_update(drop->folder, &catalog, DROP_MESSAGES_MAX, seen, &altered, report);
	if (err == ERR_NONE) {
		if (drop->index.fd >= 0 && !altered) {
			index_touch(&drop->index, drop->folder, seen);
		} else {
			index_close(&drop->index);
			err = write_index(drop->folder, &catalog, seen, &drop->index);
			report->unwritten = err == ERR_NONE && drop->index.memory;
		}
	}
	catalog_finish(&catalog);
	return err;
}

/* Who renews the index does it alone: sessions that share the maildrop wait, and find it done. Makes folders
 * that are missing; close *ret_guard in the end. */
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
	while (flock(guard, LOCK_EX) != 0)
		if (errno != EINTR) {
			(void)close(guard);
			return ERR_IO;
		}
	*ret_guard = guard;
	return ERR_NONE;
}

/* A valid index, and folders as it says: done. */
static int open_index(struct drop *drop, const char *path, bool nowait, struct drop_report *report,
                      struct error *error)
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
	if (drop->index.fd >= 0 && is_fresh(&drop->index, seen)) {
		report->messages = drop->index.head.count;
		return ERR_NONE;
	}
	if (nowait)
		return ERR_AGAIN;
	err = update_index(drop, report);
	if (err)
		error_set(error, "maildrop %s: can not read its messages: %s", path, err_text(err));
	return err;
}

static int open_index_alone(struct drop *drop, const char *path, struct drop_report *report,
                            struct error *error)
{
	int guard;
	int err = lock_index(drop->folder, path, &guard, error);
	if (err)
		return err;
	err = open_index(drop, path, false, report, error);
	(void)close(guard);
	return err;
}

static int reindex(struct drop *drop, struct drop_report *report, struct error *error)
{
	int guard;
	*report = (struct drop_report){0};
	index_close(&drop->index);
	int err = lock_index(drop->folder, ".", &guard, error);
	if (err)
		return err;
	err = update_index(drop, report);
	(void)close(guard);
	if (err)
		error_set(error, "can not read the messages: %s", err_text(err));
	return err;
}

static void close_drop(struct drop *drop)
{
	index_close(&drop->index);
	if (drop->folder >= 0)
		(void)close(drop->folder);
	free(drop);
}

static int open_drop(const struct drop_root *root, const char *path, unsigned flags, struct drop **ret,
                     struct drop_report *ret_report, struct error *error)
{
	bool nowait = flags & DROP_NOWAIT, shared = flags & DROP_SHARED;
	struct drop_report report = {0};
	struct drop *drop = malloc(sizeof *drop);
	if (!drop)
		return ERR_NOMEM;
	*drop = (struct drop){.kind = &maildir_kind, .folder = -1, .shared = shared, .index.fd = -1};
	int err = maildir_open_folder(root, path, nowait, &drop->folder, error);
	if (err == ERR_NONE && flock(drop->folder, (shared ? LOCK_SH : LOCK_EX) | LOCK_NB) != 0) {
		err = errno == EWOULDBLOCK ? ERR_BUSY : ERR_IO;
		error_set(error, "maildrop %s: can not be locked: %m", path);
	}
	if (err == ERR_NONE)
		err = nowait ? open_index(drop, path, true, &report, error)
		             : open_index_alone(drop, path, &report, error);
	if (err) {
		close_drop(drop);
		return err;
	}
	*ret_report = report;
	*ret = drop;
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
	*ret = (struct drop_body){
	    .fd = fd,
	    .length = row.raw,
	    .wire = row.wire,
	    .header = row.header,
	    .crlf = row.flags & INDEX_CRLF,
	    .no_dots = row.flags & INDEX_NO_DOTS,
	};
	return ERR_NONE;
}

const struct drop_kind maildir_kind = {
    .name = "maildir",
    .open = open_drop,
    .body = open_body,
    .commit = maildir_commit,
    .discard = discard_index,
    .begin = maildir_begin,
    .deliver = maildir_deliver,
    .reindex = reindex,
    .close = close_drop,
};
