/* SPDX-License-Identifier: MIT */
/* A message on its way in, for the kinds of maildrops. Inside src/drop only. */
#ifndef DROP_DELIVER_INT_H
#define DROP_DELIVER_INT_H

#include "drop/deliver.h"
#include "drop/index.h"
#include "drop/name.h"

struct drop_incoming {
	int fd;
	int folder; /* in which the file has a name; -1: it has none */
	char name[NAME_FRESH_MAX];
	char keep[INDEX_PATH_MAX]; /* its name in the Maildir it comes to; "": a fresh one */
	bool measured;             /* `wire` is known */
	uint64_t wire;
	bool lent;      /* somebody else was given a descriptor to write by, and may have it still */
	bool settled;   /* `settle_err` says how that went */
	int settle_err; /* for good: the kernel tells of octets it could not write only once */
};

/* Calls `each` with the octets of the message, part by part, until it returns non-zero; returns that. */
int incoming_read(const struct drop_incoming *incoming, int (*each)(void *user, struct span octets),
                  void *user);

/* The message's octets on the wire; read once. For quotas only. */
int incoming_measure(struct drop_incoming *incoming, uint64_t *ret_octets, struct error *error);

/* Makes the message's octets durable, once, and finds out whether it is `lent` still. */
int incoming_settle(struct drop_incoming *incoming, struct error *error);

#endif
