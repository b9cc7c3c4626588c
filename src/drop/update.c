/* SPDX-License-Identifier: MIT */
/*
 * Bringing a Maildir's index up to date: a little at a time, so that a maildrop of millions leaves the
 * threads to others in between, and what was read is kept when it has to stop. Runs in the keeper's disk
 * threads.
 */
#include "drop/update.h"

#include "base/time.h"
#include "drop/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
	REWRITE_CHEAP_MAX = 20000, /* messages read anew in a few seconds, should a crash take the index */
	SAVE_MIN = 1000,           /* messages read that are worth writing an index that lacks others */
};

struct update {
	struct catalog catalog;
	struct scan scan;
};

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

/* What the index knows; nothing, when there is none or it does not hold. */
static int load_index(struct drop *drop, struct catalog *catalog)
{
	catalog_init(catalog, time_real_ns());
	int err = drop->index.fd < 0 ? ERR_CORRUPT : index_load(&drop->index, catalog);
	if (err == ERR_NONE || err == ERR_NOMEM)
		return err;
	index_close(&drop->index);
	catalog_finish(catalog);
	catalog_init(catalog, time_real_ns());
	return ERR_NONE;
}

int update_begin(struct drop *drop, struct update **ret)
{
	struct update *update = calloc(1, sizeof *update);
	if (!update)
		return ERR_NOMEM;
	int err = load_index(drop, &update->catalog);
	if (err == ERR_NONE)
		err = scan_begin(&update->scan, drop->folder, &update->catalog, DROP_MESSAGES_MAX);
	if (err)
		update_end(update);
	else
		*ret = update;
	return err;
}

int update_step(struct update *update, struct drop *drop, uint64_t until_ms, struct drop_report *report)
{
	struct index_seen seen[INDEX_FOLDERS];
	bool altered;
	int err = scan_step(&update->scan, until_ms);
	report->messages = update->catalog.count;
	report->settled = update->scan.at;
	report->read = update->scan.reader.read;
	if (err)
		return err;
	scan_end(&update->scan, seen, &altered, report);
	if (drop->index.fd >= 0 && !altered) {
		index_touch(&drop->index, drop->folder, seen);
		return ERR_NONE;
	}
	index_close(&drop->index);
	err = write_index(drop->folder, &update->catalog, seen, &drop->index);
	report->unwritten = err == ERR_NONE && drop->index.memory;
	return err;
}

void update_save(struct update *update, const struct drop *drop)
{
	/* Not to be relied on: the next open compares, and reads what is missing. */
	static const struct index_seen never[INDEX_FOLDERS];
	struct index index;
	if (scan_cut(&update->scan) >= SAVE_MIN &&
	    write_beside(drop->folder, &update->catalog, never, &index) == ERR_NONE)
		index_close(&index);
}

void update_end(struct update *update)
{
	scan_finish(&update->scan);
	catalog_finish(&update->catalog);
	free(update);
}
