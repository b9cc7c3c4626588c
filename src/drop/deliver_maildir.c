/* SPDX-License-Identifier: MIT */
/*
 * Deliveries into a Maildir: written in tmp/, linked into new/. Runs in the keeper's disk threads and in
 * administrator's commands. Any program may deliver, move and delete beside us, and the maildrop's owner may
 * have put anything there.
 */
#include "base/time.h"
#include "drop/deliver_int.h"
#include "drop/file.h"
#include "drop/maildir.h"
#include "drop/scan.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LEFTOVERS_MAX = 1000 }; /* files in tmp/ looked at by one delivery */

#define USAGE_NAME "restante.usage"

/* What a crash left in tmp/ goes when nobody has touched it for so long, as maildir(5) has it. */
#define LEFTOVER_NS (UINT64_C(36) * 3600 * 1000000000)

/* Opens new/ or tmp/, which a maildrop that was just made has not yet. */
static int open_part(int folder, const char *path, const char *part, int *ret_fd, struct error *error)
{
	int fd = file_open(folder, part, O_RDONLY | O_DIRECTORY, false);
	if (fd < 0 && errno == ENOENT) {
		int err = maildir_make_folders(folder, path, error);
		if (err)
			return err;
		fd = file_open(folder, part, O_RDONLY | O_DIRECTORY, false);
	}
	if (fd < 0) {
		int err = err_from_errno(errno);
		error_set(error, "maildrop %s: %s/ can not be opened: %m", path, part);
		return err == ERR_NOTREGULAR ? ERR_CORRUPT : err;
	}
	*ret_fd = fd;
	return ERR_NONE;
}

static bool is_leftover(int tmp, const char *name)
{
	struct stat what;
	if (fstatat(tmp, name, &what, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(what.st_mode))
		return false;
	uint64_t read_ns = file_ns(what.st_atim), written_ns = file_ns(what.st_mtim);
	return (read_ns > written_ns ? read_ns : written_ns) + LEFTOVER_NS < time_real_ns();
}

static void remove_leftovers(int tmp)
{
	int fd = file_open(tmp, ".", O_RDONLY | O_DIRECTORY, false);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir) {
		if (fd >= 0)
			(void)close(fd);
		return;
	}
	const struct dirent *entry = readdir(dir);
	for (unsigned looked = 0; entry && looked < LEFTOVERS_MAX; looked++, entry = readdir(dir))
		if (entry->d_name[0] != '.' && is_leftover(tmp, entry->d_name))
			(void)unlinkat(tmp, entry->d_name, 0);
	(void)closedir(dir);
}

/* Creates a file under a name that nobody has had. */
static int create_file(int tmp, const char *path, char name[NAME_FRESH_MAX], int *ret_fd, struct error *error)
{
	int err = name_make_fresh(name);
	if (err)
		return err;
	int fd = file_create(tmp, name, 0600);
	if (fd < 0) {
		err = err_from_errno(errno);
		error_set(error, "maildrop %s: a file in tmp/ can not be made: %m", path);
		name[0] = '\0';
		return err;
	}
	*ret_fd = fd;
	return ERR_NONE;
}

int maildir_begin(const struct drop_root *root, const char *path, struct drop_incoming *incoming,
                  struct error *error)
{
	int folder;
	int err = maildir_open_folder(root, path, false, &folder, error);
	if (err)
		return err;
	err = open_part(folder, path, "tmp", &incoming->folder, error);
	(void)close(folder);
	if (err)
		return err;
	remove_leftovers(incoming->folder);
	return create_file(incoming->folder, path, incoming->name, &incoming->fd, error);
}

struct copy {
	int to;
	uint64_t at;
};

static int copy_block(void *user, struct span octets)
{
	struct copy *copy = user;
	int err = file_write(copy->to, octets.ptr, octets.len, copy->at);
	copy->at += octets.len;
	return err;
}

static int copy_durably(const struct drop_incoming *incoming, int to)
{
	struct copy copy = {.to = to};
	int err = incoming_read(incoming, copy_block, &copy);
	if (err == ERR_NONE && fdatasync(to) != 0)
		err = err_from_errno(errno);
	return err;
}

/* Over nothing that is there; file systems that can not promise that get fresh names only. */
static int move(int from_folder, const char *from, int to_folder, const char *to)
{
	int failed = renameat2(from_folder, from, to_folder, to, RENAME_NOREPLACE);
	if (failed && errno == EINVAL && faccessat(to_folder, to, F_OK, AT_SYMLINK_NOFOLLOW) != 0)
		failed = renameat(from_folder, from, to_folder, to);
	return failed;
}

/* A copy of its own, written in tmp/ first and moved. */
static int place_copy(const struct drop_incoming *incoming, int folder, const char *path, int to_folder,
                      const char *name, struct error *error)
{
	int tmp, fd;
	char tmp_name[NAME_FRESH_MAX];
	int err = open_part(folder, path, "tmp", &tmp, error);
	if (err)
		return err;
	err = create_file(tmp, path, tmp_name, &fd, error);
	if (err == ERR_NONE) {
		err = copy_durably(incoming, fd);
		(void)close(fd);
		if (err == ERR_NONE && move(tmp, tmp_name, to_folder, name) != 0)
			err = err_from_errno(errno);
		if (err) {
			error_set(error, "maildrop %s: the message can not be copied into it: %s", path,
			          err_text(err));
			(void)unlinkat(tmp, tmp_name, 0);
		}
	}
	(void)close(tmp);
	return err;
}

