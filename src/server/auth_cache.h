/* SPDX-License-Identifier: MIT */
/*
 * Verified logins of the last while, so that a robot's poll does not cost a password
 * hash each time. Used by auth only.
 *
 * What is kept of a password is a MAC under a random key that lives as long as the process: the memory
 * of auth tells nobody a password. Any change of any account drops all entries.
 */
#ifndef SERVER_AUTH_CACHE_H
#define SERVER_AUTH_CACHE_H

#include "base/span.h"

#include <stdint.h>

enum {
	AUTH_CACHE_MAX = 65536, /* entries; the ones to expire first make room */
	AUTH_CACHE_WAYS = 4,    /* entries a login may choose among */
	AUTH_CACHE_MAC_SIZE = 32,
};

struct auth_cache;

struct auth_cache_entry {
	uint8_t mac[AUTH_CACHE_MAC_SIZE];
	uint64_t expires_ms; /* time_mono_ms() */
	const char *account, *location;
	size_t size; /* of the whole with its texts */
	char texts[];
};

/* Entries live `life_ms`. ERR_NOMEM, ERR_IO. */
int auth_cache_new(uint32_t life_ms, struct auth_cache **ret);
/* NULL is fine; wipes. */
void auth_cache_free(struct auth_cache *cache);

/* What stands for this name (as acct_name_fold() gives it) with this password. ERR_IO. */
int auth_cache_compute(struct auth_cache *cache, const char *name, struct span password,
                       uint8_t ret_mac[AUTH_CACHE_MAC_SIZE]);

/* The entry, or NULL; valid until the next call. `version` is acct_version()'s: a greater one than last time
 * empties the cache. */
const struct auth_cache_entry *auth_cache_find(struct auth_cache *cache, uint64_t version, uint64_t now_ms,
                                               const uint8_t mac[AUTH_CACHE_MAC_SIZE]);
/* Without memory, or when a greater version was seen already, nothing is added. */
void auth_cache_add(struct auth_cache *cache, uint64_t version, uint64_t now_ms,
                    const uint8_t mac[AUTH_CACHE_MAC_SIZE], const char *account, const char *location);

#endif
