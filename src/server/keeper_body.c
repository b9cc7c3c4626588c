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

_Static_assert((int)IPC_BODIES_MAX == (int)DROP_BATCH_MAX && (int)IPC_TRAY_SIZE > (int)DROP_SMALL_MAX,
               "a batch is read in one go, and a tray holds a message");

struct bodies {
	uint32_t count, done;
	uint32_t numbers[IPC_BODIES_MAX];
	struct ipc_body body[IPC_BODIES_MAX];
	int fds[IPC_FDS_MAX];
	unsigned fd_count;
	struct keeper_trays *trays;
	uint32_t tray; /* ours of them; IPC_TRAY_NONE when the worker has all */
	size_t used;   /* octets of it */
};

struct job {
	struct keeper_job base;
	struct bodies bodies;
};

/* --- trays --- */

struct keeper_trays {
	char *map;
	uint32_t free;  /* tray n is bit n */
	unsigned users; /* the link to the worker, and jobs in threads, which may outlive it */
};

#define TRAYS_OCTETS ((uint64_t)IPC_TRAYS * IPC_TRAY_SIZE)

int keeper_trays_open(struct keeper_peer *peer)
{
	struct keeper_trays *trays = malloc(sizeof *trays);
	int fd;
	if (!trays)
		return ERR_NOMEM;
	*trays = (struct keeper_trays){.free = (1u << IPC_TRAYS) - 1, .users = 1};
	int err = blob_share("restante-trays", TRAYS_OCTETS, &fd, &trays->map);
	if (err) {
		free(trays);
		return err;
	}
	link_send(peer->link, IPC_DROP_TRAYS, 0, NULL, SPAN(""), &fd, 1);
	peer->trays = trays;
	return ERR_NONE;
}

void keeper_trays_leave(struct keeper_trays *trays)
{
	if (--trays->users)
		return;
	blob_unmap(trays->map, TRAYS_OCTETS);
	free(trays);
}

/* The lowest one, which is in the processor's caches if any is. */
static uint32_t take_tray(struct keeper_trays *trays)
{
	if (!trays->free)
		return IPC_TRAY_NONE;
	uint32_t tray = (uint32_t)__builtin_ctz(trays->free);
	trays->free &= ~(1u << tray);
	return tray;
}

/* The worker will not see it. */
static void keep_tray(struct bodies *bodies)
{
	if (bodies->tray != IPC_TRAY_NONE)
		bodies->trays->free |= 1u << bodies->tray;
	bodies->tray = IPC_TRAY_NONE;
}

static char *tray_room(const struct bodies *bodies)
{
	return bodies->trays->map + (size_t)bodies->tray * IPC_TRAY_SIZE;
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
		body->offset = (uint64_t)(found->here - tray_room(bodies));
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
	if (bodies->tray != IPC_TRAY_NONE)
		return drop_read_small(drop, numbers, count, flags, tray_room(bodies) + bodies->used,
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
	session->working = false;
	if (!session->peer || !bodies->used)
		keep_tray(bodies);
	if (!session->peer) {
		fd_close_all(bodies->fds, bodies->fd_count);
		keeper_end(session);
		return;
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

static void bodies_done(uv_work_t *work, int status)
{
	struct job *job = work->data;
	(void)status;
	finish_bodies(job->base.session, &job->bodies);
	keeper_trays_leave(job->bodies.trays);
	free(job);
}

/* What is left of the batch is for a thread. */
static int queue_bodies(struct keeper_session *session, const struct bodies *bodies)
{
	struct job *job = malloc(sizeof *job);
	if (!job)
		return ERR_NOMEM;
	*job = (struct job){.base.session = session, .bodies = *bodies};
	int err = keeper_queue(&job->base, job, bodies_in_thread, bodies_done);
	if (err)
		free(job);
	else
		bodies->trays->users++;
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
	struct keeper_trays *trays = session->peer->trays;
	const struct ipc_drop_body *asked = in->fixed;
	if (asked->returned >> IPC_TRAYS || asked->returned & trays->free) {
		*why = "gives back a tray it has not got";
		return ERR_PEER;
	}
	memcpy(ret->numbers, in->tail.ptr, in->tail.len);
	for (uint32_t i = 0; i < asked->count; i++)
		if (ret->numbers[i] < 1 || ret->numbers[i] > drop_count(session->drop)) {
			*why = "asks for a message that is not there";
			return ERR_PEER;
		}
	trays->free |= asked->returned;
	ret->count = asked->count;
	ret->done = 0;
	ret->fd_count = 0;
	ret->used = 0;
	ret->trays = trays;
	ret->tray = take_tray(trays);
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
