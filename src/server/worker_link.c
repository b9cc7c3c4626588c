/* SPDX-License-Identifier: MIT */
/*
 * The worker's links to auth and keeper: what comes from them goes to the session it is for. Runs in the
 * worker; what an answer may be at this moment is the protocol's to say.
 */
#include "server/worker.h"

#include <stdlib.h>
#include <unistd.h>

static int auth_message(struct link *link, struct ipc_in *in)
{
	struct session *session = worker_find(link->owner, in->session);
	return session ? session->protocol->auth(session, in) : ERR_NONE; /* it ended meanwhile */
}

static int keeper_message(struct link *link, struct ipc_in *in)
{
	struct worker *worker = link->owner;
	struct session *session = worker_find(worker, in->session);
	if (in->type == IPC_DROP_TRAYS)
		return body_take_trays(worker, in);
	if (in->type == IPC_DROP_BODIES) /* a tray is given back, whoever is there */
		return body_answer(worker, session, in);
	return session ? session->protocol->keeper(session, in) : ERR_NONE; /* likewise */
}

static void link_gone(struct link *link, int err, const char *why)
{
	struct worker *worker = link->owner;
	enum ipc_kind kind = link->channel.peer;
	bool auth = kind == IPC_AUTH;
	if (err != ERR_CLOSED)
		child_report_fault(worker->child, kind, link->channel.peer_id, why ? why : err_text(err));
	if (auth) {
		worker->auth = NULL;
	} else {
		worker->keeper = NULL;
		body_keeper_gone(worker);
		listings_forget(worker); /* the next one counts them anew */
	}
	link_free(link);
	for (uint32_t slot = 0; slot < worker->setup.max_sessions; slot++) {
		if (!worker->slots[slot])
			continue;
		if (auth)
			worker->slots[slot]->protocol->auth_lost(worker->slots[slot]);
		else
			worker->slots[slot]->protocol->keeper_lost(worker->slots[slot]);
	}
}

int worker_link(struct worker *worker, enum ipc_kind kind, uint32_t id, int fd)
{
	static const struct link_ops auth_ops = {.message = auth_message, .gone = link_gone};
	static const struct link_ops keeper_ops = {.message = keeper_message, .gone = link_gone};
	struct link **slot = kind == IPC_AUTH ? &worker->auth : &worker->keeper;
	struct link *link = calloc(1, sizeof *link);
	if (!link || (kind != IPC_AUTH && kind != IPC_KEEPER)) {
		free(link);
		(void)close(fd);
		return link ? ERR_PEER : ERR_NOMEM;
	}
	if (*slot)
		link_gone(*slot, ERR_CLOSED, NULL); /* its successor is here before we saw its end */
	*slot = link;
	return link_open(link, worker->child->loop, fd, IPC_WORKER, kind, id,
	                 kind == IPC_AUTH ? &auth_ops : &keeper_ops, worker);
}
