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

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	COPY_OCTETS = 65536, /* at once */
	LEFTOVERS_MAX = 1000 /* files in tmp/ looked at by one delivery */
};

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

static int copy_octets(int from, int to)
{
	struct stat what;
	char *room = malloc(COPY_OCTETS);
	int err = room ? ERR_NONE : ERR_NOMEM;
	if (err == ERR_NONE && fstat(from, &what) != 0)
		err = ERR_IO;
	for (uint64_t at = 0; err == ERR_NONE && at < (uint64_t)what.st_size;) {
		uint64_t left = (uint64_t)what.st_size - at;
		size_t size = left < COPY_OCTETS ? (size_t)left : COPY_OCTETS;
		err = file_read(from, false, room, size, at);
		if (err == ERR_NONE)
			err = file_write(to, room, size, at);
		at += size;
	}
	if (err == ERR_NONE && fdatasync(to) != 0)
		err = err_from_errno(errno);
	free(room);
	return err;
}

/* A copy of its own, written in tmp/ first and moved. */
static int place_copy(const struct drop_incoming *incoming, int folder, const char *path, int new_folder,
                      const char *name, struct error *error)
{
	int tmp, fd;
	char tmp_name[NAME_FRESH_MAX];
	int err = open_part(folder, path, "tmp", &tmp, error);
	if (err)
		return err;
	err = create_file(tmp, path, tmp_name, &fd, error);
	if (err == ERR_NONE) {
		err = copy_octets(incoming->fd, fd);
		(void)close(fd);
		if (err == ERR_NONE && renameat(tmp, tmp_name, new_folder, name) != 0)
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
 * system, too many links, or no such thing as links, or because somebody cleaned tmp/. */
static int place(const struct drop_incoming *incoming, int folder, const char *path, int new_folder,
                 const char *name, struct error *error)
{
	if (incoming->folder >= 0 && linkat(incoming->folder, incoming->name, new_folder, name, 0) == 0)
		return ERR_NONE;
	return place_copy(incoming, folder, path, new_folder, name, error);
}

static int place_durably(const struct drop_incoming *incoming, int folder, const char *path, int new_folder,
                         const char *name, struct error *error)
{
	int err = place(incoming, folder, path, new_folder, name, error);
	if (err == ERR_NONE && fsync(new_folder) != 0) {
		err = err_from_errno(errno);
		error_set(error, "maildrop %s: the delivery can not be made durable: %m", path);
		(void)unlinkat(new_folder, name, 0); /* the sender will try again */
	}
	return err;
}

int maildir_deliver(const struct drop_root *root, const char *path, struct drop_incoming *incoming,
                    struct drop_delivered *ret, struct error *error)
{
	int folder, new_folder = -1;
	struct stat what;
	struct drop_delivered delivered = {0};
	int err = incoming_settle(incoming, error);
	if (err == ERR_NONE && fstat(incoming->fd, &what) != 0)
		err = ERR_IO;
	if (err == ERR_NONE)
		err = name_make_fresh(delivered.unique_id);
	if (err == ERR_NONE)
		err = maildir_open_folder(root, path, false, &folder, error);
	if (err)
		return err;
	err = open_part(folder, path, "new", &new_folder, error);
	if (err == ERR_NONE) {
		err = place_durably(incoming, folder, path, new_folder, delivered.unique_id, error);
		(void)close(new_folder);
	}
	(void)close(folder);
	if (err)
		return err;
	delivered.raw = (uint64_t)what.st_size;
	*ret = delivered;
	return ERR_NONE;
}
