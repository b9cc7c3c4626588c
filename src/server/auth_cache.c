/* SPDX-License-Identifier: MIT */
/*
 * The verified-login cache: a table of buckets of a few entries each, found by the MAC
 * of name and password. Runs in auth; names and passwords are a client's.
 */
#include "server/auth_cache.h"

#include "base/err.h"
#include "base/secret.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>

struct auth_cache {
	EVP_MAC_CTX *context; /* holds the key */
	uint32_t life_ms;
	uint64_t version; /* of the accounts; no entry is of another */
	uint32_t count;
	struct auth_cache_entry *entries[AUTH_CACHE_MAX];
};

/* An HMAC-SHA-256 context with a fresh key; looking the algorithm up each time would cost more than the
 * sum. */
static EVP_MAC_CTX *new_context(void)
{
	unsigned char key[AUTH_CACHE_MAC_SIZE];
	char digest[] = "SHA256";
	OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
	                       OSSL_PARAM_construct_end()};
	EVP_MAC *mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
	EVP_MAC_CTX *context = mac ? EVP_MAC_CTX_new(mac) : NULL;
	EVP_MAC_free(mac);
	if (context &&
	    (RAND_bytes(key, sizeof key) != 1 || EVP_MAC_init(context, key, sizeof key, params) != 1)) {
		EVP_MAC_CTX_free(context);
		context = NULL;
	}
	secret_wipe(key, sizeof key);
	return context;
}

int auth_cache_new(uint32_t life_ms, struct auth_cache **ret)
{
	struct auth_cache *cache = calloc(1, sizeof *cache);
	if (!cache)
		return ERR_NOMEM;
	cache->life_ms = life_ms;
	cache->context = new_context();
	if (!cache->context) {
		free(cache);
		return ERR_IO;
	}
	*ret = cache;
	return ERR_NONE;
}

static void drop(struct auth_cache *cache, struct auth_cache_entry **slot)
{
	if (!*slot)
		return;
	secret_wipe(*slot, (*slot)->size);
	free(*slot);
	*slot = NULL;
	cache->count--;
}

static void drop_all(struct auth_cache *cache)
{
	for (size_t i = 0; i < AUTH_CACHE_MAX && cache->count > 0; i++)
		drop(cache, &cache->entries[i]);
}

void auth_cache_free(struct auth_cache *cache)
{
	if (!cache)
		return;
	drop_all(cache);
	EVP_MAC_CTX_free(cache->context);
	free(cache);
}

int auth_cache_compute(struct auth_cache *cache, const char *name, struct span password,
                       uint8_t ret_mac[AUTH_CACHE_MAC_SIZE])
{
	size_t len = 0;
	/* The NUL keeps name and password apart: no name holds one. */
	if (EVP_MAC_init(cache->context, NULL, 0, NULL) != 1 ||
	    EVP_MAC_update(cache->context, (const unsigned char *)name, strlen(name) + 1) != 1 ||
	    EVP_MAC_update(cache->context, (const unsigned char *)password.ptr, password.len) != 1 ||
	    EVP_MAC_final(cache->context, ret_mac, &len, AUTH_CACHE_MAC_SIZE) != 1 ||
	    len != AUTH_CACHE_MAC_SIZE)
		return ERR_IO;
	return ERR_NONE;
}

/* The AUTH_CACHE_WAYS slots this MAC may be in. */
static struct auth_cache_entry **find_bucket(struct auth_cache *cache, const uint8_t *mac)
{
	uint32_t number;
	memcpy(&number, mac, sizeof number);
	return &cache->entries[number % (AUTH_CACHE_MAX / AUTH_CACHE_WAYS) * AUTH_CACHE_WAYS];
}

static bool is_of(const struct auth_cache_entry *entry, const uint8_t *mac)
{
	return entry && secret_equal(span_of((const char *)entry->mac, AUTH_CACHE_MAC_SIZE),
	                             span_of((const char *)mac, AUTH_CACHE_MAC_SIZE));
}

static void follow_version(struct auth_cache *cache, uint64_t version)
{
	if (version > cache->version) {
		drop_all(cache);
		cache->version = version;
	}
}

const struct auth_cache_entry *auth_cache_find(struct auth_cache *cache, uint64_t version, uint64_t now_ms,
                                               const uint8_t mac[AUTH_CACHE_MAC_SIZE])
{
	follow_version(cache, version);
	struct auth_cache_entry **bucket = find_bucket(cache, mac);
	for (size_t i = 0; i < AUTH_CACHE_WAYS && version == cache->version; i++) {
		if (!is_of(bucket[i], mac))
			continue;
		if (now_ms < bucket[i]->expires_ms)
			return bucket[i];
		drop(cache, &bucket[i]);
	}
	return NULL;
}

/* The slot of this login, an empty one, or the one that expires first. */
static struct auth_cache_entry **choose_slot(struct auth_cache *cache, const uint8_t *mac)
{
	struct auth_cache_entry **bucket = find_bucket(cache, mac), **chosen = &bucket[0];
	for (size_t i = 0; i < AUTH_CACHE_WAYS; i++) {
		if (is_of(bucket[i], mac))
			return &bucket[i];
		if (*chosen && (!bucket[i] || bucket[i]->expires_ms < (*chosen)->expires_ms))
			chosen = &bucket[i];
	}
	return chosen;
}

void auth_cache_add(struct auth_cache *cache, uint64_t version, uint64_t now_ms,
                    const uint8_t mac[AUTH_CACHE_MAC_SIZE], const char *account, const char *location)
{
	size_t account_size = strlen(account) + 1, location_size = strlen(location) + 1;
	size_t size = sizeof(struct auth_cache_entry) + account_size + location_size;
	follow_version(cache, version);
	struct auth_cache_entry *entry = version == cache->version ? malloc(size) : NULL;
	if (!entry)
		return;
	memcpy(entry->mac, mac, AUTH_CACHE_MAC_SIZE);
	memcpy(entry->texts, account, account_size);
	memcpy(entry->texts + account_size, location, location_size);
	entry->account = entry->texts;
	entry->location = entry->texts + account_size;
	entry->expires_ms = now_ms + cache->life_ms;
	entry->size = size;
	struct auth_cache_entry **slot = choose_slot(cache, mac);
	drop(cache, slot);
	*slot = entry;
	cache->count++;
}
