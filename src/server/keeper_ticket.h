/* SPDX-License-Identifier: MIT */
/* Which tickets the keeper honours: each once, while it is fresh, from the worker and session it is for. */
#ifndef SERVER_KEEPER_TICKET_H
#define SERVER_KEEPER_TICKET_H

#include "base/err.h"
#include "ipc/message.h"

struct nonce_set {
	uint64_t *slots; /* 0: free */
	uint32_t mask, count;
};

struct keeper_tickets {
	uint8_t key[TICKET_KEY_SIZE];
	uint32_t epoch;
	bool keyed;
	uint64_t swapped_ms;
	struct nonce_set used[2]; /* of this TICKET_LIFE_MS and the one before */
};

/* A new key: tickets under the old one are stale. */
void keeper_tickets_rekey(struct keeper_tickets *tickets, const struct ipc_ticket_key *key);
void keeper_tickets_finish(struct keeper_tickets *tickets);

/* 0: good, and used up now. ERR_DENIED: stale (an old key, or expired): log in again. ERR_PEER: forged, used
 * before, another's, or for something else (*why, a literal). ERR_NOMEM. */
int keeper_tickets_use(struct keeper_tickets *tickets, const struct ticket *ticket,
                       enum ticket_purpose purpose, uint32_t worker, uint64_t session, uint64_t now_ms,
                       const char **why);

#endif
