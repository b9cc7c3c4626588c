/* SPDX-License-Identifier: MIT */
/*
 * Messages from the keeper: asking for them, ahead of a client that fetches one after the other, and what of
 * them a session holds. Runs in the worker. A long message is a descriptor. Small ones lie in a tray of the
 * memory the keeper shares with us, which is given back when its answer was dealt with: a client that does
 * not read has its own copy. The keeper's answers are checked before use.
 */
#include "server/worker.h"

#include "base/fd.h"
#include "ipc/blob.h"

#include <stdlib.h>
#include <string.h>

/* Closes the whole batch at once, which costs less than each message by itself. */
static void drop_ahead(struct session *session)
{
	int fds[IPC_BODIES_MAX];
	for (uint8_t i = 0; i < session->ahead_count; i++)
		fds[i] = session->ahead[i].fd;
	fd_close_all(fds, session->ahead_count);
	free(session->ahead);
	session->ahead = NULL;
	free(session->here_kept);
	session->here_kept = NULL;
	session->here = SPAN("");
	session->ahead_at = session->ahead_count = 0;
	session->worker->body_fds -= session->reserved;
	session->reserved = 0;
}

void body_release(struct session *session)
{
	session->sending = false;
	drop_ahead(session);
}

void body_rest(struct session *session)
{
	if (!session->sending && session->await == AWAIT_NOTHING)
		drop_ahead(session);
}

void body_done(struct session *session)
{
	session->sending = false;
	if (session->ahead_at == session->ahead_count)
		drop_ahead(session);
}

void body_take_here(struct session *session, size_t count)
{
	session->here = span_after(session->here, count);
	session->here_at += count;
}

/* Begins to send the message at the front of what was opened ahead. */
static void use_body(struct session *session)
{
	session->body =
	    session->ahead[session->ahead_at++]; /* the batch keeps the descriptor: see drop_ahead() */
	const struct ipc_body *facts = &session->body.facts;
	bool here = facts->flags & IPC_BODY_HERE;
	int err = facts->err;
	if (!err && (facts->wire != session->machine.listing.octets[facts->number - 1] ||
	             (here && facts->offset < session->here_at)))
		err = ERR_CHANGED;
	if (err) {
		pop_server_no_body(&session->machine, err);
		body_done(session);
		return;
	}
	if (here)
		body_take_here(session, facts->offset - session->here_at);
	session->sending = true;
	session->body_at = facts->offset;
	session->fetched++;
	struct pop_body body = {.length = facts->length,
	                        .header = facts->header,
	                        .wire_form =
	                            (facts->flags & IPC_BODY_CRLF) && (facts->flags & IPC_BODY_NO_DOTS)};
	pop_server_body(&session->machine, &body);
}

/* --- asking --- */

/* How many messages may be opened at once now: fewer as descriptors run short, so that no session's batch
 * takes the last ones. The kernel would cut the keeper's answer short, and that must never happen. */
static unsigned batch_max(const struct worker *worker)
{
	enum { SHARE = 8 };
	uint32_t left = worker->body_fds_max - worker->body_fds;
	/* One for each session comes first: clients that stop reading keep what they have. */
	uint32_t spare = left > worker->session_count ? left - worker->session_count : 0;
	if (left == 0)
		return 0;
	return spare / SHARE >= IPC_BODIES_MAX ? IPC_BODIES_MAX : spare / SHARE + 1;
}

/* Adds the messages that follow the last one, for a client that goes on where it left off: each time twice as
 * many as the time before. */
static unsigned add_following(struct session *session, uint32_t *numbers, unsigned count, unsigned most)
{
	bool goes_on = session->last_number && numbers[0] == session->last_number + 1;
	unsigned window = goes_on ? 2u * session->window + 1 : 0;
	session->window = (uint8_t)(window < IPC_BODIES_MAX ? window : IPC_BODIES_MAX);
	for (unsigned i = 0; i < session->window && count < most; i++) {
		uint32_t next = pop_server_following(&session->machine, numbers[count - 1]);
		if (!next)
			break;
		numbers[count++] = next;
	}
	return count;
}

static void ask_keeper(struct session *session, const uint32_t *numbers, unsigned count)
{
	struct worker *worker = session->worker;
	struct ipc_drop_body ask = {.count = count, .returned = worker->returned_trays};
	worker->returned_trays = 0;
	session->last_number = numbers[count - 1];
	session->reserved = (uint8_t)count;
	worker->body_fds += count;
	session->await = AWAIT_BODY;
	link_send(worker->keeper, IPC_DROP_BODY, session->id, &ask,
	          span_of((const char *)numbers, count * sizeof *numbers), NULL, 0);
}

