/* SPDX-License-Identifier: MIT */
/* drop.h for whatever kind of maildrop a location names: one table of kinds. Runs in the keeper and in
 * administrator's commands; locations come from auth's tickets and from the configuration. */
#include "drop/drop.h"

#include "drop/kind.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct drop_kind *const kinds[] = {&maildir_kind, &mbox_kind};

int drop_root_open(const char *path, struct drop_root *ret, struct error *error)
{
	struct drop_root root = {.path_len = strlen(path)};
	while (root.path_len && path[root.path_len - 1] == '/')
		root.path_len--;
	if (path[0] != '/' || root.path_len >= sizeof root.path) {
		error_set(error,
		          "%s: the folder of the maildrops must be an absolute path of at most %zu octets",
		          path, sizeof root.path - 1);
		return ERR_SYNTAX;
	}
	memcpy(root.path, path, root.path_len);
	root.fd =
	    open(path, O_PATH | O_DIRECTORY | O_CLOEXEC); /* symlinks on the way are the administrator's */
	if (root.fd < 0) {
		int err = err_from_errno(errno);
		error_set(error, "%s: the folder of the maildrops can not be opened: %m", path);
		return err;
	}
	*ret = root;
	return ERR_NONE;
}

void drop_root_close(struct drop_root *root)
{
	if (root->fd >= 0)
		(void)close(root->fd);
	root->fd = -1;
}

/* An absolute path -> what is below root; NULL when it is not below. */
static const char *path_below(const struct drop_root *root, const char *path)
{
	if (strncmp(path, root->path, root->path_len) != 0 || path[root->path_len] != '/')
		return NULL;
	path += root->path_len + 1;
	/* openat2 would stop "..", but one maildrop has one name. */
	for (const char *part = path;; part += strcspn(part, "/") + 1) {
		size_t len = strcspn(part, "/");
		if (len == 0 || strncmp(part, ".", len) == 0 || (len == 2 && strncmp(part, "..", 2) == 0))
			return NULL;
		if (part[len] == '\0')
			return path;
	}
}

int drop_locate(const struct drop_root *root, const char *location, const struct drop_kind **ret_kind,
                const char **ret_path, struct error *error)
{
	size_t len = strcspn(location, ":");
	for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
		if (!span_equal(span_str(kinds[i]->name), span_of(location, len)) || !location[len])
			continue;
		const char *path = path_below(root, location + len + 1);
		if (!path)
			break;
		*ret_kind = kinds[i];
		*ret_path = path;
		return ERR_NONE;
	}
	error_set(error, "%s: not a kind of maildrop, ':' and a path below %s", location, root->path);
	return ERR_SYNTAX;
}

int drop_open(const struct drop_root *root, const char *location, unsigned flags, struct drop **ret,
              struct drop_report *ret_report, struct error *error)
{
	const struct drop_kind *kind;
	const char *path;
	int err = drop_locate(root, location, &kind, &path, error);
	return err ? err : kind->open(root, path, flags, ret, ret_report, error);
}

bool drop_is_shared(const struct drop *drop)
{
	return drop->shared;
}

int drop_prepare(struct drop *drop, struct drop_report *report, struct error *error)
{
	return drop->kind->prepare ? drop->kind->prepare(drop, report, error) : ERR_NONE;
}

uint32_t drop_count(const struct drop *drop)
{
	return drop->index.head.count;
}

uint64_t drop_octets(const struct drop *drop)
{
	return drop->index.head.octets;
}

static int read_listing(const struct index *index, bool nowait, struct drop_listing *ret)
{
	uint32_t count = index->head.count;
	char *memory = malloc(index_listing_size(index));
	if (!memory)
		return ERR_NOMEM;
	int err = index_listing(index, nowait, memory);
	if (err) {
		free(memory);
		return err;
	}
	const uint32_t *uid_at = (const uint32_t *)(const void *)(memory + count * sizeof(uint64_t));
	*ret = (struct drop_listing){(const uint64_t *)(const void *)memory, uid_at,
	                             (const char *)(uid_at + count + 1), memory};
	return ERR_NONE;
}

int drop_listing(struct drop *drop, unsigned flags, struct drop_report *report, struct drop_listing *ret,
                 struct error *error)
{
	bool nowait = flags & DROP_NOWAIT;
	int err = read_listing(&drop->index, nowait, ret);
	if (err != ERR_CORRUPT)
		return err;
	if (nowait)
		return ERR_AGAIN;
	drop->kind->discard(drop);
	if (drop->kind->reindex)
		err = drop->kind->reindex(drop, report, error);
	return err ? err : read_listing(&drop->index, false, ret);
}

void drop_listing_end(struct drop_listing *listing)
{
	free(listing->memory);
}

int drop_identify(const struct drop *drop, struct drop_identity *ret)
{
	struct stat what;
	if (fstat(drop->lock, &what) != 0)
		return ERR_IO;
	const struct index_head *head = &drop->index.head;
	/* The index may be made up, and the sum is not checked before the listing is read: then it says of
	 * another number of messages that it is this. */
	*ret = (struct drop_identity){what.st_dev,       what.st_ino, head->stamp,
	                              head->listing_sum, head->count, head->octets};
	return ERR_NONE;
}

unsigned drop_read_small(struct drop *drop, const uint32_t *numbers, unsigned count, unsigned flags,
                         char *room, size_t room_size, struct drop_body *ret)
{
	if (drop->kind->read_small)
		return drop->kind->read_small(drop, numbers, count, flags, room, room_size, ret);
	for (unsigned i = 0; i < count; i++)
		ret[i].here = NULL;
	return count;
}

int drop_body(struct drop *drop, uint32_t number, unsigned flags, struct drop_body *ret)
{
	return number < 1 || number > drop_count(drop) ? ERR_RANGE
	                                               : drop->kind->body(drop, number, flags, ret);
}

int drop_commit_step(struct drop *drop, struct span bitmap, uint32_t *ret_removed, struct error *error)
{
	*ret_removed = 0;
	return drop->kind->commit(drop, bitmap, ret_removed, error);
}

int drop_commit(struct drop *drop, struct span bitmap, uint32_t *ret_removed, struct error *error)
{
	int err;
	do
		err = drop_commit_step(drop, bitmap, ret_removed, error);
	while (err == ERR_AGAIN);
	return err;
}

int drop_name(struct drop *drop, uint32_t number, char to[DROP_NAME_MAX])
{
	_Static_assert((int)DROP_NAME_MAX == (int)INDEX_PATH_MAX, "as the index has them");
	struct index_row row;
	if (number < 1 || number > drop_count(drop))
		return ERR_RANGE;
	return drop->kind->count ? index_row(&drop->index, number, false, &row, to) : ERR_UNSUPPORTED;
}

int drop_recount(struct drop *drop, uint64_t *ret_messages)
{
	return drop->kind->count ? drop->kind->count(drop, ret_messages) : ERR_UNSUPPORTED;
}

void drop_discard_index(struct drop *drop)
{
	drop->kind->discard(drop);
}

void drop_close(struct drop *drop)
{
	if (drop)
		drop->kind->close(drop);
}
