/* SPDX-License-Identifier: MIT */
/*
 * Reading new/ and cur/. Runs in the keeper's disk threads. Any program may deliver, rename and
 * delete while we read, and the maildrop's owner may have put anything there.
 */
#include "drop/scan.h"

#include "base/time.h"
#include "drop/file.h"
#include "drop/message.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TRIES_MAX = 4 }; /* readings of folders that change while they are read */

/* How long a folder must have rested before its time of change is believed: file systems' clocks tick
 * in steps of up to a second (and some of two, which keep no Maildir). */
#define REST_NS UINT64_C(1000000000)

int scan_look(int folder, struct index_seen ret[INDEX_FOLDERS])
{
	static const char *const names[INDEX_FOLDERS] = {"new", "cur"};
	struct index_seen seen[INDEX_FOLDERS];
	for (unsigned i = 0; i < INDEX_FOLDERS; i++) {
		struct stat what;
		if (fstatat(folder, names[i], &what, AT_SYMLINK_NOFOLLOW) != 0)
			return err_from_errno(errno);
		if (!S_ISDIR(what.st_mode))
			return ERR_CORRUPT;
		/* Not mtime, which whoever copies a maildrop sets back. */
		seen[i] = (struct index_seen){what.st_ino, file_ns(what.st_ctim)};
	}
	memcpy(ret, seen, sizeof seen);
	return ERR_NONE;
}

/* The known message a file is: by base name and inode, which renaming keeps. */
static struct message *find_known(const struct scan *scan, struct span base, uint64_t inode)
{
	struct catalog_search search;
	struct message *other = NULL;
	for (struct message *at = catalog_find(scan->catalog, base, &search); at;
	     at = catalog_find_next(scan->catalog, &search)) {
		if (at->row.inode == inode)
			return at;
		if (!at->seen)
			other = at;
	}
	return scan->find_only ? other : NULL;
}

static int note_file(struct scan *scan, enum index_folder in, struct span name, uint64_t inode)
{
	uint8_t in_cur = in == INDEX_CUR ? INDEX_IN_CUR : 0;
	struct message *message = find_known(scan, name_base(name), inode);
	if (message && (scan->find_only || !(message->row.flags & INDEX_UNREADABLE))) {
		message->seen = true;
		if (in_cur == (message->row.flags & INDEX_IN_CUR) &&
		    span_equal(name, catalog_name(scan->catalog, message)))
			return ERR_NONE;
		scan->altered = true;
		return catalog_rename(scan->catalog, message, in_cur, name);
	}
	if (scan->find_only)
		return ERR_NONE;
	if (scan->catalog->count >= scan->max) {
		scan->hidden++;
		return ERR_NONE;
	}
	struct index_row row = {.inode = inode, .flags = in_cur};
	return catalog_add(scan->catalog, &row, name);
}

static int note_entry(struct scan *scan, enum index_folder in, int dir, const struct dirent *entry)
{
	struct span name = span_str(entry->d_name);
	unsigned char type = entry->d_type;
	if (!name_is_message(name))
		return ERR_NONE;
	if (type == DT_UNKNOWN) {
		struct stat what;
		if (fstatat(dir, entry->d_name, &what, AT_SYMLINK_NOFOLLOW) != 0)
			return ERR_NONE; /* gone already */
		type = S_ISREG(what.st_mode) ? DT_REG : DT_DIR;
	}
	if (type != DT_REG) {
		scan->skipped++;
		return ERR_NONE;
	}
	return note_file(scan, in, name, entry->d_ino);
}

static int read_folder(struct scan *scan, enum index_folder in)
{
	int fd = file_open(scan->folder, in == INDEX_CUR ? "cur" : "new", O_RDONLY | O_DIRECTORY, false);
	if (fd < 0)
		return err_from_errno(errno);
	DIR *dir = fdopendir(fd);
	if (!dir) {
		(void)close(fd);
		return ERR_NOMEM;
	}
	int err = ERR_NONE;
	while (err == ERR_NONE) {
		errno = 0;
		const struct dirent *entry = readdir(dir);
		if (!entry) {
			err = errno ? ERR_IO : ERR_NONE;
			break;
		}
		err = note_entry(scan, in, fd, entry);
	}
	(void)closedir(dir);
	return err;
}

static void forget_seen(struct scan *scan)
{
	scan->catalog->count = scan->known;
	scan->skipped = scan->hidden = 0;
	for (uint32_t i = 0; i < scan->known; i++)
		scan->catalog->messages[i].seen = false;
}

