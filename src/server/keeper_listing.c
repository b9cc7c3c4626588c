/* SPDX-License-Identifier: MIT */
/*
 * Listings of long maildrops in sealed memory files, kept for the sessions to come: all sessions of a
 * maildrop that has not changed share one. Runs in the keeper. What is in here was checked when it was made;
 * it is found by the identity of maildrop and index only.
 */
#include "server/keeper.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static void forget(struct keeper_listings *listings, unsigned at)
{
	listings->octets -= listings->kept[at].octets;
	(void)close(listings->kept[at].fd);
	listings->kept[at] = listings->kept[--listings->count];
}

static void forget_oldest(struct keeper_listings *listings)
{
	unsigned oldest = 0;
	for (unsigned i = 1; i < listings->count; i++)
		if (listings->kept[i].used < listings->kept[oldest].used)
			oldest = i;
	forget(listings, oldest);
}

/* The kept listing of this identity, or count. */
static unsigned find(const struct keeper_listings *listings, const struct drop_identity *identity)
{
	unsigned at = 0;
	while (at < listings->count && memcmp(&listings->kept[at].identity, identity, sizeof *identity) != 0)
		at++;
	return at;
}

int keeper_listing_find(struct keeper_listings *listings, const struct drop_identity *identity,
                        struct keeper_listing *ret)
{
	unsigned at = find(listings, identity);
	int fd = at == listings->count ? -1 : fcntl(listings->kept[at].fd, F_DUPFD_CLOEXEC, 0);
	if (fd < 0)
		return ERR_NOTFOUND;
	listings->kept[at].used = ++listings->turn;
	*ret = listings->kept[at];
	ret->fd = fd;
	return ERR_NONE;
}

void keeper_listing_keep(struct keeper_listings *listings, struct keeper_listing *listing)
{
	const struct drop_identity *identity = &listing->identity;
	uint64_t octets = listing->octets;
	listing->id = ++listings->last_id;
	/* An older listing of the same maildrop is of no use any more. */
	for (unsigned i = 0; i < listings->count; i++)
		if (listings->kept[i].identity.device == identity->device &&
		    listings->kept[i].identity.inode == identity->inode)
			forget(listings, i--);
	if (octets > KEEPER_LISTINGS_OCTETS || !listings->max)
		return;
	while (listings->count &&
	       (listings->count >= listings->max || octets > KEEPER_LISTINGS_OCTETS - listings->octets))
		forget_oldest(listings);
	int fd = fcntl(listing->fd, F_DUPFD_CLOEXEC, 0);
	if (fd < 0)
		return;
	listings->kept[listings->count] = *listing;
	listings->kept[listings->count].fd = fd;
	listings->kept[listings->count++].used = ++listings->turn;
	listings->octets += octets;
}

void keeper_listings_finish(struct keeper_listings *listings)
{
	while (listings->count)
		forget(listings, 0);
}
