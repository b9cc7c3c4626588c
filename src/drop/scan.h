/* SPDX-License-Identifier: MIT */
/* Reading the folders of a maildrop: what is there, compared with what is known. */
#ifndef DROP_SCAN_H
#define DROP_SCAN_H

#include "drop/catalog.h"
#include "drop/message.h"
#include "drop/usage.h"

/* new/ and cur/ as they are now. ERR_NOTFOUND: one is missing; ERR_CORRUPT: is no folder; ERR_IO, ... */
int scan_look(int folder, struct index_seen ret[INDEX_FOLDERS]);

/*
 * Makes `catalog`, which holds what the index knew (perhaps nothing), what the folders hold: known messages
 * keep their order and unique-ids, new ones come behind in delivery order and are read.
 */
struct scan {
	int folder;
	struct catalog *catalog;
	uint32_t max;   /* messages at most */
	uint32_t known; /* messages before this one were in the index */
	uint32_t at;    /* those before this one are settled */
	bool find_only; /* nothing new is wanted */
	bool altered, stable;
	uint32_t skipped, hidden;
	uint64_t began_ns;
	struct index_seen seen[INDEX_FOLDERS];
	struct message_reader reader;
};

/* Reads the names in the folders. scan_finish() in the end, whatever came of it. ERR_IO, ... */
int scan_begin(struct scan *scan, int folder, struct catalog *catalog, uint32_t max);

/* Reads messages. ERR_AGAIN: `until_ms` (CLOCK_MONOTONIC) came first; ERR_FULL, ERR_NOMEM. */
int scan_step(struct scan *scan, uint64_t until_ms);

/* All is read: completes the catalog. *ret_seen is what the next open may compare with; a folder that changed
 * less than a second ago, or too often meanwhile, is marked as not to be relied on. *ret_altered: the index
 * must be written anew. */
void scan_end(struct scan *scan, struct index_seen ret_seen[INDEX_FOLDERS], bool *ret_altered,
              struct drop_report *report);

/* Before that: makes the catalog hold what is known and what was read. How many were. */
uint32_t scan_cut(struct scan *scan);

void scan_finish(struct scan *scan);

/* Looks for files with the base names of the catalog's messages under whatever name and in whatever folder
 * they are by now (other programs rename them to change flags); those found are `seen` and have
 * their new names. *ret_stable: no folder changed meanwhile, so what was not found is not there. */
int scan_find(int folder, struct catalog *catalog, bool *ret_stable);

/* Counts what the folders hold, with what `catalog` knows of it; a file it does not know counts with its
 * octets as they are. *ret_seen as above, but for what happened in the last second. The catalog is of no use
 * after. */
int scan_count(int folder, struct catalog *catalog, struct usage *ret,
               struct index_seen ret_seen[INDEX_FOLDERS]);

#endif
