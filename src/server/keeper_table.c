/* SPDX-License-Identifier: MIT */
/* Sessions by number, a table per worker. Numbers come from workers, which may have been taken over: one that
 * picks bad ones slows its own table. */
#include "server/keeper.h"

#include <stdlib.h>
#include <string.h>

enum { SLOTS_FIRST = 64 };

static struct keeper_session **slot_of(struct keeper_session **slots, uint32_t count, uint64_t id)
{
	return &slots[(id ^ id >> 32) & (count - 1)];
}

struct keeper_session *keeper_find(const struct keeper_peer *peer, uint64_t id)
{
	struct keeper_session *session =
	    peer->slot_count ? *slot_of(peer->slots, peer->slot_count, id) : NULL;
	while (session && session->id != id)
		session = session->next;
	return session;
}

static int grow(struct keeper_peer *peer)
{
	uint32_t count = peer->slot_count ? peer->slot_count * 2 : SLOTS_FIRST;
	struct keeper_session **slots = calloc(count, sizeof(struct keeper_session *));
	if (!slots)
		return ERR_NOMEM;
	for (uint32_t i = 0; i < peer->slot_count; i++)
		for (struct keeper_session *session = peer->slots[i], *next; session; session = next) {
			struct keeper_session **slot = slot_of(slots, count, session->id);
			next = session->next;
			session->next = *slot;
			*slot = session;
		}
	free(peer->slots);
	peer->slots = slots;
	peer->slot_count = count;
	return ERR_NONE;
}

struct keeper_session *keeper_add(struct keeper_peer *peer, uint64_t id, const char *account)
{
	if (peer->count >= peer->slot_count && grow(peer) != ERR_NONE)
		return NULL;
	size_t size = strlen(account) + 1;
	struct keeper_session *session = malloc(sizeof *session + size);
	if (!session)
		return NULL;
	struct keeper_session **slot = slot_of(peer->slots, peer->slot_count, id);
	*session = (struct keeper_session){
	    .next = *slot, .id = id, .peer = peer, .worker = peer->id, .keeper = peer->keeper};
	memcpy(session->account, account, size);
	*slot = session;
	peer->count++;
	return session;
}

void keeper_take(struct keeper_session *session)
{
	struct keeper_peer *peer = session->peer;
	struct keeper_session **at = slot_of(peer->slots, peer->slot_count, session->id);
	while (*at != session)
		at = &(*at)->next;
	*at = session->next;
	session->next = NULL;
	session->peer = NULL;
	peer->count--;
}
