/* SPDX-License-Identifier: MIT */
/*
 * The messages a session asks for: small ones are read into a tray that the keeper shares with the worker,
 * long ones are opened. Runs in the loop; what has to wait for the disk goes on in one of libuv's threads,
 * which touches its job and that job's maildrop only. Requests come from workers, which may have been taken
 * over.
 */
#include "server/keeper.h"

#include "base/fd.h"
#include "ipc/blob.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct bodies {
	uint32_t count, done;
	uint32_t numbers[IPC_BODIES_MAX];
	struct ipc_body body[IPC_BODIES_MAX];
	int fds[IPC_FDS_MAX];
	unsigned fd_count;
	uint32_t tray; /* IPC_TRAY_NONE when all are the worker's */
	char *room;    /* IPC_TRAY_SIZE octets: the tray, or memory of the job; NULL without a tray */
	size_t used;   /* octets of it */
};

struct job {
	struct keeper_job base;
	struct bodies bodies;
};

/* --- trays --- */

int keeper_trays_open(struct keeper_peer *peer)
{
	int fd;
	int err = blob_share("restante-trays", (uint64_t)IPC_TRAYS * IPC_TRAY_SIZE, &fd, &peer->trays);
	if (err)
		return err;
	peer->free_trays = (1u << IPC_TRAYS) - 1;
	link_send(peer->link, IPC_DROP_TRAYS, 0, NULL, SPAN(""), &fd, 1);
	return ERR_NONE;
}

void keeper_trays_close(struct keeper_peer *peer)
{
	blob_unmap(peer->trays, (uint64_t)IPC_TRAYS * IPC_TRAY_SIZE);
	peer->trays = NULL;
}

/* The lowest one, which is in the processor's caches if any is. */
static uint32_t take_tray(struct keeper_peer *peer)
{
	if (!peer->free_trays)
		return IPC_TRAY_NONE;
	uint32_t tray = (uint32_t)__builtin_ctz(peer->free_trays);
	peer->free_trays &= ~(1u << tray);
	return tray;
}

static char *tray_room(const struct keeper_peer *peer, uint32_t tray)
{
	return tray == IPC_TRAY_NONE ? NULL : peer->trays + (size_t)tray * IPC_TRAY_SIZE;
}

/* --- messages --- */

static void log_body(const struct keeper_session *session, const struct ipc_body *body)
{
	struct log_line line;
	keeper_log(&line, body->err == ERR_NOTFOUND ? LOG_INFO : LOG_WARNING, "message-failed", session);
	log_num(&line, "message", body->number);
	log_err(&line, "result", body->err);
	log_end(&line);
}

static void add_body(struct bodies *bodies, uint32_t number, const struct drop_body *found)
{
	struct ipc_body *body = &bodies->body[bodies->done];
	*body = (struct ipc_body){
	    .number = number,
	    .offset = found->offset,
	    .length = found->length,
	    .wire = found->wire,
	    .header = found->header,
	    .flags = (found->crlf ? IPC_BODY_CRLF : 0u) | (found->no_dots ? IPC_BODY_NO_DOTS : 0u),
	};
	if (found->here) {
		body->flags |= IPC_BODY_HERE;
		body->offset = (uint64_t)(found->here - bodies->room);
		bodies->used = body->offset + body->length;
	} else {
		bodies->fds[bodies->fd_count++] = found->fd;
	}
}

/* Reads what is small of the rest of a batch. Returns how much of the rest is to be answered now: the batch
 * ends where the tray does, and the worker asks again. */
static unsigned read_small(struct drop *drop, struct bodies *bodies, unsigned flags, struct drop_body *found)
{
	const uint32_t *numbers = bodies->numbers + bodies->done;
	unsigned count = bodies->count - bodies->done;
	if (bodies->room)
		return drop_read_small(drop, numbers, count, flags, bodies->room + bodies->used,
		                       IPC_TRAY_SIZE - bodies->used, found);
	for (unsigned i = 0; i < count; i++)
		found[i].here = NULL;
	return count;
}

/* Reads or opens what is left of a batch; ERR_AGAIN when the next one has to wait for the disk. */
static int open_bodies(struct drop *drop, struct bodies *bodies, unsigned flags)
{
	struct drop_body found[IPC_BODIES_MAX];
	unsigned count = read_small(drop, bodies, flags, found);
	for (unsigned i = 0; i < count; i++, bodies->done++) {
		uint32_t number = bodies->numbers[bodies->done];
		int err = found[i].here ? ERR_NONE : drop_body(drop, number, flags, &found[i]);
		if (err == ERR_AGAIN && flags & DROP_NOWAIT)
			return err;
		if (err)
			bodies->body[bodies->done] = (struct ipc_body){.number = number, .err = err};
		else
			add_body(bodies, number, &found[i]);
	}
	return ERR_NONE;
}

