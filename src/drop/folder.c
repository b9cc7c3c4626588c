/* SPDX-License-Identifier: MIT */
/* Finding and making the folders of a Maildir. Runs in the keeper; locations come from auth's tickets, what
 * lies there from anybody. */
#include "drop/file.h"
#include "drop/maildir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { FOLDER_MODE = 0700 };

static int open_error(const char *path, struct error *error)
{
	int err = err_from_errno(errno);
	error_set(error, "maildrop %s: can not be opened: %m", path);
	return err == ERR_NOTREGULAR ? ERR_CORRUPT : err;
}

/* Durably: mail may be on the disk for good a moment later. */
static int make_maildrop(const struct drop_root *root, const char *path, struct error *error)
{
	char parent[sizeof root->path] = ".";
	const char *slash = strrchr(path, '/');
	if (slash)
		(void)snprintf(parent, sizeof parent, "%.*s", (int)(slash - path), path);
	int folder = file_open(root->fd, parent, O_RDONLY | O_DIRECTORY, false);
	if (folder < 0)
		return open_error(path, error);
	int err = ERR_NONE;
	if ((mkdirat(folder, slash ? slash + 1 : path, FOLDER_MODE) != 0 && errno != EEXIST) ||
	    fsync(folder) != 0) {
		err = err_from_errno(errno);
		error_set(error, "maildrop %s: can not be made: %m", path);
	}
	(void)close(folder);
	return err;
}

int maildir_open_folder(const struct drop_root *root, const char *path, bool nowait, int *ret_fd,
                        struct error *error)
{
	int fd = file_open(root->fd, path, O_RDONLY | O_DIRECTORY, nowait);
	if (fd < 0 && nowait && (errno == EAGAIN || errno == ENOENT))
		return ERR_AGAIN;
	if (fd < 0 && errno == ENOENT) {
		int err = make_maildrop(root, path, error);
		if (err)
			return err;
		fd = file_open(root->fd, path, O_RDONLY | O_DIRECTORY, false);
	}
	if (fd < 0)
		return open_error(path, error);
	*ret_fd = fd;
	return ERR_NONE;
}

static const char *const parts[] = {"tmp", "new", "cur"};
enum { PARTS = sizeof parts / sizeof parts[0] };

/* Empty, or a Maildir of which a part is missing; our own files do not count. */
#define OURS "restante." /* what names of our own files begin with */
static bool may_become_maildir(int folder)
{
	bool part = false, other = false;
	int fd = file_open(folder, ".", O_RDONLY | O_DIRECTORY, false);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir) {
		if (fd >= 0)
			(void)close(fd);
		return false;
	}
	for (const struct dirent *entry; (entry = readdir(dir));) {
		bool known = false;
		for (unsigned i = 0; i < PARTS; i++)
			known |= strcmp(entry->d_name, parts[i]) == 0;
		part |= known;
		other |=
		    !known && entry->d_name[0] != '.' && strncmp(entry->d_name, OURS, sizeof OURS - 1) != 0;
	}
	(void)closedir(dir);
	return part || !other;
}

int maildir_make_folders(int folder, const char *path, struct error *error)
{
	if (!may_become_maildir(folder)) {
		error_set(error, "%s: holds files, but is no Maildir", path);
		return ERR_CORRUPT;
	}
	for (unsigned i = 0; i < PARTS; i++)
		if (mkdirat(folder, parts[i], FOLDER_MODE) != 0 && errno != EEXIST) {
			int err = err_from_errno(errno);
			error_set(error, "maildrop %s: %s/ can not be made: %m", path, parts[i]);
			return err;
		}
	if (fsync(folder) != 0) {
		error_set(error, "maildrop %s: its folders can not be made durable: %m", path);
		return ERR_IO;
	}
	return ERR_NONE;
}
