/* SPDX-License-Identifier: MIT */
/* What a message is by its octets, for commands that must know whether they have seen it before. */
#ifndef ADMIN_CONTENT_H
#define ADMIN_CONTENT_H

#include "base/err.h"
#include "base/span.h"

#include <stdint.h>

enum { CONTENT_DIGITS = 32 }; /* hexadecimal */

/* A hash over a message without the line feeds at its end, which mailboxes add and take away. Fed in any
 * split. */
struct content {
	void *hash;
	uint64_t feeds; /* held back */
};

/* ERR_NOMEM. */
int content_begin(struct content *content);
int content_add(struct content *content, struct span octets);
/* Ends it in any case; `to` may be NULL. */
int content_end(struct content *content, char to[CONTENT_DIGITS + 1]);

/* Keys that were seen, each with a number that is its owner's; a tree. Zeros are an empty one. */
struct keys {
	void *root;
};

/* The number of a key: 0 when it is new, and *ret stays valid until keys_finish(). ERR_NOMEM. */
int keys_find(struct keys *keys, struct span key, uint32_t **ret);
/* Calls `each` with the number of every key. */
void keys_each(const struct keys *keys, void (*each)(void *user, uint32_t number), void *user);
void keys_finish(struct keys *keys);

#endif
