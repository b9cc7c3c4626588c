/* SPDX-License-Identifier: MIT */
/*
 * Long listings the keeper has sent, mapped once for all sessions of a worker that have the same one: mapping
 * costs more than sending does. A map stays for a while after its last session, for a robot's next poll. Runs
 * in the worker. The keeper says which listing is the same as before; a map of it is one of a sealed memory
 * file whatever it says.
 */
#include "server/worker.h"

#include "ipc/blob.h"

#include <stdlib.h>

static void unmap(struct worker_listing **at)
{
	struct worker_listing *listing = *at;
	*at = listing->next;
	blob_unmap(listing->map, listing->size);
	free(listing);
}

static struct worker_listing *find(const struct worker *worker, uint64_t id)
{
	struct worker_listing *listing = worker->listings;
	while (listing && listing->id != id)
		listing = listing->next;
	return listing;
}

int listing_take(struct worker *worker, uint64_t id, int fd, uint64_t size, struct worker_listing **ret)
{
	struct worker_listing *listing = find(worker, id);
	if (!listing) {
		listing = malloc(sizeof *listing);
		if (!listing)
			return ERR_NOMEM;
		*listing = (struct worker_listing){.next = worker->listings, .id = id, .size = size};
		int err = blob_map(fd, size, &listing->map);
		if (err) {
			free(listing);
			return err;
		}
		worker->listings = listing;
	}
	if (listing->size != size)
		return ERR_PEER;
	listing->sessions++;
	*ret = listing;
	return ERR_NONE;
}

void listing_leave(struct worker *worker, struct worker_listing *listing)
{
	if (!listing)
		return;
	listing->sessions--;
	listing->left_ms = uv_now(worker->child->loop);
	struct worker_listing **oldest = NULL;
	unsigned idle = 0;
	for (struct worker_listing **at = &worker->listings; *at; at = &(*at)->next) {
		if ((*at)->sessions)
			continue;
		idle++;
		if (!oldest || (*at)->left_ms < (*oldest)->left_ms)
			oldest = at;
	}
	if (idle > WORKER_LISTINGS_IDLE)
		unmap(oldest);
}

void listings_sweep(struct worker *worker, uint64_t now_ms)
{
	struct worker_listing **at = &worker->listings;
	while (*at)
		if (!(*at)->sessions && now_ms - (*at)->left_ms >= WORKER_LISTING_IDLE_MS)
			unmap(at);
		else
			at = &(*at)->next;
}

void listings_forget(struct worker *worker)
{
	struct worker_listing **at = &worker->listings;
	while (*at)
		if ((*at)->sessions) {
			(*at)->id = 0;
			at = &(*at)->next;
		} else {
			unmap(at);
		}
}
