/* SPDX-License-Identifier: MIT */
/*
 * One end of a SOCK_SEQPACKET socket pair between two of our processes. Never
 * blocks. What cannot be sent now is queued up to IPC_QUEUE_MAX octets.
 */
#ifndef IPC_CHANNEL_H
#define IPC_CHANNEL_H

#include "base/span.h"
#include "ipc/message.h"

enum { IPC_QUEUE_MAX = 4 * 1024 * 1024 }; /* octets waiting for a peer that does not read */

struct ipc_channel {
	int fd;
	enum ipc_kind self, peer;
	uint32_t peer_id;
	struct ipc_queued *queue, **queue_end; /* messages the socket had no room for */
	size_t queued;                         /* octets in the queue */
};

/* A received message; the spans point into a buffer of the process that is valid until
 * ipc_in_finish(), which each message received gets: it closes the descriptors nobody took
 * and wipes what may have held a secret. */
struct ipc_in {
	enum ipc_type type;
	uint64_t session;
	const void *fixed; /* of the row's size, aligned to 8 */
	struct span tail;  /* aligned to 8 */
	int fds[IPC_FDS_MAX];
	unsigned fd_count;
};

/* Takes over `fd` and makes it non-blocking. */
void ipc_channel_init(struct ipc_channel *channel, int fd, enum ipc_kind self, enum ipc_kind peer,
                      uint32_t peer_id);
void ipc_channel_finish(struct ipc_channel *channel);

/* Sends one message, or queues it behind others. `fixed` has the size its row says;
 * the descriptors are closed here in every case. ERR_FULL: the queue is at its
 * limit; ERR_CLOSED: the peer is gone; ERR_PEER: our own call breaks the row. */
int ipc_send(struct ipc_channel *channel, enum ipc_type type, uint64_t session, const void *fixed,
             struct span tail, const int *fds, unsigned fd_count);

/* Sends what is queued: 0 when the queue is empty, ERR_AGAIN, ERR_CLOSED. */
int ipc_flush(struct ipc_channel *channel);
static inline bool ipc_wants_write(const struct ipc_channel *channel)
{
	return channel->queue != NULL;
}

/* Receives one message: 0; ERR_AGAIN; ERR_CLOSED; ERR_PEER: the message breaks its
 * row (reported in *why, a literal). */
int ipc_receive(struct ipc_channel *channel, struct ipc_in *ret, const char **why);
void ipc_in_finish(struct ipc_in *in);

/* Takes descriptor `index` out of the message: the caller owns it. */
int ipc_in_take(struct ipc_in *in, unsigned index);

/* 0 if `type` (a message a worker sends) is in turn for a session in state `now` (one enum ipc_when), else
 * ERR_PEER. */
int ipc_in_turn(enum ipc_type type, enum ipc_when now);

/* The row checks alone, for a fuzzer: what ipc_receive() does with the octets of one
 * datagram that came from `from` to `to` with `fd_count` descriptors. */
int ipc_check(struct span datagram, enum ipc_kind from, enum ipc_kind to, unsigned fd_count,
              struct ipc_in *ret, const char **why);

#endif
