/* SPDX-License-Identifier: MIT */
/*
 * Bringing a Maildir's index up to date: a little at a time, so that a maildrop of millions leaves the
 * threads to others in between, and what was read is kept when it has to stop. Runs in the keeper's disk
 * threads.
 */
#include "drop/update.h"

#include "base/time.h"

#include <stdlib.h>

enum {
	REWRITE_CHEAP_MAX = 20000, /* messages read anew in a few seconds, should a crash take the index */
	SAVE_MIN = 1000,           /* messages read that are worth writing an index that lacks others */
};

struct update {
	struct catalog catalog;
	struct scan scan;
};

/* Where reading all messages anew is no disaster, writing an index out at once costs more than it is worth.
 */
static int write_beside(int folder, const struct catalog *catalog,
                        const struct index_seen seen[INDEX_FOLDERS], struct index *ret)
{
	return index_write_beside(folder, INDEX_NAME_NEW, INDEX_NAME, catalog->count < REWRITE_CHEAP_MAX,
	                          catalog, seen, ret);
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
	/* In memory for this session where it can not be written (read-only, full). */
	err = write_beside(drop->folder, &update->catalog, seen, &drop->index);
	if (err)
		err = index_write_memory(&update->catalog, seen, &drop->index);
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
