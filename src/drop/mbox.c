/* SPDX-License-Identifier: MIT */
/*
 * mbox behind drop.h. Runs in the keeper: in its loop with DROP_NOWAIT, else in its disk threads. Other
 * programs append to the mbox, rewrite and replace it at any time: a session holds a lock of its own, which
 * keeps out other sessions and nobody else, and the mbox's locks only while it reads or alters the file. So
 * what it knows of the file is compared before it is relied on.
 */
#include "drop/mbox.h"

#include "drop/catalog.h"
#include "drop/file.h"
#include "drop/mbox_journal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
	SHORT_MAX = 65536, /* octets of a message that is compared or unquoted in the keeper's loop */
};

void mbox_file_name(const char *name, enum mbox_file file, char to[NAME_OCTETS_MAX + 1])
{
	static const char *const endings[] = {"index", "index.new", "journal", "usage", "lock"};
	(void)snprintf(to, NAME_OCTETS_MAX + 1, ".%.*s.restante-%s", MBOX_NAME_MAX, name, endings[file]);
}

int mbox_open_folder(const struct drop_root *root, const char *path, bool nowait, int *ret_folder,
                     char ret_name[MBOX_NAME_MAX + 1], struct error *error)
{
	char parent[sizeof root->path];
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
	size_t len = strlen(name);
	/* "bob.lock" would be the mbox of one and the lock of another. */
	if (name[0] == '.' || len > MBOX_NAME_MAX || (len >= 5 && strcmp(name + len - 5, ".lock") == 0)) {
		error_set(error,
		          "mbox %s: a name of at most %d octets, not beginning with '.' nor ending in "
		          "\".lock\", is needed",
		          path, MBOX_NAME_MAX);
		return ERR_SYNTAX;
	}
	(void)snprintf(parent, sizeof parent, "%.*s", slash ? (int)(slash - path) : 1, slash ? path : ".");
	int fd = file_open(root->fd, parent, O_RDONLY | O_DIRECTORY, nowait);
	if (fd < 0) {
		int err = err_from_errno(errno);
		error_set(error, "mbox %s: its folder can not be opened: %m", path);
		return err == ERR_NOTREGULAR ? ERR_CORRUPT : err;
	}
	memcpy(ret_name, name, len + 1);
	*ret_folder = fd;
	return ERR_NONE;
}

/* --- open --- */

/* Opens what the session locks: the journal, which is made if need be; or, where the folder may not be
 * written, the mbox itself. Without either there is nothing to lock. */
static int open_session(struct mbox *mbox, bool nowait)
{
	mbox->has_journal = true;
	mbox->drop.lock = journal_open(mbox->drop.folder, mbox->name, nowait);
	if (mbox->drop.lock >= 0 || nowait)
		return mbox->drop.lock >= 0 ? ERR_NONE : ERR_AGAIN;
	mbox->has_journal = false;
	if (errno != EACCES && errno != EPERM && errno != EROFS && errno != ENOSPC && errno != EDQUOT)
		return err_from_errno(errno);
	mbox->drop.lock = file_open(mbox->drop.folder, mbox->name, O_RDONLY | O_NONBLOCK | O_NOCTTY, false);
	return mbox->drop.lock >= 0 || errno == ENOENT ? ERR_NONE : err_from_errno(errno);
}

static int explain_journal(const struct mbox *mbox, int err, struct error *error)
{
	if (err != ERR_CHANGED) {
		error_set(error,
		          "mbox %s: an interrupted removal or delivery of messages can not be finished: %s",
		          mbox->name, err_text(err));
		return err;
	}
	error_set(error,
	          "mbox %s: a removal of messages was interrupted, and another program has "
	          "rewritten or removed the file since; look at it, then remove .%s.restante-journal",
	          mbox->name, mbox->name);
	return ERR_CORRUPT;
}

int mbox_lock(const struct mbox *mbox, enum mbox_lock_for what_for, struct mbox_lock *ret,
              struct stat *ret_what, struct error *error)
{
	struct mbox_lock lock;
	int err = mbox_lock_take(mbox->drop.folder, mbox->name, what_for, &lock, ret_what, error);
	if (err == ERR_NONE && mbox->has_journal && lock.exclusive) {
		err = journal_finish(mbox->drop.lock, lock.fd, ret_what);
		if (err) {
			mbox_lock_drop(&lock);
			err = explain_journal(mbox, err, error);
		}
	}
	if (err == ERR_NONE)
		*ret = lock;
	return err;
}

/* Finishes what was begun before the session. */
static int recover(const struct mbox *mbox, struct error *error)
{
	struct mbox_lock lock;
	struct stat what;
	int err = mbox_lock(mbox, MBOX_LOCK_WRITE, &lock, &what, error);
	if (err == ERR_NONE)
		mbox_lock_drop(&lock);
	if (err != ERR_NOTFOUND)
		return err;
	err = journal_finish(mbox->drop.lock, -1, &(struct stat){0});
	return err ? explain_journal(mbox, err, error) : ERR_NONE;
}

