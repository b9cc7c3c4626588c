/* SPDX-License-Identifier: MIT */
/* What one kind of maildrop does for drop.h, and what all kinds have in common. Inside src/drop only. */
#ifndef DROP_KIND_H
#define DROP_KIND_H

#include "drop/deliver.h"
#include "drop/index.h"

struct drop_kind {
	const char *name; /* what locations begin with, before the ':' */
	/* As in drop.h; `path` is what lies below root, in parts that are neither empty nor "." nor "..". */
	int (*open)(const struct drop_root *root, const char *path, unsigned flags, struct drop **ret,
	            struct drop_report *ret_report, struct error *error);
	int (*body)(struct drop *drop, uint32_t number, unsigned flags, struct drop_body *ret);
	/* NULL: none of its messages are read, all are opened. */
	unsigned (*read_small)(struct drop *drop, const uint32_t *numbers, unsigned count, unsigned flags,
	                       char *room, size_t room_size, struct drop_body *ret);
	/* drop_commit_step(); the whole in one step will do. */
	int (*commit)(struct drop *drop, struct span bitmap, uint32_t *ret_removed, struct error *error);
	void (*discard)(struct drop *drop); /* throws away an index that does not hold */
	/* Makes drop->index anew from the messages; NULL: opening anew is the only way. */
	int (*reindex)(struct drop *drop, struct drop_report *report, struct error *error);
	/* drop_prepare(); NULL: what open() returns is ready. */
	int (*prepare)(struct drop *drop, struct drop_report *report, struct error *error);
	/* Of kinds whose messages are files; as drop_recount(). */
	int (*count)(struct drop *drop, uint64_t *ret_messages);
	void (*close)(struct drop *drop);
	/* As in deliver.h. begin() gives the empty file to `incoming`; what it has given when it fails is
	 * removed by drop_incoming_end(). deliver() may be given a message that another kind began. */
	int (*begin)(const struct drop_root *root, const char *path, struct drop_incoming *incoming,
	             struct error *error);
	int (*deliver)(const struct drop_root *root, const char *path, struct drop_incoming *incoming,
	               const struct drop_quota *quota, struct drop_delivered *ret, struct error *error);
};

extern const struct drop_kind maildir_kind, mbox_kind;

/* Every open maildrop begins with this. */
struct drop {
	const struct drop_kind *kind;
	int folder; /* where its files lie */
	int lock;   /* what a session locks: this maildrop's and no other's; -1: it is not there */
	bool shared;
	struct index index;
};

/* "KIND:" and a path below root -> which kind, and what is below. ERR_SYNTAX. */
int drop_locate(const struct drop_root *root, const char *location, const struct drop_kind **ret_kind,
                const char **ret_path, struct error *error);

#endif
