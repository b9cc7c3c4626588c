/* SPDX-License-Identifier: MIT */
/* Contents and keys of messages. Used by administrator's commands on messages from anybody. */
#include "admin/content.h"

#include <openssl/evp.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>

int content_begin(struct content *content)
{
	*content = (struct content){.hash = EVP_MD_CTX_new()};
	if (content->hash && EVP_DigestInit_ex(content->hash, EVP_sha256(), NULL) == 1)
		return ERR_NONE;
	(void)content_end(content, NULL);
	return ERR_NOMEM;
}

static int add_feeds(struct content *content)
{
	static const char feed[] = {'\n'};
	for (; content->feeds; content->feeds--)
		if (EVP_DigestUpdate(content->hash, feed, sizeof feed) != 1)
			return ERR_NOMEM;
	return ERR_NONE;
}

int content_add(struct content *content, struct span octets)
{
	size_t len = octets.len;
	while (len && octets.ptr[len - 1] == '\n')
		len--;
	int err = len ? add_feeds(content) : ERR_NONE;
	if (err == ERR_NONE && len && EVP_DigestUpdate(content->hash, octets.ptr, len) != 1)
		err = ERR_NOMEM;
	content->feeds += octets.len - len;
	return err;
}

int content_end(struct content *content, char to[CONTENT_DIGITS + 1])
{
	static const char hex[] = "0123456789abcdef";
	unsigned char hash[EVP_MAX_MD_SIZE];
	int err = content->hash && EVP_DigestFinal_ex(content->hash, hash, NULL) == 1 ? ERR_NONE : ERR_NOMEM;
	for (unsigned i = 0; err == ERR_NONE && to && i < CONTENT_DIGITS; i++)
		to[i] = hex[i % 2 ? hash[i / 2] & 15 : hash[i / 2] >> 4];
	if (err == ERR_NONE && to)
		to[CONTENT_DIGITS] = '\0';
	EVP_MD_CTX_free(content->hash);
	*content = (struct content){0};
	return err;
}

struct key {
	uint32_t number;
	uint32_t len;
	char octets[];
};

static int compare(const void *a, const void *b)
{
	const struct key *left = a, *right = b;
	if (left->len != right->len)
		return left->len < right->len ? -1 : 1;
	return memcmp(left->octets, right->octets, left->len);
}

int keys_find(struct keys *keys, struct span octets, uint32_t **ret)
{
	struct key *key = malloc(sizeof *key + octets.len);
	if (!key)
		return ERR_NOMEM;
	key->number = 0;
	key->len = (uint32_t)octets.len;
	memcpy(key->octets, octets.ptr, octets.len);
	struct key **found = tsearch(key, &keys->root, compare);
	if (!found || *found != key)
		free(key);
	if (!found)
		return ERR_NOMEM;
	*ret = &(*found)->number;
	return ERR_NONE;
}

struct round {
	void (*each)(void *user, uint32_t number);
	void *user;
};

static void visit(const void *node, VISIT when, void *user)
{
	const struct round *round = user;
	const struct key *const *key = node;
	if (when == postorder || when == leaf)
		round->each(round->user, (*key)->number);
}

void keys_each(const struct keys *keys, void (*each)(void *user, uint32_t number), void *user)
{
	struct round round = {each, user};
	twalk_r(keys->root, visit, &round);
}

void keys_finish(struct keys *keys)
{
	tdestroy(keys->root, free);
	keys->root = NULL;
}
