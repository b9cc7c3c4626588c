/* SPDX-License-Identifier: MIT */
/*
 * An open mbox, for the files that implement drop.h and deliver.h. Beside the mbox NAME lie, where its folder
 * may be written: ".NAME.restante-index", a cache; and ".NAME.restante-journal", whose lock is the
 * session's and which holds something only while messages are being removed or delivered.
 *
 * A row of the index (index.h) speaks of an mbox's message like this: `inode` is where its From_ line lies in
 * the file, `modified_ns` the sum of what lies there, its name says what it is and how it lies (mbox_place).
 */
#ifndef DROP_MBOX_H
#define DROP_MBOX_H

#include "drop/kind.h"
#include "drop/mbox_lock.h"
#include "drop/mbox_parse.h"

/* What is behind the name of an mbox, at most: ".NAME.restante-journal", "NAME.lock". */
enum { MBOX_NAME_MAX = NAME_OCTETS_MAX - 20 };

struct mbox {
	struct drop drop;
	bool has_journal; /* and drop.lock is it; else that is the mbox */
	struct drop_mbox_rules rules;
	char name[MBOX_NAME_MAX + 1];
};

enum mbox_file { MBOX_INDEX, MBOX_INDEX_NEW, MBOX_JOURNAL, MBOX_USAGE, MBOX_DOT_NEW };
void mbox_file_name(const char *name, enum mbox_file file, char to[NAME_OCTETS_MAX + 1]);

/* Opens the folder of the mbox `path` and copies its name. ERR_SYNTAX: a name that other files have. */
int mbox_open_folder(const struct drop_root *root, const char *path, bool nowait, int *ret_folder,
                     char ret_name[MBOX_NAME_MAX + 1], struct error *error);

/* Locks the mbox as mbox_lock_take() does, and finishes what its journal says was begun. ERR_CORRUPT: another
 * program got in between. */
int mbox_lock(const struct mbox *mbox, enum mbox_lock_for what_for, struct mbox_lock *ret,
              struct stat *ret_what, struct error *error);

/* Where a message lies in the file. */
struct mbox_place {
	uint64_t at, stored;
	uint16_t from_len;
	uint8_t trail;
};

/* The row and the name of a message, and back. ERR_CORRUPT. */
enum { MBOX_ROW_NAME_MAX = 64 };
void mbox_set_row(const struct mbox_message *message, struct index_row *ret,
                  char ret_name[MBOX_ROW_NAME_MAX]);
int mbox_get_place(const struct index_row *row, struct span name, struct mbox_place *ret);

/* What the file was like when the index was written: enum index_folder, used otherwise. */
enum { MBOX_SEEN_FILE = INDEX_NEW, MBOX_SEEN_SIZE = INDEX_CUR };
void mbox_see(const struct stat *what, const struct drop_mbox_rules *rules,
              struct index_seen ret[INDEX_FOLDERS]);

/* The sum of what lies at `place` in the mbox `fd`. ERR_CHANGED: the file is shorter; ERR_AGAIN, ERR_IO. */
int mbox_sum_place(int fd, bool nowait, const struct mbox_place *place, uint64_t *ret_sum);

/* Opens the index beside the mbox: as index_open(). */
int mbox_open_index(int folder, const char *name, bool nowait, struct index *ret);

/* Feeds the parser with the octets of a file of `size` octets from `at` on. ERR_CHANGED: it is shorter;
 * ERR_IO, ERR_NOMEM, or what the parser said. */
int mbox_read_file(int fd, uint64_t size, uint64_t at, struct mbox_parser *parser);

/* Writes "From SENDER DATE", a line, to `to` and returns its length. The sender is what the message says,
 * which lies in `fd` from `at` on, if it begins with a Return-Path. */
enum { MBOX_SENDER_MAX = 320, MBOX_FROM_LINE_MAX = MBOX_SENDER_MAX + 64 };
size_t mbox_make_from_line(int fd, uint64_t at, time_t when, char to[MBOX_FROM_LINE_MAX]);

/* Brings the index, which is open or not, up to date with the mbox. */
int mbox_update_index(struct mbox *mbox, struct drop_report *report, struct error *error);

/* Writes the index beside the mbox, else into a memory file. */
int mbox_write_index(const struct mbox *mbox, const struct catalog *catalog,
                     const struct index_seen seen[INDEX_FOLDERS], struct index *ret);

/* --- struct drop_kind --- */

int mbox_begin(const struct drop_root *root, const char *path, struct drop_incoming *incoming,
               struct error *error);
int mbox_deliver(const struct drop_root *root, const char *path, struct drop_incoming *incoming,
                 const struct drop_quota *quota, struct drop_delivered *ret, struct error *error);
int mbox_commit(struct drop *drop, struct span bitmap, uint32_t *ret_removed, struct error *error);

#endif