/* Gives the message its name in new/: a link, or a copy where none can be had, be it because of another file
 * system, too many links, or no such thing as links, or because somebody cleaned tmp/; or where somebody may
 * write to the file still. */
static int place(const struct drop_incoming *incoming, int folder, const char *path, int to_folder,
                 const char *name, struct error *error)
{
	bool link = incoming->folder >= 0 && !incoming->lent;
	if (link && linkat(incoming->folder, incoming->name, to_folder, name, 0) == 0)
		return ERR_NONE;
	if (link && errno == EEXIST) {
		error_set(error, "maildrop %s: %s is there already", path, name);
		return ERR_EXISTS;
	}
	return place_copy(incoming, folder, path, to_folder, name, error);
}

static int place_durably(const struct drop_incoming *incoming, int folder, const char *path, int to_folder,
                         const char *name, struct error *error)
{
	int err = place(incoming, folder, path, to_folder, name, error);
	if (err == ERR_NONE && fsync(to_folder) != 0) {
		err = err_from_errno(errno);
		error_set(error, "maildrop %s: the delivery can not be made durable: %m", path);
		(void)unlinkat(to_folder, name, 0); /* the sender will try again */
	}
	return err;
}

/* --- quotas --- */

static int look(const void *maildrop, struct index_seen ret[INDEX_FOLDERS])
{
	const int *folder = maildrop;
	return scan_look(*folder, ret);
}

/* By the index alone where it is up to date; else the folders are read, and no message is. */
static int count(const void *maildrop, struct usage *ret, struct index_seen ret_seen[INDEX_FOLDERS])
{
	const int *folder = maildrop;
	struct index index;
	struct catalog catalog;
	int err = scan_look(*folder, ret_seen);
	if (err)
		return err;
	catalog_init(&catalog, time_real_ns());
	if (index_open(*folder, false, &index) == ERR_NONE) {
		if (memcmp(index.head.seen, ret_seen, sizeof index.head.seen) == 0) {
			*ret = (struct usage){index.head.count, index.head.octets};
			index_close(&index);
			catalog_finish(&catalog);
			return ERR_NONE;
		}
		if (index_load(&index, &catalog) != ERR_NONE) {
			catalog_finish(&catalog);
			catalog_init(&catalog, time_real_ns());
		}
		index_close(&index);
	}
	err = scan_count(*folder, &catalog, ret, ret_seen);
	catalog_finish(&catalog);
	return err;
}

static int begin_usage(struct drop_incoming *incoming, const struct drop_quota *quota, const int *folder,
                       struct usage_guard *ret, struct error *error)
{
	static const struct usage_calls calls = {look, count};
	uint64_t octets = 0;
	int err = quota ? incoming_measure(incoming, &octets, error) : ERR_NONE;
	return err ? err : usage_begin(ret, quota, octets, *folder, USAGE_NAME, &calls, folder, error);
}

/* --- delivering --- */

/* The name it gets, in which folder, and its unique-id. */
static int choose_name(const struct drop_incoming *incoming, char to[INDEX_PATH_MAX],
                       char unique_id[DROP_UID_MAX + 1])
{
	size_t len;
	int err = ERR_NONE;
	if (incoming->keep[0]) {
		memcpy(to, incoming->keep, INDEX_PATH_MAX);
	} else {
		memcpy(to, "new/", 4);
		err = name_make_fresh(to + 4);
	}
	if (err == ERR_NONE)
		err = name_unique_id(name_base(span_str(to + 4)), unique_id, &len);
	if (err == ERR_NONE)
		unique_id[len] = '\0';
	return err;
}

static int deliver_into(int folder, const char *path, struct drop_incoming *incoming,
                        const struct drop_quota *quota, const char *name, struct error *error)
{
	struct usage_guard usage;
	int to_folder;
	const char *part = name[0] == 'c' ? "cur" : "new";
	int err = open_part(folder, path, part, &to_folder, error);
	if (err)
		return err;
	err = begin_usage(incoming, quota, &folder, &usage, error);
	if (err == ERR_NONE) {
		err = place_durably(incoming, folder, path, to_folder, name + 4, error);
		usage_end(&usage, err == ERR_NONE);
	}
	(void)close(to_folder);
	return err;
}

int maildir_deliver(const struct drop_root *root, const char *path, struct drop_incoming *incoming,
                    const struct drop_quota *quota, struct drop_delivered *ret, struct error *error)
{
	int folder;
	struct stat what;
	char name[INDEX_PATH_MAX];
	struct drop_delivered delivered = {0};
	int err = incoming_settle(incoming, error);
	if (err == ERR_NONE && fstat(incoming->fd, &what) != 0)
		err = ERR_IO;
	if (err == ERR_NONE)
		err = choose_name(incoming, name, delivered.unique_id);
	if (err == ERR_NONE)
		err = maildir_open_folder(root, path, false, &folder, error);
	if (err)
		return err;
	err = deliver_into(folder, path, incoming, quota, name, error);
	(void)close(folder);
	if (err)
		return err;
	delivered.raw = (uint64_t)what.st_size;
	*ret = delivered;
	return ERR_NONE;
}
