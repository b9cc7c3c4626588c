/* SPDX-License-Identifier: MIT */
/*
 * Removing messages from an mbox for good. Runs in the keeper's disk threads. The marks come from a worker,
 * which may have been taken over: they reach this mbox's messages and nothing else. What does not lie any
 * more where the session saw it stays: nobody knows what of it a client has got.
 */
#include "base/time.h"
#include "drop/catalog.h"
#include "drop/file.h"
#include "drop/marks.h"
#include "drop/mbox.h"
#include "drop/mbox_journal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct commit {
	struct mbox *mbox;
	struct catalog catalog; /* all messages; those that stay are `seen` */
	struct journal_range *ranges;
	uint64_t range_count;
	uint32_t removed;
	uint64_t known;   /* octets of the file that the session knows */
	bool as_it_was;   /* nobody wrote into it since */
	struct stat what; /* of the file */
};

static int load(struct commit *commit, struct span marks)
{
	struct catalog *catalog = &commit->catalog;
	int err = index_load(&commit->mbox->drop.index, catalog);
	if (err == ERR_NONE)
		err = marks_check(marks, catalog->count);
	commit->ranges = err ? NULL : reallocarray(NULL, (size_t)catalog->count + 1, sizeof *commit->ranges);
	if (err == ERR_NONE && !commit->ranges)
		err = ERR_NOMEM;
	for (uint32_t i = 0; err == ERR_NONE && i < catalog->count; i++)
		catalog->messages[i].seen = !marks_has(marks, i + 1);
	return err;
}

/* The octets behind a message are the next one's or none, but for an empty line, whose length it sets. */
static bool find_trail(const struct commit *commit, int fd, struct mbox_place *place)
{
	char room[MBOX_LOOK];
	uint64_t end = place->at + place->from_len + place->stored, size = (uint64_t)commit->what.st_size;
	size_t len = size - end < sizeof room ? (size_t)(size - end) : sizeof room;
	if (file_read(fd, false, room, len, end) != ERR_NONE)
		return false;
	place->trail = (uint8_t)mbox_line_end(span_of(room, len));
	struct span rest = span_of(room + place->trail, len - place->trail);
	size_t lf = span_find(rest, '\n');
	return rest.len == 0 ||
	       (place->trail && mbox_line_is_separator(span_first(rest, lf < rest.len ? lf + 1 : lf)));
}

/* A message that is to go: it must lie there as it did. */
static int add_range(struct commit *commit, int fd, const struct message *message)
{
	uint64_t sum;
	struct mbox_place place;
	int err = mbox_get_place(&message->row, catalog_name(&commit->catalog, message), &place);
	if (err)
		return err;
	if (!commit->as_it_was) {
		err = mbox_sum_place(fd, false, &place, &sum);
		if (err)
			return err;
		if (sum != message->row.modified_ns || !find_trail(commit, fd, &place))
			return ERR_CHANGED;
	}
	uint64_t len = place.from_len + place.stored + place.trail;
	struct journal_range *last = commit->range_count ? &commit->ranges[commit->range_count - 1] : NULL;
	if (len == 0 || place.at + len > (uint64_t)commit->what.st_size ||
	    (last && last->at + last->len > place.at))
		return ERR_CORRUPT;
	commit->removed++;
	if (last && last->at + last->len == place.at)
		last->len += len;
	else
		commit->ranges[commit->range_count++] = (struct journal_range){place.at, len};
	return ERR_NONE;
}

/* What is to go, in ranges. *ret_err: ERR_CHANGED if some of it stays. */
static int find_ranges(struct commit *commit, int fd, int *ret_changed)
{
	struct catalog *catalog = &commit->catalog;
	for (uint32_t i = 0; i < catalog->count; i++) {
		struct message *message = &catalog->messages[i];
		if (message->seen)
			continue;
		int err = add_range(commit, fd, message);
		if (err == ERR_CHANGED) {
			message->seen = true;
			*ret_changed = err;
		} else if (err) {
			return err;
		}
	}
	return ERR_NONE;
}

