/* SPDX-License-Identifier: MIT */
/*
 * Taking octets out of the middle of a file without giving it another inode, so that nobody who dies on the
 * way, this process or the machine, loses any of the others; programs may append meanwhile, by their own
 * locks.
 *
 * What stays is moved forward in steps. Each step is written into the journal first, with all it needs to be
 * done again, then into the file. Two steps are kept in turn, so one of them is always whole. The last step
 * puts a mark that no mail holds where the file will end, notes that in the journal, and cuts the file there:
 * by the mark one sees later whether it was cut, whatever was appended since.
 *
 * Journal: struct journal_head; struct journal_range[count]; two places of a struct journal_step and its
 * octets.
 */
#ifndef DROP_MBOX_JOURNAL_H
#define DROP_MBOX_JOURNAL_H

#include "base/err.h"

#include <stdint.h>

struct journal_range {
	uint64_t at, len;
};

/* Removes the `count` ranges, which ascend and do not touch, from the file `fd`, which is locked and is
 * `size` octets long. The answer comes when it is durable. On ERR_NOSPACE and before the first step nothing
 * has happened; later errors leave the rest to journal_recover(). `journal` is an empty file in `folder`. */
int journal_remove(int journal, int folder, int fd, uint64_t size, const struct journal_range *ranges,
                   uint64_t count, struct error *error);

/* Finishes what the journal of the mbox `name` says was begun, under the mbox's lock. ERR_CORRUPT: the mbox
 * was rewritten by another program since. */
int journal_recover(int journal, int folder, const char *name, struct error *error);

#endif