static int lock_session(struct mbox *mbox, bool nowait, struct error *error)
{
	struct stat what;
	int err = open_session(mbox, nowait);
	if (err == ERR_NONE && mbox->drop.lock >= 0 && flock(mbox->drop.lock, LOCK_EX | LOCK_NB) != 0)
		err = errno == EWOULDBLOCK ? ERR_BUSY : ERR_IO;
	if (err == ERR_NONE && mbox->drop.lock >= 0 && fstat(mbox->drop.lock, &what) != 0)
		err = ERR_IO;
	if (err == ERR_NONE && mbox->drop.lock >= 0 && !S_ISREG(what.st_mode))
		err = ERR_NOTREGULAR;
	if (err) {
		error_set(error, "mbox %s: can not be locked for a session: %s", mbox->name, err_text(err));
		return err;
	}
	if (mbox->has_journal && mbox_lock_is_there(mbox->drop.folder, mbox->name)) {
		if (nowait)
			return ERR_AGAIN;
		mbox_lock_clean(mbox->drop.folder, mbox->name);
	}
	if (!mbox->has_journal || what.st_size == 0)
		return ERR_NONE;
	return nowait ? ERR_AGAIN : recover(mbox, error);
}

/* An mbox that is not there is an empty one; whoever delivers makes it. */
static int open_missing(struct mbox *mbox)
{
	struct catalog none;
	const struct index_seen seen[INDEX_FOLDERS] = {0};
	catalog_init(&none, 0);
	int err = mbox_write_index(&(struct mbox){.has_journal = false}, &none, seen, &mbox->drop.index);
	catalog_finish(&none);
	return err;
}

static int look_up(struct mbox *mbox, bool nowait, struct drop_report *report, struct error *error)
{
	struct stat what;
	struct index_seen seen[INDEX_FOLDERS];
	if (fstatat(mbox->drop.folder, mbox->name, &what, AT_SYMLINK_NOFOLLOW) != 0) {
		if (errno == ENOENT)
			return open_missing(mbox);
		error_set(error, "mbox %s: %m", mbox->name);
		return err_from_errno(errno);
	}
	if (!S_ISREG(what.st_mode)) {
		error_set(error, "mbox %s: is no regular file", mbox->name);
		return ERR_CORRUPT;
	}
	int err = mbox_open_index(mbox->drop.folder, mbox->name, nowait, &mbox->drop.index);
	if (err == ERR_FULL || err == ERR_NOMEM || err == ERR_AGAIN)
		return err;
	mbox_see(&what, &mbox->rules, seen);
	if (err == ERR_NONE && index_is_fresh(&mbox->drop.index, seen)) {
		report->messages = mbox->drop.index.head.count;
		return ERR_NONE;
	}
	return nowait ? ERR_AGAIN : mbox_update_index(mbox, report, error);
}

static void close_mbox(struct drop *drop)
{
	struct mbox *mbox = (struct mbox *)drop;
	index_close(&drop->index);
	if (mbox->drop.lock >= 0)
		(void)close(mbox->drop.lock);
	if (drop->folder >= 0)
		(void)close(drop->folder);
	free(mbox);
}

static int open_mbox(const struct drop_root *root, const char *path, unsigned flags, struct drop **ret,
                     struct drop_report *ret_report, struct error *error)
{
	bool nowait = flags & DROP_NOWAIT;
	struct drop_report report = {0};
	struct mbox *mbox = malloc(sizeof *mbox);
	if (!mbox)
		return ERR_NOMEM;
	*mbox = (struct mbox){
	    .drop = {.kind = &mbox_kind, .folder = -1, .lock = -1, .index.fd = -1},
	    .rules = root->mbox,
	};
	int err = mbox_open_folder(root, path, nowait, &mbox->drop.folder, mbox->name, error);
	if (err == ERR_NONE)
		err = lock_session(mbox, nowait, error);
	if (err == ERR_NONE)
		err = look_up(mbox, nowait, &report, error);
	if (err) {
		close_mbox(&mbox->drop);
		return err;
	}
	*ret_report = report;
	*ret = &mbox->drop;
	return ERR_NONE;
}

static int reindex(struct drop *drop, struct drop_report *report, struct error *error)
{
	*report = (struct drop_report){0};
	index_close(&drop->index);
	return mbox_update_index((struct mbox *)drop, report, error);
}

static void discard_index(struct drop *drop)
{
	char name[NAME_OCTETS_MAX + 1];
	mbox_file_name(((struct mbox *)drop)->name, MBOX_INDEX, name);
	(void)unlinkat(drop->folder, name, 0);
}

/* --- bodies --- */