/* Cutting the end off is whole or not done without a journal's help. */
static int remove_ranges(const struct commit *commit, int fd, struct error *error)
{
	const struct mbox *mbox = commit->mbox;
	uint64_t size = (uint64_t)commit->what.st_size;
	if (commit->range_count == 0)
		return ERR_NONE;
	if (commit->range_count == 1 && commit->ranges[0].at + commit->ranges[0].len == size) {
		int err = ftruncate(fd, (off_t)commit->ranges[0].at) == 0 && fsync(fd) == 0
		              ? ERR_NONE
		              : err_from_errno(errno);
		if (err)
			error_set(error, "mbox %s: can not be cut: %s", mbox->name, err_text(err));
		return err;
	}
	if (!mbox->has_journal) {
		error_set(
		    error,
		    "mbox %s: its folder may not be written, so only messages at its end can be removed",
		    mbox->name);
		return ERR_DENIED;
	}
	struct error why = {""};
	int err = journal_remove(mbox->drop.lock, fd, size, commit->ranges, commit->range_count, &why);
	if (err)
		error_set(error, "mbox %s: %s", mbox->name, why.text);
	return err;
}

/* The index of what is left, so that the next open need not read it all. What was appended meanwhile is not
 * in it: then the file is longer than the index says, which is how it always grows. */
static void write_index(struct commit *commit, int fd)
{
	struct catalog *catalog = &commit->catalog;
	struct index_seen seen[INDEX_FOLDERS];
	struct index *index = &commit->mbox->drop.index, fresh;
	struct stat what;
	uint64_t gone = 0;
	uint64_t range = 0;
	for (uint32_t i = 0; i < catalog->count; i++) {
		struct index_row *row = &catalog->messages[i].row;
		for (; range < commit->range_count && commit->ranges[range].at < row->inode; range++)
			gone += commit->ranges[range].len;
		row->inode -= catalog->messages[i].seen ? gone : 0;
	}
	for (; range < commit->range_count; range++)
		gone += commit->ranges[range].len;
	(void)catalog_compact(catalog);
	commit->mbox->drop.kind->discard(&commit->mbox->drop);
	if (fstat(fd, &what) != 0)
		return;
	mbox_see(&what, &commit->mbox->rules, seen);
	if (!commit->as_it_was)
		seen[MBOX_SEEN_FILE].changed_ns = seen[MBOX_SEEN_SIZE].changed_ns = 0;
	seen[MBOX_SEEN_SIZE].inode = commit->known - gone;
	if (mbox_write_index(commit->mbox, catalog, seen, &fresh) == ERR_NONE) {
		index_close(index);
		*index = fresh;
	}
}

static int commit_locked(struct commit *commit, int fd, struct error *error)
{
	struct index_seen seen[INDEX_FOLDERS];
	const struct index_seen *known = commit->mbox->drop.index.head.seen;
	mbox_see(&commit->what, &commit->mbox->rules, seen);
	commit->as_it_was = memcmp(seen, known, sizeof seen) == 0;
	commit->known = known[MBOX_SEEN_SIZE].inode;
	int changed = ERR_NONE;
	int err = ERR_CHANGED;
	if (seen[MBOX_SEEN_FILE].inode == known[MBOX_SEEN_FILE].inode)
		err = find_ranges(commit, fd, &changed);
	if (err) {
		commit->mbox->drop.kind->discard(&commit->mbox->drop);
		error_set(error, "mbox %s: nothing was removed: %s", commit->mbox->name, err_text(err));
		return err;
	}
	err = remove_ranges(commit, fd, error);
	if (err)
		return err;
	if (changed)
		error_set(error, "mbox %s: another program rewrote it; messages that were altered stay",
		          commit->mbox->name);
	if (changed || commit->range_count == 0)
		commit->mbox->drop.kind->discard(&commit->mbox->drop);
	else
		write_index(commit, fd);
	return changed;
}

int mbox_commit(struct drop *drop, struct span bitmap, uint32_t *ret_removed, struct error *error)
{
	struct commit commit = {.mbox = (struct mbox *)drop};
	struct mbox_lock lock;
	catalog_init(&commit.catalog, time_real_ns());
	int err = load(&commit, bitmap);
	if (err) {
		if (err == ERR_CORRUPT)
			drop->kind->discard(drop);
		error_set(error, "mbox %s: nothing was removed: the index or the marks do not hold: %s",
		          commit.mbox->name, err_text(err));
	}
	if (err == ERR_NONE)
		err = mbox_lock(commit.mbox, MBOX_LOCK_WRITE, &lock, &commit.what, error);
	if (err == ERR_NONE) {
		err = commit_locked(&commit, lock.fd, error);
		mbox_lock_drop(&lock);
		if (err == ERR_NONE || err == ERR_CHANGED)
			*ret_removed = commit.removed;
	}
	catalog_finish(&commit.catalog);
	free(commit.ranges);
	return err;
}
