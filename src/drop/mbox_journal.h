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
 * Appending is a removal that is prepared and not done: the journal says what is to go unless the message's
 * first octet, which is written last, is there.
 *
 * Whoever has the mbox's lock may read and write the journal, and finishes first what it says.
 *
 * Journal: struct journal_head; struct journal_range[count]; two places of a struct journal_step and its
 * octets.
 */
#ifndef DROP_MBOX_JOURNAL_H
#define DROP_MBOX_JOURNAL_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

struct journal_range {
	uint64_t at, len;
};

/* Opens the journal of the mbox `name`, which is made if need be. -1 and errno. */
int journal_open(int folder, const char *name, bool nowait);

/* Removes the `count` ranges, which ascend and do not touch, from the file `fd`, which is locked and is
 * `size` octets long. The answer comes when it is durable. On ERR_NOSPACE and before the first step nothing
 * has happened; later errors leave the rest to journal_finish(). The journal is empty. */
int journal_remove(int journal, int fd, uint64_t size, const struct journal_range *ranges, uint64_t count,
                   struct error *error);

/* `range`, which begins where the file `fd` ends, is about to be written, the octet at `first` in it last and
 * when the others are durable. Durable when it returns. The journal is empty. */
int journal_note_append(int journal, int fd, const struct journal_range *range, uint64_t first);

/* What the journal was for is done, or nothing has happened. */
void journal_clear(int journal);

/* Finishes or undoes what the journal says was begun; `what` is of the file `fd`, which is locked, before and
 * after. All zero and -1: there is none. ERR_CHANGED: another program has rewritten or removed it since. */
int journal_finish(int journal, int fd, struct stat *what);

#endif
