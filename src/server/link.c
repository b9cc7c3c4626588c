/* SPDX-License-Identifier: MIT */
/*
 * A channel on an event loop. Used by all four server processes; what arrives was
 * checked by ipc/channel, whether it is in turn is the owner's to say.
 */
#include "server/link.h"

#include "base/err.h"

#include <stdlib.h>
#include <sys/socket.h>

enum {
	LINK_BURST = 32,       /* messages taken per readiness before the others on the loop get their turn */
	LINK_PROBE_EVERY = 16, /* how often a calm link is asked for more than one */
};

static void unhook_done(uv_handle_t *handle)
{
	struct link *link = handle->data;
	link->unhooked = true;
	if (link->owned)
		free(link);
}

void link_close(struct link *link)
{
	if (link->closed)
		return;
	link->closed = true;
	uv_close((uv_handle_t *)&link->poll, unhook_done);
	ipc_channel_finish(&link->channel);
}

void link_free(struct link *link)
{
	if (!link)
		return;
	link_close(link);
	link->owned = true;
	if (link->unhooked)
		free(link);
}

static void give_up(struct link *link, int err, const char *why)
{
	if (link->closed)
		return;
	link_close(link);
	/* What follows a failure of link_send() looks like the peer's end, and is our own. */
	link->ops->gone(link, link->fault ? link->fault : err, link->fault ? NULL : why);
}

static void watch(struct link *link);

static void handle_writable(struct link *link)
{
	int err = ipc_flush(&link->channel);
	if (err == ERR_NONE)
		watch(link);
	else if (err != ERR_AGAIN)
		give_up(link, err, NULL);
}

/* Takes one message; false when there is no more to take now. */
static bool take_message(struct link *link)
{
	struct ipc_in in;
	const char *why = NULL;
	int err = ipc_receive(&link->channel, &in, &why);
	if (err == ERR_AGAIN)
		return false;
	if (err) {
		give_up(link, err, why);
		return false;
	}
	link->why = NULL;
	err = link->ops->message(link, &in);
	ipc_in_finish(&in);
	if (err)
		give_up(link, err, err == ERR_PEER && !link->why ? "out of turn" : link->why);
	return !link->closed;
}

/* Mostly one message waits, and asking whether there is another would be a system call for nothing:
 * a calm link is asked now and then, a busy one each time. */
static void handle_readable(struct link *link)
{
	unsigned most = link->busy || ++link->calm % LINK_PROBE_EVERY == 0 ? LINK_BURST : 1;
	unsigned got = 0;
	while (got < most && take_message(link))
		got++;
	link->busy = got > 1;
}

static void handle_event(uv_poll_t *poll, int status, int events)
{
	struct link *link = poll->data;
	if (link->fault || status < 0)
		give_up(link, ERR_CLOSED, NULL);
	if (!link->closed && events & UV_WRITABLE)
		handle_writable(link);
	if (!link->closed && events & UV_READABLE)
		handle_readable(link);
}

static void watch(struct link *link)
{
	int events = UV_READABLE | (ipc_wants_write(&link->channel) ? UV_WRITABLE : 0);
	(void)uv_poll_start(&link->poll, events, handle_event);
}

int link_open(struct link *link, uv_loop_t *loop, int fd, enum ipc_kind self, enum ipc_kind peer,
              uint32_t peer_id, const struct link_ops *ops, void *owner)
{
	*link = (struct link){.ops = ops, .owner = owner};
	ipc_channel_init(&link->channel, fd, self, peer, peer_id);
	if (uv_poll_init(loop, &link->poll, fd) != 0) {
		ipc_channel_finish(&link->channel);
		link->closed = link->unhooked = true;
		return ERR_IO;
	}
	link->poll.data = link;
	watch(link);
	return ERR_NONE;
}

void link_send(struct link *link, enum ipc_type type, uint64_t session, const void *fixed, struct span tail,
               const int *fds, unsigned fd_count)
{
	bool waiting = ipc_wants_write(&link->channel);
	int err = ipc_send(&link->channel, type, session, fixed, tail, fds, fd_count);
	if (link->closed)
		return;
	if (err && !link->fault) {
		/* An end of file on our own side is what wakes the loop, even from a full socket. */
		link->fault = err;
		(void)shutdown(link->channel.fd, SHUT_RDWR);
	} else if (!waiting && ipc_wants_write(&link->channel)) {
		watch(link);
	}
}
