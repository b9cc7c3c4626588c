/* SPDX-License-Identifier: MIT */
/* Tickets, as the keeper sees them. They come from workers, which may have been taken over. */
#include "server/keeper_ticket.h"

#include "base/secret.h"

#include <stdlib.h>
#include <string.h>

enum { NONCES_FIRST = 256 };

static bool has_nonce(const struct nonce_set *set, uint64_t nonce)
{
	for (uint32_t i = 0; set->slots && i <= set->mask; i++) {
		uint64_t at = set->slots[((uint32_t)nonce + i) & set->mask];
		if (at == nonce)
			return true;
		if (at == 0)
			return false;
	}
	return false;
}

static void put_nonce(struct nonce_set *set, uint64_t nonce)
{
	uint32_t slot = (uint32_t)nonce & set->mask;
	while (set->slots[slot])
		slot = (slot + 1) & set->mask;
	set->slots[slot] = nonce;
	set->count++;
}

static int add_nonce(struct nonce_set *set, uint64_t nonce)
{
	if (!set->slots || set->count > set->mask / 2) {
		uint32_t size = set->slots ? (set->mask + 1) * 2 : NONCES_FIRST;
		struct nonce_set larger = {.slots = calloc(size, sizeof *larger.slots), .mask = size - 1};
		if (!larger.slots)
			return ERR_NOMEM;
		for (uint32_t i = 0; set->slots && i <= set->mask; i++)
			if (set->slots[i])
				put_nonce(&larger, set->slots[i]);
		free(set->slots);
		*set = larger;
	}
	put_nonce(set, nonce);
	return ERR_NONE;
}

static void clear_nonces(struct nonce_set *set)
{
	free(set->slots);
	*set = (struct nonce_set){0};
}

/* What was used more than TICKET_LIFE_MS ago has expired and need not be remembered. */
static void forget_old(struct keeper_tickets *tickets, uint64_t now_ms)
{
	uint64_t age = now_ms - tickets->swapped_ms;
	if (age < TICKET_LIFE_MS)
		return;
	clear_nonces(&tickets->used[1]);
	if (age < 2 * (uint64_t)TICKET_LIFE_MS)
		tickets->used[1] = tickets->used[0];
	else
		clear_nonces(&tickets->used[0]);
	tickets->used[0] = (struct nonce_set){0};
	tickets->swapped_ms = now_ms;
}

void keeper_tickets_rekey(struct keeper_tickets *tickets, const struct ipc_ticket_key *key)
{
	keeper_tickets_finish(tickets);
	memcpy(tickets->key, key->key, sizeof tickets->key);
	tickets->epoch = key->epoch;
	tickets->keyed = true;
}

void keeper_tickets_finish(struct keeper_tickets *tickets)
{
	secret_wipe(tickets->key, sizeof tickets->key);
	clear_nonces(&tickets->used[0]);
	clear_nonces(&tickets->used[1]);
	tickets->keyed = false;
}

static int refuse(const char **why, const char *reason)
{
	*why = reason;
	return ERR_PEER;
}

int keeper_tickets_use(struct keeper_tickets *tickets, const struct ticket *ticket,
                       enum ticket_purpose purpose, uint32_t worker, uint64_t session, uint64_t now_ms,
                       const char **why)
{
	if (!tickets->keyed || ticket->epoch != tickets->epoch)
		return ERR_DENIED; /* auth or we were started anew: the login was honest, its ticket is lost
		                    */
	if (ticket_verify(ticket, tickets->key) != ERR_NONE)
		return refuse(why, "forged ticket");
	if (ticket->worker != worker || ticket->session != session)
		return refuse(why, "ticket of another session");
	if (ticket->purpose != purpose)
		return refuse(why, "ticket for something else");
	forget_old(tickets, now_ms);
	/* Expired (the difference wraps), or living longer than its nonce would be remembered. */
	if (ticket->expires_ms - now_ms > TICKET_LIFE_MS || ticket->nonce == 0)
		return ERR_DENIED;
	if (has_nonce(&tickets->used[0], ticket->nonce) || has_nonce(&tickets->used[1], ticket->nonce))
		return refuse(why, "ticket used twice");
	return add_nonce(&tickets->used[0], ticket->nonce);
}
