/* SPDX-License-Identifier: MIT */
/* Octets too long for a message's tail travel in a sealed memory file. */
#ifndef IPC_BLOB_H
#define IPC_BLOB_H

#include "base/span.h"

#include <stdint.h>

#define BLOB_MAX (UINT64_C(4) << 30) /* octets of the longest memory file */

/* A new memory file of `size` octets mapped at *ret_map for filling; *ret_fd owned by the
 * caller. ERR_NOMEM, ERR_FULL. Then blob_seal(): unmaps, and nobody can write,
 * grow or shrink it any more. */
int blob_new(const char *name, uint64_t size, int *ret_fd, char **ret_map);
int blob_seal(int fd, char *map, uint64_t size);

/* A sealed copy of `octets`. */
int blob_copy(const char *name, struct span octets, int *ret_fd);

/* A memory file of `size` octets that we go on writing, at *ret_map, and nobody else can. */
int blob_share(const char *name, uint64_t size, int *ret_fd, char **ret_map);

/* Maps read-only what a peer shares with us: ERR_PEER unless it keeps its size. What is in it may change at
 * any time. */
int blob_map_shared(int fd, uint64_t size, const char **ret_map);

/* Maps read-only what a peer sent. ERR_PEER unless it is a memory file sealed against
 * writing, growing and shrinking, of exactly `size` octets. `size` 0 gives a NULL map. */
int blob_map(int fd, uint64_t size, const char **ret_map);
void blob_unmap(const char *map, uint64_t size);

#endif