/* Reads both folders, again if they change meanwhile. new/ first: a message that is moved to cur/ in between
 * is seen twice rather than never. */
static int read_folders(struct scan *scan)
{
	int err = catalog_make_table(scan->catalog, scan->known);
	struct index_seen before[INDEX_FOLDERS], after[INDEX_FOLDERS];
	bool stable = false;
	for (unsigned tries = 0; err == ERR_NONE && !stable && tries < TRIES_MAX; tries++) {
		forget_seen(scan);
		err = scan_look(scan->folder, before);
		if (err == ERR_NONE)
			err = read_folder(scan, INDEX_NEW);
		if (err == ERR_NONE)
			err = read_folder(scan, INDEX_CUR);
		if (err == ERR_NONE)
			err = scan_look(scan->folder, after);
		stable = err == ERR_NONE && memcmp(before, after, sizeof before) == 0;
	}
	if (err == ERR_NONE) {
		memcpy(scan->seen, before, sizeof before);
		scan->stable = stable;
	}
	return err;
}

int scan_find(int folder, struct catalog *catalog, bool *ret_stable)
{
	struct scan scan = {.folder = folder, .catalog = catalog, .known = catalog->count, .find_only = true};
	int err = read_folders(&scan);
	if (err == ERR_NONE)
		*ret_stable = scan.stable;
	return err;
}

/* Where a new message goes: names are looked at only where numbers do not tell. */
struct place {
	uint64_t number;
	uint32_t at;
};

static int compare_places(const void *a, const void *b, void *catalog)
{
	const struct place *left = a, *right = b;
	if (left->number != right->number)
		return left->number < right->number ? -1 : 1;
	const struct message *messages = ((const struct catalog *)catalog)->messages;
	const struct message *one = &messages[left->at], *other = &messages[right->at];
	int order = name_compare(catalog_name(catalog, one), catalog_name(catalog, other));
	return order ? order : (one->row.flags & INDEX_IN_CUR) - (other->row.flags & INDEX_IN_CUR);
}

/* Brings the new messages into delivery order. */
static int sort_new(struct scan *scan)
{
	struct catalog *catalog = scan->catalog;
	uint32_t count = catalog->count - scan->known;
	struct message *from = catalog->messages + scan->known;
	struct place *places = reallocarray(NULL, count, sizeof *places);
	struct message *sorted = reallocarray(NULL, count, sizeof *sorted);
	if (places && sorted) {
		for (uint32_t i = 0; i < count; i++)
			places[i] =
			    (struct place){name_number(catalog_name(catalog, &from[i])), scan->known + i};
		qsort_r(places, count, sizeof *places, compare_places, catalog);
		for (uint32_t i = 0; i < count; i++)
			sorted[i] = catalog->messages[places[i].at];
		memcpy(from, sorted, count * sizeof *from);
	}
	bool done = places && sorted;
	free(places);
	free(sorted);
	return done ? ERR_NONE : ERR_NOMEM;
}

/* A unique-id for a message whose base name is in the table (`taken`) or not. */
static int give_uid(struct catalog *catalog, struct message *message, bool taken)
{
	char uid[DROP_UID_MAX];
	size_t len;
	struct span base = name_base(catalog_name(catalog, message));
	int err = taken ? name_second_unique_id(base, message->row.inode, uid, &len)
	                : name_unique_id(base, uid, &len);
	return err ? err : catalog_set_uid(catalog, message, span_of(uid, len));
}

/* Settles one file that is no known message by name and inode: a known one that was replaced, one that was
 * seen under two names while it was renamed, or a new one. Then it is `seen`, and in the table. */
static int settle(struct scan *scan, uint32_t at)
{
	struct catalog *catalog = scan->catalog;
	struct message *message = &catalog->messages[at];
	struct span name = catalog_name(catalog, message), base = name_base(name);
	uint8_t in_cur = message->row.flags & INDEX_IN_CUR;
	struct message *other = NULL;
	struct catalog_search search;
	bool taken = false;
	for (struct message *same = catalog_find(catalog, base, &search); same;
	     same = catalog_find_next(catalog, &search)) {
		if (same->seen && same->row.inode == message->row.inode)
			return ERR_NONE;
		taken = true;
		if (!same->seen)
			other = same;
	}
	struct index_row row = other ? other->row : message->row;
	row.flags = (uint8_t)((row.flags & ~INDEX_IN_CUR) | in_cur);
	if (other && !span_equal(catalog_name(catalog, other), name)) {
		row.name_at = message->row.name_at;
		row.name_len = message->row.name_len;
	}
	bool is_message;
	int err = message_measure(&scan->reader, name, &row, &is_message);
	if (err || !is_message)
		return err;
	if (other) {
		scan->altered |= memcmp(&other->row, &row, sizeof row) != 0;
		other->row = row;
		other->seen = true;
		return ERR_NONE;
	}
	scan->altered = true;
	message->row = row;
	message->seen = true;
	err = give_uid(catalog, message, taken);
	if (err == ERR_NONE)
		catalog_enter(catalog, at);
	return err;
}

