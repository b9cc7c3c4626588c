/* SPDX-License-Identifier: MIT */
/*
 * One end of a socket pair between two of our processes: one message is one
 * datagram, one system call. Used by all four server processes; what is received
 * may come from a process that was taken over, so every octet of it is checked
 * against its row before anybody sees it.
 */
#include "ipc/channel.h"

#include "base/err.h"
#include "base/fd.h"
#include "base/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	FIXED_MAX = 4096, /* octets of the longest fixed part (checked below) */
	DATAGRAM_MAX = sizeof(struct ipc_head) + FIXED_MAX + IPC_TAIL_MAX,
};
_Static_assert(sizeof(struct ipc_setup_auth) <= FIXED_MAX && sizeof(struct ipc_auth_ok) <= FIXED_MAX &&
                   sizeof(struct ipc_setup_keeper) <= FIXED_MAX,
               "the receive buffer holds every message");
_Static_assert(sizeof(struct ipc_head) % 8 == 0, "fixed parts are aligned");

struct ipc_queued {
	struct ipc_queued *next;
	size_t size; /* of the datagram */
	unsigned fd_count;
	int fds[IPC_FDS_MAX];
	bool secret;
	char datagram[];
};

union control {
	char octets[CMSG_SPACE(sizeof(int) * IPC_FDS_MAX)];
	struct cmsghdr align;
};

/* What is received lies here until ipc_in_finish(); one message at a time. */
static _Alignas(8) char inbox[DATAGRAM_MAX];

void ipc_channel_init(struct ipc_channel *channel, int fd, enum ipc_kind self, enum ipc_kind peer,
                      uint32_t peer_id)
{
	*channel = (struct ipc_channel){.fd = fd, .self = self, .peer = peer, .peer_id = peer_id};
	channel->queue_end = &channel->queue;
	int flags = fcntl(fd, F_GETFL);
	if (flags >= 0)
		(void)fcntl(fd, F_SETFL, flags | O_NONBLOCK);
}

static void free_first(struct ipc_channel *channel)
{
	struct ipc_queued *first = channel->queue;
	channel->queue = first->next;
	if (!channel->queue)
		channel->queue_end = &channel->queue;
	channel->queued -= sizeof *first + first->size;
	fd_close_all(first->fds, first->fd_count);
	if (first->secret)
		secret_wipe(first->datagram, first->size);
	free(first);
}

void ipc_channel_finish(struct ipc_channel *channel)
{
	while (channel->queue)
		free_first(channel);
	if (channel->fd >= 0)
		(void)close(channel->fd);
	channel->fd = -1;
}

/* One sendmsg; 0, ERR_AGAIN or ERR_CLOSED. */
static int send_datagram(int fd, struct iovec *iov, size_t iov_count, const int *fds, unsigned fd_count)
{
	union control control;
	struct msghdr msg = {.msg_iov = iov, .msg_iovlen = iov_count};
	if (fd_count) {
		msg.msg_control = control.octets;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * fd_count);
		memset(control.octets, 0, msg.msg_controllen);
		struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(sizeof(int) * fd_count);
		memcpy(CMSG_DATA(cmsg), fds, sizeof(int) * fd_count);
	}
	while (sendmsg(fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
		if (errno == EINTR)
			continue;
		/* The last two: too much or too many descriptors in flight; reading cures both. */
		if (errno == EAGAIN || errno == ENOBUFS || errno == ETOOMANYREFS)
			return ERR_AGAIN;
		return ERR_CLOSED;
	}
	return ERR_NONE;
}

static int enqueue(struct ipc_channel *channel, const struct iovec *iov, size_t iov_count, const int *fds,
                   unsigned fd_count, bool secret)
{
	size_t size = 0;
	for (size_t i = 0; i < iov_count; i++)
		size += iov[i].iov_len;
	struct ipc_queued *last;
	if (sizeof *last + size > IPC_QUEUE_MAX - channel->queued)
		return ERR_FULL;
	last = malloc(sizeof *last + size);
	if (!last)
		return ERR_FULL; /* a peer that does not read costs itself its link, no more */
	last->next = NULL;
	last->size = 0;
	last->fd_count = fd_count;
	last->secret = secret;
	if (fd_count)
		memcpy(last->fds, fds, sizeof(int) * fd_count);
	for (size_t i = 0; i < iov_count; i++) {
		if (iov[i].iov_len)
			memcpy(last->datagram + last->size, iov[i].iov_base, iov[i].iov_len);
		last->size += iov[i].iov_len;
	}
	*channel->queue_end = last;
	channel->queue_end = &last->next;
	channel->queued += sizeof *last + size;
	return ERR_NONE;
}

static void *unconst(const void *octets)
{
	union {
		const void *from;
		void *to; /* sendmsg's iovec has no const, yet only reads */
	} both = {octets};
	return both.to;
}

