/* SPDX-License-Identifier: MIT */
/*
 * Deliveries, whatever the kind of maildrop. Runs in the keeper's disk threads, `restante deliver` and
 * `restante import`. The octets of a message come from anybody and are not looked at.
 */
#include "drop/deliver_int.h"
#include "drop/file.h"
#include "drop/kind.h"
#include "drop/measure.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BLOCK = 65536 }; /* octets of a message read at once */

int drop_incoming_begin(const struct drop_root *root, const char *location, struct drop_incoming **ret,
                        struct error *error)
{
	const struct drop_kind *kind;
	const char *path;
	int err = drop_locate(root, location, &kind, &path, error);
	if (err)
		return err;
	struct drop_incoming *incoming = malloc(sizeof *incoming);
	if (!incoming)
		return ERR_NOMEM;
	*incoming = (struct drop_incoming){.fd = -1, .folder = -1};
	err = kind->begin(root, path, incoming, error);
	if (err)
		drop_incoming_end(incoming);
	else
		*ret = incoming;
	return err;
}

int drop_incoming_fd(const struct drop_incoming *incoming)
{
	return incoming->fd;
}

int drop_incoming_keep_name(struct drop_incoming *incoming, const char *name)
{
	size_t len = strlen(name);
	bool in_folder = strncmp(name, "new/", 4) == 0 || strncmp(name, "cur/", 4) == 0;
	if (!in_folder || !name_is_message(span_str(name + 4)))
		return ERR_SYNTAX;
	memcpy(incoming->keep, name, len + 1);
	return ERR_NONE;
}

int drop_incoming_lend(struct drop_incoming *incoming, int *ret_fd)
{
	/* An opening of its own, which the kernel can tell from ours; only a file that has a name can be had
	 * so. */
	int fd = incoming->folder >= 0 ? file_open(incoming->folder, incoming->name, O_WRONLY, false)
	                               : fcntl(incoming->fd, F_DUPFD_CLOEXEC, 0);
	if (fd < 0)
		return err_from_errno(errno);
	incoming->lent = true;
	*ret_fd = fd;
	return ERR_NONE;
}

/* A lease for writing is to be had only where nobody else can write. Where there are no leases, somebody may.
 */
static bool is_held(const struct drop_incoming *incoming)
{
	return fcntl(incoming->fd, F_SETLEASE, F_WRLCK) != 0 || fcntl(incoming->fd, F_SETLEASE, F_UNLCK) != 0;
}

int incoming_settle(struct drop_incoming *incoming, struct error *error)
{
	if (!incoming->settled) {
		incoming->settled = true;
		incoming->lent = incoming->lent && is_held(incoming);
		incoming->settle_err = fdatasync(incoming->fd) == 0 ? ERR_NONE : err_from_errno(errno);
	}
	if (incoming->settle_err)
		error_set(error, "the message can not be made durable: %s", err_text(incoming->settle_err));
	return incoming->settle_err;
}

int incoming_read(const struct drop_incoming *incoming, int (*each)(void *user, struct span octets),
                  void *user)
{
	struct stat what;
	char *block = malloc(BLOCK);
	int err = block ? ERR_NONE : ERR_NOMEM;
	if (err == ERR_NONE && fstat(incoming->fd, &what) != 0)
		err = ERR_IO;
	for (uint64_t at = 0; err == ERR_NONE && at < (uint64_t)what.st_size;) {
		uint64_t left = (uint64_t)what.st_size - at;
		size_t size = left < BLOCK ? (size_t)left : BLOCK;
		err = file_read(incoming->fd, false, block, size, at);
		if (err == ERR_NONE)
			err = each(user, span_of(block, size));
		at += size;
	}
	free(block);
	return err;
}

static int measure_block(void *measure, struct span octets)
{
	measure_add(measure, octets);
	return ERR_NONE;
}

int incoming_measure(struct drop_incoming *incoming, uint64_t *ret_octets, struct error *error)
{
	if (!incoming->measured) {
		struct measure measure = {0};
		int err = incoming_read(incoming, measure_block, &measure);
		if (err) {
			error_set(error, "the message can not be measured: %s", err_text(err));
			return err;
		}
		incoming->wire = measure_end(&measure).wire;
		incoming->measured = true;
	}
	*ret_octets = incoming->wire;
	return ERR_NONE;
}

int drop_deliver(const struct drop_root *root, struct drop_incoming *incoming, const char *location,
                 const struct drop_quota *quota, struct drop_delivered *ret, struct error *error)
{
	const struct drop_kind *kind;
	const char *path;
	int err = drop_locate(root, location, &kind, &path, error);
	return err ? err : kind->deliver(root, path, incoming, quota, ret, error);
}

void drop_incoming_end(struct drop_incoming *incoming)
{
	if (!incoming)
		return;
	if (incoming->folder >= 0) {
		if (incoming->name[0])
			(void)unlinkat(incoming->folder, incoming->name, 0);
		(void)close(incoming->folder);
	}
	if (incoming->fd >= 0)
		(void)close(incoming->fd);
	free(incoming);
}
