/* SPDX-License-Identifier: MIT */
/* Unique-ids in an mbox. Runs in the keeper's disk threads; an mbox may hold any number of same messages. */
#include "drop/mbox_uid.h"

#include "base/num.h"
#include "drop/mbox_parse.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SLOTS_MIN = 64 };

/* The messages of a catalog by identity. Of same ones, which may be a great many, one is at hand, and behind
 * it the one that was at hand before. All numbers are indexes + 1, 0 for none. */
struct table {
	const struct catalog *catalog;
	uint32_t *slots; /* a message of this identity */
	uint32_t *top;   /* of that message: which of its identity is at hand */
	uint32_t *next;  /* of each message: what is behind it */
	uint32_t mask;
};

static struct span identity_of(const struct catalog *catalog, uint32_t at)
{
	return name_base(catalog_name(catalog, &catalog->messages[at]));
}

static void table_finish(struct table *table)
{
	free(table->slots);
	free(table->top);
	free(table->next);
}

static int table_init(struct table *table, const struct catalog *catalog)
{
	uint32_t size = SLOTS_MIN;
	while (size / 2 < catalog->count)
		size *= 2;
	*table = (struct table){
	    .catalog = catalog,
	    .slots = calloc(size, sizeof *table->slots),
	    .top = calloc((size_t)catalog->count + 1, sizeof *table->top),
	    .next = calloc((size_t)catalog->count + 1, sizeof *table->next),
	    .mask = size - 1,
	};
	if (table->slots && table->top && table->next)
		return ERR_NONE;
	table_finish(table);
	return ERR_NOMEM;
}

static uint32_t *find_slot(const struct table *table, struct span identity)
{
	uint32_t slot = (uint32_t)sum_of(table->catalog->seed, identity) & table->mask;
	while (table->slots[slot] &&
	       !span_equal(identity_of(table->catalog, table->slots[slot] - 1), identity))
		slot = (slot + 1) & table->mask;
	return &table->slots[slot];
}

static void table_push(struct table *table, uint32_t at)
{
	uint32_t *slot = find_slot(table, identity_of(table->catalog, at));
	if (!*slot)
		*slot = at + 1;
	table->next[at] = table->top[*slot - 1];
	table->top[*slot - 1] = at + 1;
}

static const struct message *table_top(const struct table *table, struct span identity)
{
	uint32_t slot = *find_slot(table, identity);
	return slot && table->top[slot - 1] ? &table->catalog->messages[table->top[slot - 1] - 1] : NULL;
}

static void table_pop(struct table *table, struct span identity)
{
	uint32_t *top = &table->top[*find_slot(table, identity) - 1];
	*top = table->next[*top - 1];
}

/* One number more than the last of the same messages. */
static int count_uid(struct catalog *catalog, struct message *message, struct span identity,
                     const struct message *last)
{
	char uid[DROP_UID_MAX + 1];
	uint64_t number = 1;
	struct span rest = last ? catalog_uid(catalog, last) : SPAN("");
	(void)span_cut(&rest, '-');
	(void)num_parse(rest, UINT32_MAX, &number);
	int len = snprintf(uid, sizeof uid, "%.*s", (int)identity.len, identity.ptr);
	if (last)
		len += snprintf(uid + len, sizeof uid - (size_t)len, "-%llu", (unsigned long long)number + 1);
	return catalog_set_uid(catalog, message, span_of(uid, (size_t)len));
}

static int give_all(struct catalog *catalog, uint32_t known, struct table *table, struct table *before)
{
	int err = ERR_NONE;
	for (uint32_t at = 0; at < known; at++)
		table_push(table, at);
	for (uint32_t at = known; err == ERR_NONE && at < catalog->count; at++) {
		struct span identity = identity_of(catalog, at);
		const struct message *same = before ? table_top(before, identity) : NULL;
		if (same) {
			err = catalog_set_uid(catalog, &catalog->messages[at],
			                      catalog_uid(before->catalog, same));
			table_pop(before, identity);
		} else {
			err =
			    count_uid(catalog, &catalog->messages[at], identity, table_top(table, identity));
		}
		table_push(table, at);
	}
	return err;
}

int mbox_give_uids(struct catalog *catalog, uint32_t known, const struct catalog *before)
{
	struct table table, old;
	int err = table_init(&table, catalog);
	if (err)
		return err;
	if (before)
		err = table_init(&old, before);
	if (err == ERR_NONE) {
		for (uint32_t at = before ? before->count : 0; at > 0; at--)
			table_push(&old, at - 1);
		err = give_all(catalog, known, &table, before ? &old : NULL);
		if (before)
			table_finish(&old);
	}
	table_finish(&table);
	return err;
}