bool body_ask(struct session *session, struct span input)
{
	uint32_t number = session->machine.ask.number;
	if (session->ahead_at < session->ahead_count &&
	    session->ahead[session->ahead_at].facts.number == number) {
		use_body(session);
		return true;
	}
	drop_ahead(session); /* the client took another turn than it looked like */
	unsigned most = batch_max(session->worker);
	if (!most) {
		pop_server_no_body(&session->machine, ERR_FULL);
		return true;
	}
	uint32_t numbers[IPC_BODIES_MAX] = {number};
	unsigned count = 1 + pop_server_ahead(&session->machine, input, numbers + 1, most - 1);
	ask_keeper(session, numbers, add_following(session, numbers, count, most));
	return false;
}

/* --- answers --- */

/* The tray is given back: what of it is still to be sent goes into the session's own memory. */
static void keep_here(struct session *session)
{
	if (!session->ahead || !session->here.len || session->here_kept)
		return;
	session->here_kept = malloc(session->here.len);
	if (!session->here_kept) {
		session_end(session, "out of memory");
		return;
	}
	memcpy(session->here_kept, session->here.ptr, session->here.len);
	session->here.ptr = session->here_kept;
}

static int take_bodies(struct session *session, struct ipc_in *in)
{
	const struct ipc_drop_bodies *bodies = in->fixed;
	const struct ipc_body *facts = (const struct ipc_body *)(const void *)in->tail.ptr;
	uint64_t end = 0;
	unsigned fd = 0;
	for (uint32_t i = 0; i < bodies->count; i++) {
		bool good = facts[i].err == ERR_NONE, here = facts[i].flags & IPC_BODY_HERE;
		if (facts[i].number == 0 || facts[i].number > session->machine.listing.count)
			return ERR_PEER;
		session->ahead[i] =
		    (struct worker_body){.facts = facts[i], .fd = good && !here ? ipc_in_take(in, fd++) : -1};
		session->ahead_count = (uint8_t)(i + 1);
		if (good && here && facts[i].offset + facts[i].length > end)
			end = facts[i].offset + facts[i].length;
	}
	session->here_at = 0;
	if (end)
		session->here =
		    span_of(session->worker->trays + (size_t)bodies->tray * IPC_TRAY_SIZE, (size_t)end);
	return ERR_NONE;
}

static int deal_with(struct session *session, struct ipc_in *in)
{
	struct worker *worker = session->worker;
	const struct ipc_drop_bodies *bodies = in->fixed;
	const struct ipc_body *facts = (const struct ipc_body *)(const void *)in->tail.ptr;
	if (session->await != AWAIT_BODY || bodies->count > session->reserved ||
	    facts[0].number != session->machine.ask.number)
		return ERR_PEER;
	session->await = AWAIT_NOTHING;
	session->ahead = calloc(bodies->count, sizeof *session->ahead);
	if (!session->ahead) {
		session_end(session, "out of memory");
		return ERR_NONE;
	}
	int err = take_bodies(session, in);
	if (err)
		return err;
	use_body(session);
	session_run(session);
	session = worker_find(worker, in->session);
	if (session)
		keep_here(session);
	return ERR_NONE;
}

int body_answer(struct worker *worker, struct session *session, struct ipc_in *in)
{
	const struct ipc_drop_bodies *bodies = in->fixed;
	uint32_t tray = bodies->tray == IPC_TRAY_NONE ? 0 : 1u << bodies->tray;
	if (tray && !worker->trays)
		return ERR_PEER;
	int err = session ? deal_with(session, in) : ERR_NONE; /* it may have ended meanwhile */
	worker->returned_trays |= tray;
	return err;
}

/* --- trays --- */

int body_take_trays(struct worker *worker, const struct ipc_in *in)
{
	return worker->trays
	           ? ERR_PEER
	           : blob_map_shared(in->fds[0], (uint64_t)IPC_TRAYS * IPC_TRAY_SIZE, &worker->trays);
}

void body_keeper_gone(struct worker *worker)
{
	blob_unmap(worker->trays, (uint64_t)IPC_TRAYS * IPC_TRAY_SIZE);
	worker->trays = NULL;
	worker->returned_trays = 0;
}