/* What the next open may rely on. */
static void mark_unreliable(struct index_seen seen[INDEX_FOLDERS], uint64_t now, bool stable)
{
	for (unsigned i = 0; i < INDEX_FOLDERS; i++)
		if (!stable || seen[i].changed_ns + REST_NS > now)
			seen[i].changed_ns = 0;
}

int scan_begin(struct scan *scan, int folder, struct catalog *catalog, uint32_t max)
{
	*scan = (struct scan){.folder = folder,
	                      .catalog = catalog,
	                      .max = max,
	                      .known = catalog->count,
	                      .at = catalog->count,
	                      .began_ns = time_real_ns()};
	int err = read_folders(scan);
	if (err || catalog->count == scan->known)
		return err;
	err = sort_new(scan);
	if (err == ERR_NONE)
		err = message_reader_init(&scan->reader, folder);
	return err ? err : catalog_make_table(catalog, scan->known);
}

int scan_step(struct scan *scan, uint64_t until_ms)
{
	enum { LOOK_AT_CLOCK = 64 }; /* messages between two looks at the clock */
	int err = ERR_NONE;
	while (err == ERR_NONE && scan->at < scan->catalog->count) {
		err = settle(scan, scan->at);
		if (err == ERR_NONE && ++scan->at % LOOK_AT_CLOCK == 0 && time_mono_ms() >= until_ms)
			err = ERR_AGAIN;
	}
	return err;
}

void scan_end(struct scan *scan, struct index_seen ret_seen[INDEX_FOLDERS], bool *ret_altered,
              struct drop_report *report)
{
	struct catalog *catalog = scan->catalog;
	*ret_altered = catalog_compact(catalog) > 0 || scan->altered;
	report->messages = catalog->count;
	report->rescanned = 1;
	report->read = scan->reader.read;
	report->skipped = scan->skipped + scan->reader.skipped;
	report->hidden = scan->hidden;
	report->unreadable = 0;
	for (uint32_t i = 0; i < catalog->count; i++)
		report->unreadable += (catalog->messages[i].row.flags & INDEX_UNREADABLE) != 0;
	/* Becoming readable changes no folder: try again each time. */
	memcpy(ret_seen, scan->seen, sizeof scan->seen);
	mark_unreliable(ret_seen, scan->began_ns, scan->stable && report->unreadable == 0);
}

uint32_t scan_cut(struct scan *scan)
{
	for (uint32_t i = 0; i < scan->known; i++)
		scan->catalog->messages[i].seen = true;
	(void)catalog_compact(scan->catalog);
	return scan->reader.read;
}

void scan_finish(struct scan *scan)
{
	message_reader_finish(&scan->reader);
}

/* Of a file that is not in the index; one that is gone by now counts nothing. */
static void count_unknown(const struct scan *scan, const struct message *message, struct usage *usage)
{
	char path[INDEX_PATH_MAX];
	struct stat what;
	message_path(&message->row, catalog_name(scan->catalog, message), path);
	if (fstatat(scan->folder, path, &what, AT_SYMLINK_NOFOLLOW) != 0)
		return;
	usage->messages++;
	usage->octets += (uint64_t)what.st_size;
}

int scan_count(int folder, struct catalog *catalog, struct usage *ret,
               struct index_seen ret_seen[INDEX_FOLDERS])
{
	struct scan scan = {
	    .folder = folder, .catalog = catalog, .max = DROP_MESSAGES_MAX, .known = catalog->count};
	struct usage usage = {0};
	int err = read_folders(&scan);
	if (err)
		return err;
	memcpy(ret_seen, scan.seen, sizeof scan.seen);
	for (uint32_t i = 0; i < catalog->count; i++) {
		const struct message *message = &catalog->messages[i];
		if (i >= scan.known) {
			count_unknown(&scan, message, &usage);
		} else if (message->seen) {
			usage.messages++;
			usage.octets += message->row.wire;
		}
	}
	for (unsigned i = 0; i < INDEX_FOLDERS && !scan.stable; i++)
		ret_seen[i].changed_ns = 0;
	*ret = usage;
	return ERR_NONE;
}
