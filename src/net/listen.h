/* SPDX-License-Identifier: MIT */
/* Listening sockets and addresses. Used by the master (listening) and the worker (peers' addresses). */
#ifndef NET_LISTEN_H
#define NET_LISTEN_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

enum {
	NET_ADDRESS_MAX = 64, /* "[2001:db8::1%eth0]:65535" and a NUL */
	NET_PATH_MAX = 108,   /* octets of a Unix socket's path with its NUL */
	NET_BACKLOG = 4096,   /* connections the kernel keeps for us while we are busy */
};

/* Whether anybody listens at `address` already: ERR_BUSY then. */
int net_check_free(const char *address, struct error *error);

/*
 * A non-blocking TCP socket that listens at `address`: "127.0.0.1:110", "[::1]:110", or "*:110" for
 * every address of both families. SO_REUSEPORT, so that each worker slot has its own; TCP_NODELAY and
 * SO_KEEPALIVE, which accepted connections inherit. ERR_SYNTAX, ERR_BUSY (address in use), ERR_DENIED,
 * ERR_IO.
 */
int net_listen(const char *address, int *ret_fd, struct error *error);

/* Who is accepted from `fd` from now on, and then does not answer for `seconds` (at least 8) while nothing is
 * on its way to him, is disconnected by the kernel. */
void net_keep_alive(int fd, unsigned seconds);

/*
 * A non-blocking Unix socket that listens at `path`, with these permissions; `gid` UINT32_MAX for no change.
 * One that nobody listens at any more is replaced. ERR_BUSY: somebody does; ERR_EXISTS: what is there is no
 * socket; ERR_RANGE (too long), ERR_DENIED, ERR_NOTFOUND, ERR_IO.
 */
int net_listen_unix(const char *path, uint32_t mode, uint32_t gid, int *ret_fd, struct error *error);

/* "192.0.2.1:4242" or "[2001:db8::1]:4242"; an IPv4 address in IPv6 clothes is written as IPv4.
 * "unix" for a Unix socket. */
void net_address_text(const struct sockaddr *address, char to[NET_ADDRESS_MAX]);

/* 127.0.0.0/8, ::1, the former in IPv6 clothes, and Unix sockets. */
bool net_is_loopback(const struct sockaddr *address);

#endif
