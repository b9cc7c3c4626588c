/* SPDX-License-Identifier: MIT */
/*
 * restante-keeper: the process that holds maildrops, their locks, indexes and files. It takes its
 * settings from the master, confines itself to the folder of the maildrops, and serves workers. A worker
 * may have been taken over: it gets what a ticket of auth's entitles it to; one that asks out of turn is
 * reported to the master and loses its link, and with it its maildrops.
 */
#include "server/keeper.h"

#include "log/log.h"
#include "os/os.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* --- peers --- */

static int take_request(struct link *link, struct ipc_in *in)
{
	struct keeper_peer *peer = link->owner;
	struct keeper_session *session = keeper_find(peer, in->session);
	enum ipc_when now = !session           ? IPC_WHEN_ABSENT
	                    : session->working ? IPC_WHEN_WORKING
	                                       : IPC_WHEN_WAITING;
	int err = ipc_in_turn(in->type, now);
	if (err)
		return err;
	switch (in->type) {
	case IPC_DROP_OPEN:
		return keeper_open(peer, in, &link->why);
	case IPC_DROP_BODY:
		return keeper_body(session, in, &link->why);
	case IPC_DROP_COMMIT:
		return keeper_commit(session, in, &link->why);
	case IPC_DROP_CLOSE:
		if (session)
			keeper_close(session);
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
			keeper_close(peer->slots[i]);
	struct keeper_peer **at = &keeper->peers;
	while (*at != peer)
		at = &(*at)->next;
	*at = peer->next;
	link_free(link);
	free(peer->slots);
	free(peer);
}

static const struct link_ops peer_ops = {.message = take_request, .gone = forget_peer};

static int on_peer(struct child *child, enum ipc_kind kind, uint32_t id, int fd)
{
	struct keeper *keeper = child->owner;
	struct keeper_peer *peer = calloc(1, sizeof *peer);
	struct link *link = calloc(1, sizeof *link);
	keeper->child = child;
	if (!peer || !link || kind != IPC_WORKER) {
		free(peer);
		free(link);
		(void)close(fd);
		return kind == IPC_WORKER ? ERR_NOMEM : ERR_PEER;
	}
	int err = link_open(link, child->loop, fd, IPC_KEEPER, kind, id, &peer_ops, peer);
	if (err) {
		free(peer);
		link_free(link);
		return err;
	}
	*peer = (struct keeper_peer){.next = keeper->peers, .keeper = keeper, .link = link, .id = id};
	keeper->peers = peer;
	return ERR_NONE;
}

/* --- control --- */

static int on_control(struct child *child, struct ipc_in *in)
{
	struct keeper *keeper = child->owner;
	char threads[16];
	switch (in->type) {
	case IPC_SETUP_KEEPER:
		keeper->setup = *(const struct ipc_setup_keeper *)in->fixed;
		/* libuv reads it when the first job is queued. */
		(void)snprintf(threads, sizeof threads, "%u", keeper->setup.threads);
		return setenv("UV_THREADPOOL_SIZE", threads, 1) == 0 ? ERR_NONE : ERR_NOMEM;
	case IPC_TICKET_KEY:
		keeper_tickets_rekey(&keeper->tickets, in->fixed);
		return ERR_NONE;
	default:
		return ERR_PEER;
	}
}

static int confine(struct keeper *keeper, struct error *error)
{
	const char *const folders[] = {keeper->setup.mail_root, NULL};
	struct os_confine how = {.role = OS_KEEPER, .folders = folders};
	int err = os_become(keeper->setup.uid, keeper->setup.gid, "", error);
	if (err == ERR_NONE)
		err = drop_root_open(keeper->setup.mail_root, &keeper->root, error);
	if (err)
		return err;
	err = os_confine(&how, error);
	if (err == ERR_UNSUPPORTED) { /* the other fences stand */
		log_note(LOG_WARNING, "keeper less confined than it should be: %s", error->text);
		err = ERR_NONE;
	}
	return err;
}

static int on_start(struct child *child)
{
	struct keeper *keeper = child->owner;
	struct error error = {""};
	keeper->child = child;
	int err = confine(keeper, &error);
	if (err)
		log_note(LOG_ERROR, "keeper not started: %s", error.text);
	return err;
}

void keeper_commit_done(struct keeper *keeper)
{
	keeper->commits--;
	if (keeper->stopping && keeper->commits == 0)
		child_exit(keeper->child, 0);
}

static void on_stop(struct child *child)
{
	struct keeper *keeper = child->owner;
	keeper->stopping = true;
	if (keeper->commits == 0)
		child_exit(child, 0);
}

int main(void)
{
	static const struct child_ops ops = {
	    .control = on_control, .start = on_start, .peer = on_peer, .stop = on_stop};
	static struct keeper keeper = {.root.fd = -1};
	int status = child_run(IPC_KEEPER, &ops, &keeper);
	keeper_tickets_finish(&keeper.tickets);
	return status;
}
