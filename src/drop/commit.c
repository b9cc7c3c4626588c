/* SPDX-License-Identifier: MIT */
/*
 * Removing messages for good. Runs in the keeper's disk threads. The marks come from a worker, which may
 * have been taken over: they reach this maildrop's messages and nothing else. What lies under a message's
 * name may be another file by now, which is nobody's to delete.
 *
 * The index is left as it is: the folders have changed, so the next open compares anyway.
 */
#include "base/time.h"
#include "drop/catalog.h"
#include "drop/file.h"
#include "drop/maildir.h"
#include "drop/marks.h"
#include "drop/message.h"
#include "drop/scan.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

enum { TRIES_MAX = 8 }; /* searches for messages that are renamed all the time */

struct commit {
	struct drop *drop;
	uint32_t next; /* message to look at */
	uint32_t removed;
	bool touched[INDEX_FOLDERS];
	struct catalog missing; /* not there under the name we know */
	struct error *error;
};

/* Before anything is removed: the index must know every marked message. */
static int check_marks(const struct drop *drop, struct span bitmap)
{
	struct index_row row;
	char path[INDEX_PATH_MAX];
	uint32_t count = drop_count(drop);
	int err = marks_check(bitmap, count);
	for (uint32_t number = 1; err == ERR_NONE && number <= count; number++)
		if (marks_has(bitmap, number))
			err = index_row(&drop->index, number, false, &row, path);
	return err;
}

enum outcome { REMOVED, MISSING, ANOTHER };

/* ANOTHER: another file lies there by now. */
static int remove_file(struct commit *commit, const struct index_row *row, const char *path,
                       enum outcome *ret)
{
	struct stat what;
	int folder = commit->drop->folder;
	int failed = fstatat(folder, path, &what, AT_SYMLINK_NOFOLLOW);
	if (!failed && (what.st_ino != row->inode || !S_ISREG(what.st_mode))) {
		*ret = ANOTHER;
		return ERR_NONE;
	}
	if (!failed)
		failed = unlinkat(folder, path, 0);
	if (failed && errno != ENOENT) {
		int err = err_from_errno(errno);
		error_set(commit->error, "%s: can not be removed: %m", path);
		return err;
	}
	if (!failed)
		commit->touched[row->flags & INDEX_IN_CUR ? INDEX_CUR : INDEX_NEW] = true;
	*ret = failed ? MISSING : REMOVED;
	return ERR_NONE;
}

static int remove_message(struct commit *commit, uint32_t number)
{
	struct index_row row;
	char path[INDEX_PATH_MAX];
	enum outcome outcome = MISSING;
	int err = index_row(&commit->drop->index, number, false, &row, path);
	if (err == ERR_NONE)
		err = remove_file(commit, &row, path, &outcome);
	if (err)
		return err;
	if (outcome != REMOVED)
		return catalog_add(&commit->missing, &row, span_str(path + 4));
	commit->removed++;
	return ERR_NONE;
}

/* ERR_AGAIN: a step's time is over. */
static int remove_marked(struct commit *commit, struct span bitmap)
{
	enum { LOOK_AT_CLOCK = 64 }; /* messages removed between two looks at the clock */
	uint64_t until_ms = time_mono_ms() + DROP_STEP_MS;
	int err = ERR_NONE;
	for (uint32_t done = 0; err == ERR_NONE && commit->next <= drop_count(commit->drop); commit->next++) {
		if (!marks_has(bitmap, commit->next))
			continue;
		if (++done % LOOK_AT_CLOCK == 0 && time_mono_ms() >= until_ms)
			return ERR_AGAIN;
		err = remove_message(commit, commit->next);
	}
	return err;
}

/* Removes what was found under another name. Afterwards only those are left that moved on again, or may have
 * been overlooked while the folders changed. */
static int remove_found(struct commit *commit, bool stable)
{
	struct catalog *missing = &commit->missing;
	for (uint32_t i = 0; i < missing->count; i++) {
		struct message *message = &missing->messages[i];
		enum outcome outcome = MISSING;
		bool again = !stable;
		if (message->seen) {
			char path[INDEX_PATH_MAX];
			message_path(&message->row, catalog_name(missing, message), path);
			int err = remove_file(commit, &message->row, path, &outcome);
			if (err)
				return err;
			again = outcome == MISSING || (outcome == ANOTHER && !stable);
		}
		message->seen = again;
		commit->removed += !message->seen;
	}
	(void)catalog_compact(missing);
	return ERR_NONE;
}

static int remove_renamed(struct commit *commit)
{
	for (unsigned tries = 0; commit->missing.count; tries++) {
		bool stable;
		if (tries == TRIES_MAX) {
			error_set(commit->error, "messages are renamed faster than they can be removed");
			return ERR_BUSY;
		}
		int err = scan_find(commit->drop->folder, &commit->missing, &stable);
		if (err == ERR_NONE)
			err = remove_found(commit, stable);
		if (err)
			return err;
	}
	return ERR_NONE;
}

/* The folders' entries must be on the disk before anybody is told. */
static int make_durable(const struct commit *commit)
{
	int err = ERR_NONE;
	for (unsigned i = 0; i < INDEX_FOLDERS; i++) {
		if (!commit->touched[i])
			continue;
		int fd = file_open(commit->drop->folder, i == INDEX_CUR ? "cur" : "new",
		                   O_RDONLY | O_DIRECTORY, false);
		if (fd < 0 || fsync(fd) != 0) {
			err = err_from_errno(errno);
			error_set(commit->error, "deletions can not be made durable: %m");
		}
		if (fd >= 0)
			(void)close(fd);
	}
	return err;
}

static int begin_commit(struct maildir *maildir, struct span bitmap, struct error *error)
{
	struct drop *drop = &maildir->drop;
	int err = check_marks(drop, bitmap);
	struct commit *commit = err ? NULL : malloc(sizeof *commit);
	if (!commit) {
		err = err ? err : ERR_NOMEM;
		if (err == ERR_CORRUPT)
			index_discard(drop->folder);
		error_set(error, "nothing was removed: the index or the marks do not hold: %s",
		          err_text(err));
		return err;
	}
	*commit = (struct commit){.drop = drop, .next = 1};
	catalog_init(&commit->missing, 0);
	maildir->commit = commit;
	return ERR_NONE;
}

void maildir_end_commit(struct maildir *maildir)
{
	if (maildir->commit)
		catalog_finish(&maildir->commit->missing);
	free(maildir->commit);
	maildir->commit = NULL;
}

int maildir_commit(struct drop *drop, struct span bitmap, uint32_t *ret_removed, struct error *error)
{
	struct maildir *maildir = (struct maildir *)drop;
	int err = maildir->commit ? ERR_NONE : begin_commit(maildir, bitmap, error);
	if (err)
		return err;
	struct commit *commit = maildir->commit;
	commit->error = error;
	err = remove_marked(commit, bitmap);
	*ret_removed = commit->removed;
	if (err == ERR_AGAIN)
		return err;
	if (err == ERR_NONE)
		err = remove_renamed(commit);
	int durable = make_durable(commit);
	*ret_removed = commit->removed;
	maildir_end_commit(maildir);
	return err ? err : durable;
}
