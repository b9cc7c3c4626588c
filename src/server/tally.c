/* SPDX-License-Identifier: MIT */
/* Counts by network: a table with open addressing. Runs in worker and keeper. */
#include "server/tally.h"

#include <stdlib.h>
#include <string.h>

enum { SIZE_FIRST = 64 };

static uint32_t home_of(const struct tally *tally, const struct network *network)
{
	uint64_t a, b;
	memcpy(&a, network->octets, sizeof a);
	memcpy(&b, network->octets + sizeof a, sizeof b);
	uint64_t mixed = (a ^ b * UINT64_C(0x9e3779b97f4a7c15)) * UINT64_C(0xff51afd7ed558ccd);
	return (uint32_t)(mixed >> 32) & (tally->size - 1);
}

/* Its entry, or the free one where it would be. */
static struct tally_entry *find(const struct tally *tally, const struct network *network)
{
	uint32_t at = home_of(tally, network);
	while (tally->entries[at].count && memcmp(&tally->entries[at].network, network, sizeof *network) != 0)
		at = (at + 1) & (tally->size - 1);
	return &tally->entries[at];
}

static bool grow(struct tally *tally)
{
	struct tally larger = {.size = tally->size ? tally->size * 2 : SIZE_FIRST, .used = tally->used};
	larger.entries = calloc(larger.size, sizeof *larger.entries);
	if (!larger.entries)
		return false;
	for (uint32_t i = 0; i < tally->size; i++)
		if (tally->entries[i].count)
			*find(&larger, &tally->entries[i].network) = tally->entries[i];
	free(tally->entries);
	*tally = larger;
	return true;
}

uint32_t tally_add(struct tally *tally, const struct network *network)
{
	if (network_is_none(network))
		return 1;
	if (tally->used >= tally->size / 2 && !grow(tally))
		return 0;
	struct tally_entry *entry = find(tally, network);
	if (entry->count == 0) {
		entry->network = *network;
		tally->used++;
	}
	return ++entry->count;
}

void tally_remove(struct tally *tally, const struct network *network)
{
	if (network_is_none(network))
		return;
	struct tally_entry *entry = find(tally, network);
	if (--entry->count > 0)
		return;
	tally->used--;
	/* Who would be found no more behind the gap moves into it. */
	uint32_t gap = (uint32_t)(entry - tally->entries), mask = tally->size - 1;
	for (uint32_t at = (gap + 1) & mask; tally->entries[at].count; at = (at + 1) & mask) {
		uint32_t home = home_of(tally, &tally->entries[at].network);
		if (((at - home) & mask) < ((at - gap) & mask))
			continue;
		tally->entries[gap] = tally->entries[at];
		tally->entries[at].count = 0;
		gap = at;
	}
}

uint32_t tally_count(const struct tally *tally, const struct network *network)
{
	return tally->used && !network_is_none(network) ? find(tally, network)->count : 0;
}

void tally_finish(struct tally *tally)
{
	free(tally->entries);
	*tally = (struct tally){0};
}
