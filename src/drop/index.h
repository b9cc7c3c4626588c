/* SPDX-License-Identifier: MIT */
/*
 * The index file of a maildrop: what is known of its messages, so that opening reads no
 * message and no directory. A cache: it may be deleted at any time, and is thrown away
 * when it does not hold.
 *
 * Layout: struct index_head; the listing exactly as drop_listing() gives it (uint64_t wire
 * octets[count], uint32_t uid_at[count + 1], unique-ids), filled up with zeros to 8; struct
 * index_row[count]; the file names, one behind the other, without NULs.
 *
 * Sums: head and listing are summed whole, each row with its name, its number and the file's stamp. Each is
 * checked when it is read, so that opening costs the head only, and what somebody overwrites during a session
 * is noticed, even by parts of another index of the same maildrop.
 */
#ifndef DROP_INDEX_H
#define DROP_INDEX_H

#include "drop/name.h"

#include <stdint.h>

#define INDEX_NAME     "restante.index"
#define INDEX_NAME_NEW "restante.index.new" /* while it is written */

enum index_folder { INDEX_NEW, INDEX_CUR, INDEX_FOLDERS };

/* A folder as it was when it was read. */
struct index_seen {
	uint64_t inode;
	uint64_t changed_ns; /* its ctime; 0: what was read then is not to be relied on */
};

struct index_head {
	char magic[8];
	uint32_t count;
	uint32_t uid_octets;
	uint64_t names_octets;
	uint64_t stamp;      /* of this file, in the sum of each row */
	uint64_t written_ns; /* CLOCK_REALTIME */
	struct index_seen seen[INDEX_FOLDERS];
	uint64_t listing_sum;
	uint64_t octets; /* on the wire, of all messages: at most INT64_MAX, whatever they add up to */
	uint64_t sum;    /* of the head up to here */
};

enum index_flag {
	INDEX_IN_CUR = 1,     /* else in new/ */
	INDEX_CRLF = 2,       /* struct facts */
	INDEX_NO_DOTS = 4,    /* struct facts */
	INDEX_UNREADABLE = 8, /* sizes are the file's, nothing else is known */
	INDEX_FLAGS = 15,
};

struct index_row {
	uint64_t raw, wire, header; /* struct facts */
	uint64_t modified_ns;       /* mtime */
	uint64_t inode;
	uint64_t name_at; /* in the names */
	uint64_t content; /* message_sum() of a message of at most DROP_SMALL_MAX octets, else 0 */
	uint16_t name_len;
	uint8_t flags; /* enum index_flag */
	uint8_t unused;
	uint32_t sum; /* of number, stamp, the row up to here, and the name */
};

struct index {
	int fd;
	bool memory; /* a memory file: reading it never waits */
	struct index_head head;
};

/* Opens the index file of the maildrop `folder` and checks its head. ERR_NOTFOUND; ERR_CORRUPT, ERR_IO: it is
 * of no use; ERR_FULL, ERR_NOMEM: our own limits; ERR_AGAIN (`nowait` only). */
int index_open(int folder, bool nowait, struct index *ret);

/* The same from a descriptor, which becomes the index's on success. */
int index_open_fd(int fd, bool memory, bool nowait, struct index *ret);

void index_close(struct index *index);

uint64_t index_listing_size(const struct index *index);

/* Copies the listing to `to`, checked: ERR_CORRUPT, ERR_IO, ERR_AGAIN (`nowait` only). */
int index_listing(const struct index *index, bool nowait, char *to);

/* Reads and checks the row of message `number` (1 to count) and its file's path in the maildrop,
 * "new/..." or "cur/...", NUL-terminated. ERR_CORRUPT, ERR_IO, ERR_AGAIN. */
enum { INDEX_PATH_MAX = 4 + NAME_OCTETS_MAX + 1 };
int index_row(const struct index *index, uint32_t number, bool nowait, struct index_row *ret,
              char path[INDEX_PATH_MAX]);

struct catalog;

/* Reads all of it into an empty catalog. ERR_CORRUPT, ERR_IO, ERR_NOMEM. */
int index_load(const struct index *index, struct catalog *ret);

/* Writes a catalog to the beginning of the empty file `fd` (its own on success) and opens it.
 * ERR_NOSPACE, ERR_IO, ERR_NOMEM, ... */
int index_write(int fd, bool memory, const struct catalog *catalog,
                const struct index_seen seen[INDEX_FOLDERS], struct index *ret);

/* Writes it to the file `fresh` in `folder`, of which nobody else makes use meanwhile, and renames that to
 * `name`. `cheap`: what is there already goes first, which costs less but leaves none when the machine dies.
 * As index_write(). */
int index_write_beside(int folder, const char *fresh, const char *name, bool cheap,
                       const struct catalog *catalog, const struct index_seen seen[INDEX_FOLDERS],
                       struct index *ret);

/* Writes it to a memory file. */
int index_write_memory(const struct catalog *catalog, const struct index_seen seen[INDEX_FOLDERS],
                       struct index *ret);

/* Notes in the index file that its folders are now as in `seen`, the messages being the same.
 * Failing costs the next open some work and nothing else. */
void index_touch(struct index *index, int folder, const struct index_seen seen[INDEX_FOLDERS]);

/* Whether what was read then is what is there now. */
bool index_is_fresh(const struct index *index, const struct index_seen seen[INDEX_FOLDERS]);

/* Throws the index file away: it says what is not so. */
void index_discard(int folder);

#endif
