/* SPDX-License-Identifier: MIT */
/* Where imported messages come from: a Maildir, an mbox, a file with one message. Nothing is changed there.
 */
#ifndef ADMIN_SOURCE_H
#define ADMIN_SOURCE_H

#include "admin/content.h"
#include "base/err.h"
#include "base/span.h"
#include "drop/drop.h"

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

struct source_item {
	const char *path;     /* of the source, for people */
	const char *name;     /* in a Maildir: "new/NAME" or "cur/NAME:2,FLAGS"; else NULL */
	uint64_t number;      /* in the source, from 1 */
	uint64_t all;         /* messages in the source; 0: not known */
	struct timespec when; /* it was delivered there */
	int fd;               /* borrowed */
	uint64_t offset, length;
	bool quoted; /* as in an mboxrd: '>' before lines like "From " */
};

/* Returns 0, or an exit status that ends the reading. */
typedef int source_each(void *user, const struct source_item *item);

struct source {
	const char *path;
	int fd;
	bool folder; /* a Maildir */
};

/* Opens a source; "-" is standard input. 0, or the exit status after complaining. */
int source_open(const char *path, struct source *ret);
void source_close(struct source *source);

/* Calls `each` with every message, in order of delivery; one that can not be opened has fd -1. A file is an
 * mbox when it begins like one; of `rules`, those about quoting hold. 0, or the exit status after
 * complaining, or what `each` returned. */
int source_read(const struct source *source, const struct drop_mbox_rules *rules, source_each *each,
                void *user);

/* The octets of a message without quoting, part by part, until `sink` returns non-zero (an enum err). ERR_IO,
 * ERR_CORRUPT: it is shorter by now, ERR_NOMEM. */
int source_copy(const struct source_item *item, int (*sink)(void *user, struct span octets), void *user);

/* What content.h says of a message; and its octets into the empty file `fd`, which gets its time. Errors as
 * above, and those of writing. */
int source_hash(const struct source_item *item, char ret[CONTENT_DIGITS + 1]);
int source_fill(const struct source_item *item, int fd);

#endif
