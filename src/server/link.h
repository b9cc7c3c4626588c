/* SPDX-License-Identifier: MIT */
/*
 * A channel on an event loop: an ipc_channel plus its libuv poll handle. Used by all
 * four server processes.
 */
#ifndef SERVER_LINK_H
#define SERVER_LINK_H

#include "ipc/channel.h"

#include <uv.h>

struct link;
struct link_ops {
	/* One well-formed message. Non-zero: the link is given up; with ERR_PEER the reason is
	 * link->why if the receiver has set it, else "out of turn". */
	int (*message)(struct link *link, struct ipc_in *in);
	/* The peer is gone (ERR_CLOSED), broke the rules (ERR_PEER, with `why`), or does not read
	 * (ERR_FULL). The link is closed already; the owner may free it in here. Called once. */
	void (*gone)(struct link *link, int err, const char *why);
};

struct link {
	struct ipc_channel channel;
	uv_poll_t poll;
	const struct link_ops *ops;
	void *owner;
	const char *why; /* a literal: what the peer did wrong */
	int fault;       /* a failure of link_send(), delivered to `gone` by the loop */
	bool closed;     /* link_close() was called or `gone` was delivered */
	bool unhooked;   /* the loop has let go of it */
	bool owned;      /* to be freed when the loop lets go of it */
	bool busy;       /* several messages were waiting last time */
	unsigned calm;   /* readinesses in which one message was taken unasked for more */
};

/* Takes over `fd` (closed on failure too) and starts to listen. ERR_IO. */
int link_open(struct link *link, uv_loop_t *loop, int fd, enum ipc_kind self, enum ipc_kind peer,
              uint32_t peer_id, const struct link_ops *ops, void *owner);
/* Closes without calling `gone`; free the memory no earlier than the next turn of the loop,
 * or through link_free(). */
void link_close(struct link *link);
/* Closes and frees a link from malloc. NULL is fine. */
void link_free(struct link *link);

/* ipc_send() on the link: a failure is not returned but ends the link through `gone`
 * in a later turn of the loop, so that callers need not handle it everywhere. */
void link_send(struct link *link, enum ipc_type type, uint64_t session, const void *fixed, struct span tail,
               const int *fds, unsigned fd_count);

#endif
