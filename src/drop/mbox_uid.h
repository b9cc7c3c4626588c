/* SPDX-License-Identifier: MIT */
/*
 * Unique-ids of messages in an mbox: the identity (mbox_parse.h) of the first message that has it, then
 * "IDENTITY-2", "IDENTITY-3" and so on for messages that are the same octet for octet. They are computed from
 * the mbox alone; what the index remembers is only which of several same messages had which number.
 */
#ifndef DROP_MBOX_UID_H
#define DROP_MBOX_UID_H

#include "drop/catalog.h"

/* Gives unique-ids to the messages from `known` (an index) on; those before have theirs. `before`, or NULL:
 * what the index knew of a file that was rewritten. ERR_NOMEM. */
int mbox_give_uids(struct catalog *catalog, uint32_t known, const struct catalog *before);

#endif