/* Whether what the row says still lies there. */
static int compare(const struct mbox *mbox, int fd, bool nowait, const struct index_row *row,
                   const struct mbox_place *place)
{
	struct stat what;
	struct index_seen seen[INDEX_FOLDERS];
	const struct index_seen *known = mbox->drop.index.head.seen;
	if (fstat(fd, &what) != 0 || !S_ISREG(what.st_mode))
		return ERR_CHANGED;
	mbox_see(&what, &mbox->rules, seen);
	if (memcmp(seen, known, sizeof seen) == 0)
		return ERR_NONE;
	if (seen[MBOX_SEEN_FILE].inode != known[MBOX_SEEN_FILE].inode)
		return ERR_CHANGED; /* replaced by another file */
	if (nowait && place->stored > SHORT_MAX)
		return ERR_AGAIN;
	uint64_t sum;
	int err = mbox_sum_place(fd, nowait, place, &sum);
	return err == ERR_NONE && sum != row->modified_ns ? ERR_CHANGED : err;
}

struct copy {
	int fd, err;
	uint64_t at;
};

static void copy_octets(void *owner, struct span octets)
{
	struct copy *copy = owner;
	if (copy->err == ERR_NONE)
		copy->err = file_write(copy->fd, octets.ptr, octets.len, copy->at);
	copy->at += octets.len;
}

/* A memory file with the message as it was before it was quoted. */
static int unquote(int fd, const struct index_row *row, const struct mbox_place *place, int *ret_fd)
{
	enum { PIECE = 65536 };
	struct mbox_quoter quoter;
	struct copy copy = {.fd = memfd_create("restante-message", MFD_CLOEXEC)};
	char *piece = malloc(PIECE);
	int err = copy.fd < 0 || !piece ? ERR_NOMEM : ERR_NONE;
	mbox_quoter_init(&quoter, MBOX_UNQUOTE, copy_octets, &copy);
	for (uint64_t done = 0; err == ERR_NONE && done < place->stored;) {
		uint64_t left = place->stored - done;
		size_t len = left < PIECE ? (size_t)left : PIECE;
		err = file_read(fd, false, piece, len, place->at + place->from_len + done);
		if (err == ERR_NONE)
			mbox_quoter_feed(&quoter, span_of(piece, len));
		done += len;
	}
	mbox_quoter_end(&quoter);
	free(piece);
	if (err == ERR_NONE)
		err = copy.err ? copy.err : copy.at != row->raw ? ERR_CHANGED : ERR_NONE;
	if (err && copy.fd >= 0)
		(void)close(copy.fd);
	else if (err == ERR_NONE)
		*ret_fd = copy.fd;
	return err == ERR_CORRUPT ? ERR_CHANGED : err;
}

static int open_place(struct mbox *mbox, const struct index_row *row, const struct mbox_place *place,
                      bool nowait, struct drop_body *ret)
{
	int fd = file_open(mbox->drop.folder, mbox->name, O_RDONLY | O_NONBLOCK | O_NOCTTY, nowait);
	if (fd < 0)
		return err_from_errno(errno);
	int err = compare(mbox, fd, nowait, row, place);
	uint64_t offset = place->at + place->from_len;
	if (err == ERR_NONE && row->raw != place->stored) {
		int copy = -1;
		err = nowait && place->stored > SHORT_MAX ? ERR_AGAIN : unquote(fd, row, place, &copy);
		(void)close(fd);
		fd = copy;
		offset = 0;
	}
	if (err == ERR_NONE)
		*ret = (struct drop_body){
		    .fd = fd,
		    .offset = offset,
		    .length = row->raw,
		    .wire = row->wire,
		    .header = row->header,
		    .crlf = row->flags & INDEX_CRLF,
		    .no_dots = row->flags & INDEX_NO_DOTS,
		};
	else if (fd >= 0)
		(void)close(fd);
	return err;
}

static int open_body(struct drop *drop, uint32_t number, unsigned flags, struct drop_body *ret)
{
	bool nowait = flags & DROP_NOWAIT;
	struct index_row row;
	struct mbox_place place;
	char path[INDEX_PATH_MAX];
	int err = index_row(&drop->index, number, nowait, &row, path);
	if (err == ERR_NONE)
		err = mbox_get_place(&row, span_str(path + 4), &place);
	if (err == ERR_NONE)
		err = open_place((struct mbox *)drop, &row, &place, nowait, ret);
	if (err == ERR_CORRUPT || err == ERR_CHANGED)
		discard_index(drop);
	return err;
}

const struct drop_kind mbox_kind = {
    .name = "mbox",
    .open = open_mbox,
    .body = open_body,
    .commit = mbox_commit,
    .discard = discard_index,
    .reindex = reindex,
    .begin = mbox_begin,
    .deliver = mbox_deliver,
    .close = close_mbox,
};
