/* SPDX-License-Identifier: MIT */
/* An open Maildir, for the files that implement drop.h. */
#ifndef DROP_MAILDIR_H
#define DROP_MAILDIR_H

#include "drop/deliver.h"
#include "drop/kind.h"

struct update;
struct commit;

struct maildir {
	struct drop drop;      /* first */
	struct update *update; /* while its index is not up to date, NULL */
	int guard;             /* a lock meanwhile, -1 */
	struct commit *commit; /* while messages are removed, NULL */
};

/* struct drop_kind */
int maildir_commit(struct drop *drop, struct span bitmap, uint32_t *ret_removed, struct error *error);
void maildir_end_commit(struct maildir *maildir);
int maildir_begin(const struct drop_root *root, const char *path, struct drop_incoming *incoming,
                  struct error *error);
int maildir_deliver(const struct drop_root *root, const char *path, struct drop_incoming *incoming,
                    const struct drop_quota *quota, struct drop_delivered *ret, struct error *error);

/* Opens the folder `path` below `root` and makes it, durably, if it is not there. */
int maildir_open_folder(const struct drop_root *root, const char *path, bool nowait, int *ret_fd,
                        struct error *error);

/* Makes those of new/, cur/ and tmp/ that are missing, durably. ERR_CORRUPT: the folder holds something else.
 */
int maildir_make_folders(int folder, const char *path, struct error *error);

#endif
