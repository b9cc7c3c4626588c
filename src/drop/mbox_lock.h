/* SPDX-License-Identifier: MIT */
/*
 * Locks on an mbox, as other mail programs take them: fcntl first, then the dot lock, "NAME.lock" beside it.
 * When the second is held by somebody the first is given back meanwhile, so that it does not matter in
 * which order others take them. Held while the file is read or altered, never for a session.
 */
#ifndef DROP_MBOX_LOCK_H
#define DROP_MBOX_LOCK_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

enum mbox_lock_for {
	MBOX_LOCK_READ,   /* an mbox that may not be written can be read all the same */
	MBOX_LOCK_WRITE,  /* there must be one */
	MBOX_LOCK_CREATE, /* made if there is none */
};

/* How long another program's lock is waited for. */
enum {
	MBOX_WAIT_SESSION_MS = 3000, /* at login */
	MBOX_WAIT_WRITE_MS = 10000,  /* to delete, to deliver */
};

struct mbox_lock {
	int folder;
	int fd; /* the mbox, locked */
	const char *name;
	uint64_t dot_inode; /* of our dot lock; 0: the folder allows none */
	bool exclusive;
};

/* Locks the mbox `name` in `folder`, both borrowed until the lock is given back. ERR_NOTFOUND, ERR_BUSY:
 * another program holds it; ERR_NOTREGULAR, ERR_DENIED, ERR_READONLY, ERR_UNSUPPORTED, ... */
int mbox_lock_take(int folder, const char *name, enum mbox_lock_for what_for, struct mbox_lock *ret,
                   struct stat *ret_what, struct error *error);

/* Whether there is a dot lock; and removes one of ours that a crash left. */
bool mbox_lock_is_there(int folder, const char *name);
void mbox_lock_clean(int folder, const char *name);

/* Gives it back and closes the file. */
void mbox_lock_drop(struct mbox_lock *lock);

#endif
