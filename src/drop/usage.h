/* SPDX-License-Identifier: MIT */
/*
 * How much mail a maildrop has, for quotas. Inside src/drop only.
 *
 * A small file beside the messages, its lock held while one of us delivers, keeps what was counted and what
 * the maildrop was like then. Our own deliveries add to it. Whatever else changed the maildrop (sessions that
 * delete, other programs) shows in what it is like now; then it is counted anew: at once where the message
 * would be refused otherwise, and else so seldom that counting takes a hundredth of the time. In between,
 * what others put there is not known; nor is what they put there in the very moment of a delivery of ours,
 * until the next count, which comes after a day at the latest.
 */
#ifndef DROP_USAGE_H
#define DROP_USAGE_H

#include "drop/deliver.h"
#include "drop/index.h"

struct usage {
	uint64_t messages;
	uint64_t octets; /* on the wire; of a message nobody has listed yet, those of its file */
};

/* How a kind of maildrop is looked at (cheaply) and counted. */
struct usage_calls {
	int (*look)(const void *maildrop, struct index_seen ret[INDEX_FOLDERS]);
	int (*count)(const void *maildrop, struct usage *ret, struct index_seen ret_seen[INDEX_FOLDERS]);
};

struct usage_record {
	char magic[8];
	struct usage usage;
	struct index_seen seen[INDEX_FOLDERS]; /* the maildrop then; changed_ns 0: not to be relied on */
	uint64_t counted_ns;                   /* CLOCK_REALTIME; 0: never */
	uint64_t cost_ns;                      /* what counting took */
	uint64_t sum;
};

struct usage_guard {
	int fd; /* -1: there is no quota */
	const struct usage_calls *calls;
	const void *maildrop;
	struct usage_record record;
	uint64_t octets; /* of the message */
	bool current;    /* the maildrop is as it was counted */
};

/* Before a delivery: may a message of so many octets come in? `name` is the file in `folder`. ERR_QUOTA;
 * ERR_BUSY: other deliveries take too long; ERR_IO, ... */
int usage_begin(struct usage_guard *ret, const struct drop_quota *quota, uint64_t octets, int folder,
                const char *name, const struct usage_calls *calls, const void *maildrop, struct error *error);

/* After it, when usage_begin() returned 0: has it come in? */
void usage_end(struct usage_guard *guard, bool delivered);

#endif
