/* SPDX-License-Identifier: MIT */
/* A connection, plain or TLS, behind one set of calls. Knows octets, not POP. Used by the worker. */
#ifndef NET_CONN_H
#define NET_CONN_H

#include "net/tls.h"

#include <sys/types.h>

struct conn {
	int fd;           /* non-blocking; owned */
	SSL *ssl;         /* NULL: plain */
	bool wants_write; /* TLS waits for room to write before it can go on reading or shaking hands */
};

/* Takes over `fd`. */
void conn_init(struct conn *conn, int fd);
/* Closes: with TLS, says so first (close_notify), without waiting for the peer. */
void conn_finish(struct conn *conn);

/* Makes it TLS from here on; conn_handshake() until it returns 0. */
int conn_start_tls(struct conn *conn, struct tls *tls);
/* 0: done; ERR_AGAIN: when readable (or writable: wants_write) again; ERR_TLS: why, in *error; ERR_CLOSED. */
int conn_handshake(struct conn *conn, struct error *error);

/* Reads: 0 and *ret_count > 0 octets; ERR_AGAIN; ERR_CLOSED: the end; ERR_IO, ERR_TLS. */
int conn_read(struct conn *conn, char *to, size_t size, size_t *ret_count);
/* Writes some: 0 and *ret_count > 0 octets; ERR_AGAIN; ERR_CLOSED, ERR_IO, ERR_TLS. `more`: further
 * octets follow at once. */
int conn_write(struct conn *conn, struct span octets, bool more, size_t *ret_count);
/* Plain connections only: sends from a file without copying. As conn_write(); ERR_CORRUPT: the file ended
 * early. */
int conn_send_file(struct conn *conn, int file, uint64_t offset, uint64_t length, size_t *ret_count);

/* From now on the kernel takes no more than so many octets that cannot go out yet. */
void conn_limit_unsent(struct conn *conn, unsigned octets);
/* Octets on their way that the peer has not acknowledged. */
uint32_t conn_unacked(const struct conn *conn);
/* Octets are on their way, and the peer's machine has answered nothing for this time, though asked several
 * times. (TCP_USER_TIMEOUT would give up as well who answers that he has no room now.) */
bool conn_is_silent(const struct conn *conn, uint32_t ms);

/* "TLSv1.3/TLS_AES_256_GCM_SHA384", or "none". */
void conn_describe(const struct conn *conn, char *to, size_t size);

#endif