static void finish_bodies(struct keeper_session *session, struct bodies *bodies)
{
	struct keeper_peer *peer = session->peer;
	session->working = false;
	if (!peer) {
		fd_close_all(bodies->fds, bodies->fd_count);
		keeper_end(session);
		return;
	}
	if (bodies->tray != IPC_TRAY_NONE && !bodies->used) {
		peer->free_trays |= 1u << bodies->tray;
		bodies->tray = IPC_TRAY_NONE;
	}
	for (uint32_t i = 0; i < bodies->done; i++)
		if (bodies->body[i].err)
			log_body(session, &bodies->body[i]);
	struct ipc_drop_bodies fixed = {.count = bodies->done, .tray = bodies->tray};
	keeper_send(session, IPC_DROP_BODIES, &fixed,
	            span_of((const char *)bodies->body, bodies->done * sizeof bodies->body[0]), bodies->fds,
	            bodies->fd_count);
}

static void bodies_in_thread(uv_work_t *work)
{
	struct job *job = work->data;
	(void)open_bodies(job->base.session->drop, &job->bodies, 0);
}

/* The thread has read into memory of its own, as the tray goes when the worker does. */
static void bodies_done(uv_work_t *work, int status)
{
	struct job *job = work->data;
	struct bodies *bodies = &job->bodies;
	const struct keeper_peer *peer = job->base.session->peer;
	(void)status;
	if (peer && bodies->used)
		memcpy(tray_room(peer, bodies->tray), bodies->room, bodies->used);
	finish_bodies(job->base.session, bodies);
	free(bodies->room);
	free(job);
}

/* What is left of the batch is for a thread. */
static int queue_bodies(struct keeper_session *session, const struct bodies *bodies)
{
	struct job *job = malloc(sizeof *job);
	char *room = bodies->room ? malloc(IPC_TRAY_SIZE) : NULL;
	if (!job || (bodies->room && !room)) {
		free(job);
		free(room);
		return ERR_NOMEM;
	}
	*job = (struct job){.base.session = session, .bodies = *bodies};
	if (room)
		memcpy(room, bodies->room, bodies->used);
	job->bodies.room = room;
	int err = keeper_queue(&job->base, job, bodies_in_thread, bodies_done);
	if (err) {
		free(room);
		free(job);
	}
	return err;
}

static void fail_bodies(struct bodies *bodies, int err)
{
	for (; bodies->done < bodies->count; bodies->done++)
		bodies->body[bodies->done] =
		    (struct ipc_body){.number = bodies->numbers[bodies->done], .err = err};
}

/* What the worker asks for, and gives back. */
static int take_request(const struct keeper_session *session, const struct ipc_in *in, struct bodies *ret,
                        const char **why)
{
	struct keeper_peer *peer = session->peer;
	const struct ipc_drop_body *asked = in->fixed;
	if (asked->returned >> IPC_TRAYS || asked->returned & peer->free_trays) {
		*why = "gives back a tray it has not got";
		return ERR_PEER;
	}
	memcpy(ret->numbers, in->tail.ptr, in->tail.len);
	for (uint32_t i = 0; i < asked->count; i++)
		if (ret->numbers[i] < 1 || ret->numbers[i] > drop_count(session->drop)) {
			*why = "asks for a message that is not there";
			return ERR_PEER;
		}
	peer->free_trays |= asked->returned;
	ret->count = asked->count;
	ret->done = 0;
	ret->fd_count = 0;
	ret->used = 0;
	ret->tray = take_tray(peer);
	ret->room = tray_room(peer, ret->tray);
	return ERR_NONE;
}

int keeper_body(struct keeper_session *session, const struct ipc_in *in, const char **why)
{
	struct bodies bodies;
	int err = take_request(session, in, &bodies, why);
	if (err)
		return err;
	err = open_bodies(session->drop, &bodies, DROP_NOWAIT);
	if (err)
		err = queue_bodies(session, &bodies);
	else
		finish_bodies(session, &bodies);
	if (err) {
		fail_bodies(&bodies, err);
		finish_bodies(session, &bodies);
	}
	return ERR_NONE;
}
