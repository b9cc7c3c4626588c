/* SPDX-License-Identifier: MIT */
/* Bringing a Maildir's index up to date, in steps. */
#ifndef DROP_UPDATE_H
#define DROP_UPDATE_H

#include "drop/kind.h"
#include "drop/scan.h"

struct update;

/* The caller keeps others from doing the same. Reads the index, if drop->index is open (fd -1: not), and the
 * names in the folders. ERR_NOMEM, ERR_IO, ...
 */
int update_begin(struct drop *drop, struct update **ret);

/* Reads messages until `until_ms` (CLOCK_MONOTONIC): ERR_AGAIN, and *report says how far it is. When all are
 * read, drop->index is up to date, its file too where that can be written. */
int update_step(struct update *update, struct drop *drop, uint64_t until_ms, struct drop_report *report);

/* Instead of going on: writes an index of what was read so far, if that is much. */
void update_save(struct update *update, const struct drop *drop);

void update_end(struct update *update);

#endif