int ipc_send(struct ipc_channel *channel, enum ipc_type type, uint64_t session, const void *fixed,
             struct span tail, const int *fds, unsigned fd_count)
{
	static const char zeros[8];
	const struct ipc_row *row = &ipc_rows[type];
	int err = ERR_PEER;
	if (ipc_find_flaw(type, channel->self, channel->peer, session, fixed, tail, fd_count))
		goto out;
	struct ipc_head head = {.type = type, .session = session};
	struct iovec iov[] = {
	    {&head,             sizeof head	                         },
	    {unconst(fixed),    row->fixed                                  },
	    {unconst(zeros),    tail.len ? ipc_tail_at(row) - row->fixed : 0},
	    {unconst(tail.ptr), tail.len                                    },
	};
	size_t iov_count = tail.len ? 4 : row->fixed ? 2 : 1;
	err = channel->queue ? ERR_AGAIN : send_datagram(channel->fd, iov, iov_count, fds, fd_count);
	if (err == ERR_AGAIN) {
		err = enqueue(channel, iov, iov_count, fds, fd_count, row->secret);
		if (err == ERR_NONE)
			return ERR_NONE; /* the queue owns the descriptors */
	}
out:
	fd_close_all(fds, fd_count);
	return err;
}

int ipc_flush(struct ipc_channel *channel)
{
	while (channel->queue) {
		struct ipc_queued *first = channel->queue;
		struct iovec iov = {first->datagram, first->size};
		int err = send_datagram(channel->fd, &iov, 1, first->fds, first->fd_count);
		if (err)
			return err;
		free_first(channel);
	}
	return ERR_NONE;
}

static int refuse(const char **why, const char *reason)
{
	*why = reason;
	return ERR_PEER;
}

int ipc_check(struct span datagram, enum ipc_kind from, enum ipc_kind to, unsigned fd_count,
              struct ipc_in *ret, const char **why)
{
	const struct ipc_head *head = (const void *)datagram.ptr;
	if (datagram.len < sizeof *head)
		return refuse(why, "shorter than a head");
	if (head->type >= IPC_TYPES || head->unused != 0)
		return refuse(why, "no such message");
	const struct ipc_row *row = &ipc_rows[head->type];
	struct span rest = span_after(datagram, sizeof *head);
	size_t tail_at = ipc_tail_at(row);
	struct span tail = {NULL, 0};
	if (rest.len > tail_at)
		tail = span_after(rest, tail_at);
	else if (rest.len != row->fixed)
		return refuse(why, "wrong size");
	for (size_t i = row->fixed; i < tail_at && i < rest.len; i++)
		if (rest.ptr[i] != 0)
			return refuse(why, "padding set");
	const char *flaw =
	    ipc_find_flaw((enum ipc_type)head->type, from, to, head->session, rest.ptr, tail, fd_count);
	if (flaw)
		return refuse(why, flaw);
	ret->type = (enum ipc_type)head->type;
	ret->session = head->session;
	ret->fixed = rest.ptr;
	ret->tail = tail;
	return ERR_NONE;
}

/* Collects the descriptors that came with a datagram; the kernel made them close-on-exec. */
static void take_fds(struct msghdr *msg, struct ipc_in *in)
{
	for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(msg); cmsg; cmsg = CMSG_NXTHDR(msg, cmsg)) {
		if (cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_RIGHTS)
			continue;
		size_t count = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < count && in->fd_count < IPC_FDS_MAX; i++)
			memcpy(&in->fds[in->fd_count++], CMSG_DATA(cmsg) + i * sizeof(int), sizeof(int));
	}
}

int ipc_receive(struct ipc_channel *channel, struct ipc_in *ret, const char **why)
{
	union control control;
	struct iovec iov = {inbox, sizeof inbox};
	struct msghdr msg = {.msg_iov = &iov,
	                     .msg_iovlen = 1,
	                     .msg_control = control.octets,
	                     .msg_controllen = sizeof control.octets};
	ssize_t size;
	do
		size = recvmsg(channel->fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	while (size < 0 && errno == EINTR);
	if (size < 0)
		return errno == EAGAIN ? ERR_AGAIN : ERR_CLOSED;
	struct ipc_in in = {.fd_count = 0};
	take_fds(&msg, &in);
	int err;
	if (size == 0)
		err = ERR_CLOSED;
	else if (msg.msg_flags & MSG_CTRUNC)
		err = refuse(why, "too many descriptors");
	else if (msg.msg_flags & MSG_TRUNC)
		err = refuse(why, "oversized");
	else
		err = ipc_check(span_of(inbox, (size_t)size), channel->peer, channel->self, in.fd_count, &in,
		                why);
	if (err)
		fd_close_all(in.fds, in.fd_count);
	else
		*ret = in;
	return err;
}

void ipc_in_finish(struct ipc_in *in)
{
	fd_close_all(in->fds, in->fd_count);
	in->fd_count = 0;
	if (ipc_rows[in->type].secret)
		secret_wipe(inbox, sizeof(struct ipc_head) + ipc_tail_at(&ipc_rows[in->type]) + in->tail.len);
}

int ipc_in_take(struct ipc_in *in, unsigned index)
{
	int fd = in->fds[index];
	in->fds[index] = -1;
	return fd;
}

int ipc_in_turn(enum ipc_type type, enum ipc_when now)
{
	return ipc_rows[type].when & now ? ERR_NONE : ERR_PEER;
}
