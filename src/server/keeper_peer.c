/* SPDX-License-Identifier: MIT */
/*
 * The keeper and its workers. A worker may have been taken over: it gets what a ticket of auth's entitles it
 * to; one that asks out of turn is reported to the master and loses its link, and with it its
 * maildrops.
 */
#include "server/keeper.h"

#include <stdlib.h>
#include <unistd.h>

static enum ipc_when find_when(const struct keeper_session *session)
{
	if (!session)
		return IPC_WHEN_ABSENT;
	if (session->delivery)
		return keeper_deliver_when(session);
	return session->working ? IPC_WHEN_WORKING : IPC_WHEN_WAITING;
}

static int take_request(struct link *link, struct ipc_in *in)
{
	struct keeper_peer *peer = link->owner;
	struct keeper_session *session = keeper_find(peer, in->session);
	int err = ipc_in_turn(in->type, find_when(session));
	if (err)
		return err;
	switch (in->type) {
	case IPC_DROP_OPEN:
		return keeper_open(peer, in, &link->why);
	case IPC_DROP_LISTING:
		return keeper_list(session, &link->why);
	case IPC_DROP_BODY:
		return keeper_body(session, in, &link->why);
	case IPC_DROP_COMMIT:
		return keeper_commit(session, in, &link->why);
	case IPC_DROP_CLOSE:
		if (session)
			keeper_close(session);
		return ERR_NONE;
	case IPC_DROP_KEEP:
		return session ? keeper_keep(session) : ERR_NONE;
	case IPC_DELIVER_TO:
		return keeper_deliver_to(peer, session, in, &link->why);
	case IPC_DELIVER_BEGIN:
		keeper_deliver_begin(session);
		return ERR_NONE;
	case IPC_DELIVER_COMMIT:
		return keeper_deliver_commit(session, &link->why);
	case IPC_DELIVER_END:
		if (session)
			keeper_deliver_end(session);
		return ERR_NONE;
	default:
		return ERR_PEER;
	}
}

static void forget_peer(struct link *link, int err, const char *why)
{
	struct keeper_peer *peer = link->owner;
	struct keeper *keeper = peer->keeper;
	if (err != ERR_CLOSED)
		child_report_fault(keeper->child, IPC_WORKER, peer->id, why ? why : err_text(err));
	for (uint32_t i = 0; i < peer->slot_count; i++)
		while (peer->slots[i])
			(peer->slots[i]->delivery ? keeper_deliver_end : keeper_close)(peer->slots[i]);
	struct keeper_peer **at = &keeper->peers;
	while (*at != peer)
		at = &(*at)->next;
	*at = peer->next;
	link_free(link);
	keeper_trays_leave(peer->trays);
	free(peer->slots);
	free(peer);
}

static const struct link_ops peer_ops = {.message = take_request, .gone = forget_peer};

int keeper_link(struct keeper *keeper, enum ipc_kind kind, uint32_t id, int fd)
{
	struct keeper_peer *peer = calloc(1, sizeof *peer);
	struct link *link = calloc(1, sizeof *link);
	if (!peer || !link || kind != IPC_WORKER) {
		free(peer);
		free(link);
		(void)close(fd);
		return kind == IPC_WORKER ? ERR_NOMEM : ERR_PEER;
	}
	int err = link_open(link, keeper->child->loop, fd, IPC_KEEPER, kind, id, &peer_ops, peer);
	if (err) {
		free(peer);
		link_free(link);
		return err;
	}
	*peer = (struct keeper_peer){.next = keeper->peers, .keeper = keeper, .link = link, .id = id};
	err = keeper_trays_open(peer);
	if (err) {
		free(peer);
		link_free(link);
		return err;
	}
	keeper->peers = peer;
	return ERR_NONE;
}

/* Messages that nobody will complete any more: the workers have ended, or do so now. */
static void end_fillings(struct keeper_peer *peer)
{
	for (uint32_t i = 0; i < peer->slot_count; i++)
		for (struct keeper_session *session = peer->slots[i], *next; session; session = next) {
			next = session->next;
			if (session->delivery && keeper_deliver_when(session) != IPC_WHEN_DELIVERING)
				keeper_deliver_end(session);
		}
}

void keeper_stop(struct keeper *keeper)
{
	keeper->stopping = true;
	for (struct keeper_peer *peer = keeper->peers; peer; peer = peer->next)
		end_fillings(peer);
	if (keeper->unfinished == 0)
		child_exit(keeper->child, 0);
}

void keeper_finished(struct keeper *keeper)
{
	keeper->unfinished--;
	if (keeper->stopping && keeper->unfinished == 0)
		child_exit(keeper->child, 0);
}
