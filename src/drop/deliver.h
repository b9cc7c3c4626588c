/* SPDX-License-Identifier: MIT */
/*
 * Mail comes in. Used by the keeper for LMTP and by `restante deliver` and `import`.
 *
 * A message is first a file that nobody sees, which the caller fills (lines end in LF); then it is put into
 * one maildrop or many. It is there as a whole or not at all, whenever this process or the machine dies.
 * No session's lock is needed: a session that is open does not see the message, the next one does.
 *
 * Every call may block on the disk. One thread uses a message at a time.
 */
#ifndef DROP_DELIVER_H
#define DROP_DELIVER_H

#include "drop/drop.h"

struct drop_incoming; /* a message on its way in */

/* What an account may have in its maildrop; 0: as much as there is room for. */
struct drop_quota {
	uint64_t octets; /* on the wire, as LIST shows them */
	uint64_t messages;
};

/* What became of it, for the log. */
struct drop_delivered {
	char unique_id[DROP_UID_MAX + 1]; /* "" where that is decided later */
	uint64_t raw;                     /* octets of its file */
};

/* Begins a message with an empty file on the file system of the maildrop at `location`, which is made if
 * there is none, as drop_open() does. ERR_SYNTAX, ERR_CORRUPT, ERR_DENIED, ERR_IO, ERR_NOSPACE, ... */
int drop_incoming_begin(const struct drop_root *root, const char *location, struct drop_incoming **ret,
                        struct error *error);

/* Its file, to read and to write; borrowed. Who has it fills it before the first drop_deliver(). */
int drop_incoming_fd(const struct drop_incoming *incoming);

/* A descriptor to fill it by, the caller's own, for somebody who is not trusted: what he writes once
 * drop_deliver() was called is no message's, even if he did not close it. (But what is delivered into an
 * mbox, which is a copy at any rate, may be a mixture then.) */
int drop_incoming_lend(struct drop_incoming *incoming, int *ret_fd);

/* Keeps the name the message had in another Maildir, "new/NAME" or "cur/NAME:2,FLAGS", and so its unique-id.
 * Kinds of maildrops whose messages have no names pay no attention. ERR_SYNTAX: no such name. */
int drop_incoming_keep_name(struct drop_incoming *incoming, const char *name);

/* Puts the message into the maildrop at `location` and makes that durable before it returns 0. May be called
 * for many maildrops: where the file system allows it they share one file. `quota` may be NULL. ERR_QUOTA:
 * this message would be too much; ERR_EXISTS: the name that it is to keep is there; otherwise as above. On
 * error the maildrop is as it was. */
int drop_deliver(const struct drop_root *root, struct drop_incoming *incoming, const char *location,
                 const struct drop_quota *quota, struct drop_delivered *ret, struct error *error);

/* Removes what is temporary; NULL is fine. */
void drop_incoming_end(struct drop_incoming *incoming);

#endif
