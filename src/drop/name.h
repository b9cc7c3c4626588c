/* SPDX-License-Identifier: MIT */
/*
 * What the name of a file in new/ or cur/ says: whether it is a message's, which part of it
 * stays when flags change, where it sorts, and its unique-id.
 */
#ifndef DROP_NAME_H
#define DROP_NAME_H

#include "base/span.h"
#include "drop/drop.h"

#include <stdint.h>

enum { NAME_OCTETS_MAX = 255 }; /* of one file name, on every file system we know */

/* 1 to NAME_OCTETS_MAX octets, no '/' and no NUL, not beginning with a dot. */
bool name_is_message(struct span name);

/* The part before ":2," (all of it when there is none): what stays while the flags change. */
struct span name_base(struct span name);

/* Delivery order: by the number a name begins with (none is 0), then by name; <0, 0, >0. */
int name_compare(struct span a, struct span b);
/* The number a name begins with, or UINT64_MAX when it is longer than such a type holds: names of a smaller
 * number come first. */
uint64_t name_number(struct span name);

/* The unique-id of a message: its base name where RFC 1939 section 7 allows that, else
 * 'h' and 32 hexadecimal digits of its hash. The same for the same base name, always.
 * ERR_NOMEM. */
int name_unique_id(struct span base, char to[DROP_UID_MAX], size_t *ret_len);

/* For a second message of the same base name: a hash over base name and inode. ERR_NOMEM. */
int name_second_unique_id(struct span base, uint64_t inode, char to[DROP_UID_MAX], size_t *ret_len);

/* A name nobody has had, for a new file: time, process, chance and host, as maildir(5) has it. Text; a
 * legal unique-id. ERR_IO: the kernel gives no random octets. */
enum { NAME_FRESH_MAX = DROP_UID_MAX + 1 };
int name_make_fresh(char to[NAME_FRESH_MAX]);

/* Octets of 0x21 to 0x7e only, any number of them. */
bool name_is_legal(struct span octets);

/* 1 to DROP_UID_MAX legal octets. */
bool name_is_unique_id(struct span id);

#endif
