/* SPDX-License-Identifier: MIT */
/* Connections. Runs in the worker on octets from the network. */
#include "net/conn.h"

#include <errno.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

enum { SEND_FILE_MAX = 1 << 20 }; /* octets handed to the kernel in one call, so that others get their turn */

void conn_init(struct conn *conn, int fd)
{
	*conn = (struct conn){.fd = fd};
}

void conn_finish(struct conn *conn)
{
	if (conn->ssl) {
		if (SSL_is_init_finished(conn->ssl))
			(void)SSL_shutdown(conn->ssl);
		SSL_free(conn->ssl);
		ERR_clear_error();
	}
	conn->ssl = NULL;
	if (conn->fd >= 0)
		(void)close(conn->fd);
	conn->fd = -1;
}

int conn_start_tls(struct conn *conn, struct tls *tls)
{
	return tls_accept(tls, conn->fd, &conn->ssl);
}

static int tls_failure(struct conn *conn, int result, struct error *error)
{
	int reason = SSL_get_error(conn->ssl, result);
	conn->wants_write = reason == SSL_ERROR_WANT_WRITE;
	if (reason == SSL_ERROR_WANT_READ || reason == SSL_ERROR_WANT_WRITE)
		return ERR_AGAIN;
	if (reason == SSL_ERROR_ZERO_RETURN)
		return ERR_CLOSED;
	unsigned long code = ERR_get_error();
	const char *text = code ? ERR_reason_error_string(code) : NULL;
	ERR_clear_error();
	if (!text)
		return ERR_CLOSED; /* the connection went away under TLS */
	error_set(error, "%s", text);
	return ERR_TLS;
}

int conn_handshake(struct conn *conn, struct error *error)
{
	int result = SSL_do_handshake(conn->ssl);
	return result == 1 ? ERR_NONE : tls_failure(conn, result, error);
}

static int plain_result(ssize_t count, size_t *ret_count)
{
	if (count > 0) {
		*ret_count = (size_t)count;
		return ERR_NONE;
	}
	return count == 0 ? ERR_CLOSED : err_from_errno(errno);
}

int conn_read(struct conn *conn, char *to, size_t size, size_t *ret_count)
{
	if (!conn->ssl)
		return plain_result(recv(conn->fd, to, size, 0), ret_count);
	int result = SSL_read_ex(conn->ssl, to, size, ret_count);
	return result == 1 ? ERR_NONE : tls_failure(conn, result, NULL);
}

int conn_write(struct conn *conn, struct span octets, bool more, size_t *ret_count)
{
	if (!conn->ssl)
		return plain_result(
		    send(conn->fd, octets.ptr, octets.len, MSG_NOSIGNAL | (more ? MSG_MORE : 0)), ret_count);
	int result = SSL_write_ex(conn->ssl, octets.ptr, octets.len, ret_count);
	return result == 1 ? ERR_NONE : tls_failure(conn, result, NULL);
}

int conn_send_file(struct conn *conn, int file, uint64_t offset, uint64_t length, size_t *ret_count)
{
	off_t at = (off_t)offset;
	ssize_t count =
	    sendfile(conn->fd, file, &at, length < SEND_FILE_MAX ? (size_t)length : SEND_FILE_MAX);
	return count == 0 ? ERR_CORRUPT : plain_result(count, ret_count);
}

void conn_limit_unsent(struct conn *conn, unsigned octets)
{
	(void)setsockopt(conn->fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &octets, sizeof octets);
}

uint32_t conn_unacked(const struct conn *conn)
{
	int left;
	return ioctl(conn->fd, SIOCOUTQ, &left) == 0 && left > 0 ? (uint32_t)left : 0;
}

bool conn_is_silent(const struct conn *conn, uint32_t ms)
{
	enum { UNANSWERED_MIN = 3 };
	struct tcp_info info;
	socklen_t size = sizeof info;
	return getsockopt(conn->fd, IPPROTO_TCP, TCP_INFO, &info, &size) == 0 &&
	       info.tcpi_last_ack_recv >= ms && info.tcpi_retransmits + info.tcpi_probes >= UNANSWERED_MIN;
}

void conn_describe(const struct conn *conn, char *to, size_t size)
{
	if (conn->ssl && SSL_is_init_finished(conn->ssl))
		(void)snprintf(to, size, "%s/%s", SSL_get_version(conn->ssl), SSL_get_cipher_name(conn->ssl));
	else
		(void)snprintf(to, size, "none");
}
