/* SPDX-License-Identifier: MIT */
/*
 * A ticket: auth's word to the keeper, carried by the worker, that this session of this worker
 * may open this maildrop now, or deliver into it. The worker cannot make or
 * change one: it is sealed (HMAC-SHA-256) with a key only auth and keeper hold.
 */
#ifndef IPC_TICKET_H
#define IPC_TICKET_H

#include <stdint.h>

enum {
	TICKET_KEY_SIZE = 32,
	TICKET_MAC_SIZE = 32,
	TICKET_ACCOUNT_MAX = 256,   /* octets of an account name with its NUL */
	TICKET_LOCATION_MAX = 1024, /* octets of a maildrop location with its NUL */
	TICKET_LIFE_MS = 10000,     /* from login to DROP_OPEN, from lookup to DELIVER_TO */
};

enum ticket_purpose { TICKET_SESSION, TICKET_DELIVERY };

struct ticket {
	uint64_t nonce;      /* never twice under one key: the keeper refuses the second use */
	uint64_t expires_ms; /* time_mono_ms() */
	uint64_t session;
	uint32_t worker;       /* id of the worker it was made for */
	uint32_t epoch;        /* of the key */
	uint32_t uid, gid;     /* owner of the maildrop, (uint32_t)-1 for the keeper's own */
	uint32_t purpose;      /* enum ticket_purpose */
	uint32_t reserved;     /* zero */
	uint64_t quota_octets; /* of a delivery: what the maildrop may hold; 0 for no limit */
	uint64_t quota_messages;
	char account[TICKET_ACCOUNT_MAX];   /* NUL-terminated, zero-filled */
	char location[TICKET_LOCATION_MAX]; /* "maildir:/absolute/path", NUL-terminated, zero-filled */
	uint8_t mac[TICKET_MAC_SIZE];
};

/* Computes ticket->mac over everything before it. ERR_IO if the library fails. */
int ticket_seal(struct ticket *ticket, const uint8_t key[TICKET_KEY_SIZE]);

/* 0 when sealed with this key and well-formed (both strings terminated);
 * ERR_PEER otherwise. Constant time. Says nothing of expiry, worker or replay. */
int ticket_verify(const struct ticket *ticket, const uint8_t key[TICKET_KEY_SIZE]);

#endif
