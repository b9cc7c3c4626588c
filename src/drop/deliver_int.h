/* SPDX-License-Identifier: MIT */
/* A message on its way in, for the kinds of maildrops. Inside src/drop only. */
#ifndef DROP_DELIVER_INT_H
#define DROP_DELIVER_INT_H

#include "drop/deliver.h"
#include "drop/name.h"

struct drop_incoming {
	int fd;
	int folder; /* in which the file has a name; -1: it has none */
	char name[NAME_FRESH_MAX];
	bool settled;   /* `settle_err` says how that went */
	int settle_err; /* for good: the kernel tells of octets it could not write only once */
};

/* Makes the message's octets durable, once. */
int incoming_settle(struct drop_incoming *incoming, struct error *error);

#endif
