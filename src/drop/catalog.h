/* SPDX-License-Identifier: MIT */
/* The messages of a maildrop in memory, for the short time a scan or a commit takes. */
#ifndef DROP_CATALOG_H
#define DROP_CATALOG_H

#include "base/buf.h"
#include "drop/index.h"

struct message {
	struct index_row row; /* its name_at is in catalog.names */
	uint32_t uid_at;      /* in catalog.uids */
	uint8_t uid_len;      /* 0: none yet */
	bool seen;            /* there is a file */
};

struct catalog {
	struct message *messages;
	uint32_t count, room;
	struct buf names, uids;
	uint64_t
	    *slots; /* base name -> message: upper half of its hash, index + 1; 0 for none; open addressing */
	uint32_t mask; /* slots - 1; 0 while there is no table */
	uint64_t seed;
};

/* `seed` decides where names lie in the table. */
void catalog_init(struct catalog *catalog, uint64_t seed);
void catalog_finish(struct catalog *catalog);

/* Makes room for `count` messages in all. ERR_NOMEM. */
int catalog_reserve(struct catalog *catalog, uint32_t count);

/* Adds a message with this row and name. ERR_NOMEM, ERR_FULL past DROP_MESSAGES_MAX. */
int catalog_add(struct catalog *catalog, const struct index_row *row, struct span name);

/* Gives a message another name. ERR_NOMEM. */
int catalog_rename(struct catalog *catalog, struct message *message, uint8_t in_cur, struct span name);

/* Sets a message's unique-id. ERR_NOMEM. */
int catalog_set_uid(struct catalog *catalog, struct message *message, struct span uid);

static inline struct span catalog_name(const struct catalog *catalog, const struct message *message)
{
	return span_of(catalog->names.ptr + message->row.name_at, message->row.name_len);
}
static inline struct span catalog_uid(const struct catalog *catalog, const struct message *message)
{
	return span_of(catalog->uids.ptr + message->uid_at, message->uid_len);
}

/* Makes the table of the first `count` messages, with room for all. ERR_NOMEM. */
int catalog_make_table(struct catalog *catalog, uint32_t count);
/* Enters message number `at` (from 0) into the table. */
void catalog_enter(struct catalog *catalog, uint32_t at);

/* The caller's bookmark in a search. */
struct catalog_search {
	struct span base;
	uint64_t hash;
	uint32_t slot;
};

/* The first, then each further message in the table with this base name; NULL at the end. */
struct message *catalog_find(const struct catalog *catalog, struct span base, struct catalog_search *ret);
struct message *catalog_find_next(const struct catalog *catalog, struct catalog_search *search);

/* Drops the messages that were not seen; the others keep their order. The table is gone after. Returns
 * how many were dropped. */
uint32_t catalog_compact(struct catalog *catalog);

#endif
