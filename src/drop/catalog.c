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

struct span catalog_name(const struct catalog *catalog, const struct message *message)
{
	return span_of(catalog->names.ptr + message->row.name_at, message->row.name_len);
}

struct span catalog_uid(const struct catalog *catalog, const struct message *message)
{
	return span_of(catalog->uids.ptr + message->uid_at, message->uid_len);
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

static uint32_t first_slot(const struct catalog *catalog, struct span base)
{
	return (uint32_t)sum_of(catalog->seed, base) & catalog->mask;
}

void catalog_enter(struct catalog *catalog, uint32_t at)
{
	uint32_t slot = first_slot(catalog, name_base(catalog_name(catalog, &catalog->messages[at])));
	while (catalog->slots[slot])
		slot = (slot + 1) & catalog->mask;
	catalog->slots[slot] = at + 1;
}

static struct message *find_from(const struct catalog *catalog, struct span base, uint32_t *slot)
{
	for (; catalog->slots[*slot]; *slot = (*slot + 1) & catalog->mask) {
		struct message *message = &catalog->messages[catalog->slots[*slot] - 1];
		if (span_equal(name_base(catalog_name(catalog, message)), base))
			return message;
	}
	return NULL;
}

struct message *catalog_find(const struct catalog *catalog, struct span base, uint32_t *slot)
{
	*slot = first_slot(catalog, base);
	return find_from(catalog, base, slot);
}

struct message *catalog_find_next(const struct catalog *catalog, struct span base, uint32_t *slot)
{
	*slot = (*slot + 1) & catalog->mask;
	return find_from(catalog, base, slot);
}

uint32_t catalog_compact(struct catalog *catalog)
{
	uint32_t kept = 0;
	for (uint32_t i = 0; i < catalog->count; i++)
		if (catalog->messages[i].seen)
			catalog->messages[kept++] = catalog->messages[i];
	uint32_t dropped = catalog->count - kept;
	catalog->count = kept;
	free(catalog->slots);
	catalog->slots = NULL;
	catalog->mask = 0;
	return dropped;
}
