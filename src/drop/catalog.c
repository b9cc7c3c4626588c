/* SPDX-License-Identifier: MIT */
/* Messages in memory. Runs in the keeper's disk threads; names are anybody's, rows were checked. */
#include "drop/catalog.h"

#include "drop/sum.h"

#include <stdlib.h>
#include <string.h>

enum { ROOM_FIRST = 64 };

void catalog_init(struct catalog *catalog, uint64_t seed)
{
	*catalog = (struct catalog){.seed = seed};
	buf_init(&catalog->names, (size_t)DROP_MESSAGES_MAX * 2 * NAME_OCTETS_MAX); /* each once renamed */
	buf_init(&catalog->uids, (size_t)DROP_MESSAGES_MAX * DROP_UID_MAX);
}

void catalog_finish(struct catalog *catalog)
{
	free(catalog->messages);
	free(catalog->slots);
	buf_finish(&catalog->names);
	buf_finish(&catalog->uids);
	*catalog = (struct catalog){0};
}

int catalog_reserve(struct catalog *catalog, uint32_t count)
{
	if (count <= catalog->room)
		return ERR_NONE;
	struct message *messages = reallocarray(catalog->messages, count, sizeof *messages);
	if (!messages)
		return ERR_NOMEM;
	catalog->messages = messages;
	catalog->room = count;
	return ERR_NONE;
}

static int set_name(struct catalog *catalog, struct index_row *row, struct span name)
{
	size_t at = catalog->names.len;
	int err = buf_add(&catalog->names, name);
	if (err)
		return ERR_NOMEM;
	row->name_at = at;
	row->name_len = (uint16_t)name.len;
	return ERR_NONE;
}

int catalog_add(struct catalog *catalog, const struct index_row *row, struct span name)
{
	if (catalog->count >= DROP_MESSAGES_MAX)
		return ERR_FULL;
	uint32_t room = catalog->room ? catalog->room : ROOM_FIRST;
	int err = catalog_reserve(catalog, catalog->count < room ? room : room * 2);
	struct message message = {.row = *row};
	if (err == ERR_NONE)
		err = set_name(catalog, &message.row, name);
	if (err == ERR_NONE)
		catalog->messages[catalog->count++] = message;
	return err;
}

int catalog_rename(struct catalog *catalog, struct message *message, uint8_t in_cur, struct span name)
{
	int err = ERR_NONE;
	if (!span_equal(catalog_name(catalog, message), name))
		err = set_name(catalog, &message->row, name);
	if (err == ERR_NONE)
		message->row.flags = (uint8_t)((message->row.flags & ~INDEX_IN_CUR) | in_cur);
	return err;
}

int catalog_set_uid(struct catalog *catalog, struct message *message, struct span uid)
{
	size_t at = catalog->uids.len;
	if (buf_add(&catalog->uids, uid) != ERR_NONE)
		return ERR_NOMEM;
	message->uid_at = (uint32_t)at;
	message->uid_len = (uint8_t)uid.len;
	return ERR_NONE;
}

int catalog_make_table(struct catalog *catalog, uint32_t count)
{
	uint32_t size = ROOM_FIRST;
	while (size / 2 < catalog->count)
		size *= 2;
	free(catalog->slots);
	catalog->mask = 0;
	catalog->slots = calloc(size, sizeof *catalog->slots);
	if (!catalog->slots)
		return ERR_NOMEM;
	catalog->mask = size - 1;
	for (uint32_t i = 0; i < count; i++)
		catalog_enter(catalog, i);
	return ERR_NONE;
}

/* Lower half: where to look first; upper half: what tells most others apart without looking at them. */
static uint64_t hash_of(const struct catalog *catalog, struct span base)
{
	return sum_of(catalog->seed, base);
}

enum { TAG_SHIFT = 32 };

void catalog_enter(struct catalog *catalog, uint32_t at)
{
	uint64_t hash = hash_of(catalog, name_base(catalog_name(catalog, &catalog->messages[at])));
	uint32_t slot = (uint32_t)hash & catalog->mask;
	while (catalog->slots[slot])
		slot = (slot + 1) & catalog->mask;
	catalog->slots[slot] = hash >> TAG_SHIFT << TAG_SHIFT | (at + 1);
}

static struct message *find_from(const struct catalog *catalog, struct catalog_search *search)
{
	for (uint64_t entry; (entry = catalog->slots[search->slot]);
	     search->slot = (search->slot + 1) & catalog->mask) {
		if (entry >> TAG_SHIFT != search->hash >> TAG_SHIFT)
			continue;
		struct message *message = &catalog->messages[(uint32_t)entry - 1];
		if (span_equal(name_base(catalog_name(catalog, message)), search->base))
			return message;
	}
	return NULL;
}

struct message *catalog_find(const struct catalog *catalog, struct span base, struct catalog_search *ret)
{
	uint64_t hash = hash_of(catalog, base);
	*ret = (struct catalog_search){base, hash, (uint32_t)hash & catalog->mask};
	return find_from(catalog, ret);
}

struct message *catalog_find_next(const struct catalog *catalog, struct catalog_search *search)
{
	search->slot = (search->slot + 1) & catalog->mask;
	return find_from(catalog, search);
}

uint32_t catalog_compact(struct catalog *catalog)
{
	uint32_t kept = 0;
	for (uint32_t i = 0; i < catalog->count; i++) {
		if (!catalog->messages[i].seen)
			continue;
		if (kept != i)
			catalog->messages[kept] = catalog->messages[i];
		kept++;
	}
	uint32_t dropped = catalog->count - kept;
	catalog->count = kept;
	free(catalog->slots);
	catalog->slots = NULL;
	catalog->mask = 0;
	return dropped;
}
