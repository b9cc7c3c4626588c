/* SPDX-License-Identifier: MIT */
/* TLS for pop3-load, over OpenSSL. */
#include "load/tls.h"

#include <errno.h>
#include <openssl/err.h>
#include <string.h>

int tls_new_context(SSL_CTX **ret, struct error *error)
{
	SSL_CTX *context = SSL_CTX_new(TLS_client_method());
	if (!context) {
		error_set(error, "OpenSSL gives no TLS context");
		return ERR_TLS;
	}
	SSL_CTX_set_verify(context, SSL_VERIFY_NONE, NULL);
	SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
	                              SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	/* Where a session ends without TLS saying so, the client machine sees that it was not time. */
	SSL_CTX_set_options(context, SSL_OP_IGNORE_UNEXPECTED_EOF);
	SSL_CTX_set_read_ahead(context, 1); /* a record with one system call, not two */
	/* Sessions are kept beside their connection, not in OpenSSL's cache. */
	SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
	*ret = context;
	return ERR_NONE;
}

int tls_begin(SSL_CTX *context, int fd, SSL_SESSION *session, SSL **ret)
{
	SSL *ssl = SSL_new(context);
	if (!ssl)
		return ERR_NOMEM;
	if (!SSL_set_fd(ssl, fd) || (session && !SSL_set_session(ssl, session))) {
		SSL_free(ssl);
		return ERR_TLS;
	}
	SSL_set_connect_state(ssl);
	*ret = ssl;
	return ERR_NONE;
}

static int tls_result(SSL *ssl, int result, bool *ret_write, struct error *error)
{
	int why = SSL_get_error(ssl, result);
	if (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE) {
		*ret_write = why == SSL_ERROR_WANT_WRITE;
		return ERR_AGAIN;
	}
	if (why == SSL_ERROR_ZERO_RETURN)
		return ERR_CLOSED;
	unsigned long code = ERR_peek_last_error();
	const char *text = code ? ERR_reason_error_string(code) : strerror(errno);
	error_set(error, "TLS: %s", text ? text : "unknown error");
	ERR_clear_error();
	return ERR_TLS;
}

long tls_read(SSL *ssl, char *to, size_t size, bool *ret_write, struct error *error)
{
	size_t len;
	int result = SSL_read_ex(ssl, to, size, &len);
	if (result == 1)
		return (long)len;
	int err = tls_result(ssl, result, ret_write, error);
	return err == ERR_CLOSED ? 0 : err;
}

long tls_write(SSL *ssl, const char *from, size_t len, bool *ret_write, struct error *error)
{
	size_t done;
	int result = SSL_write_ex(ssl, from, len, &done);
	return result == 1 ? (long)done : tls_result(ssl, result, ret_write, error);
}

int tls_handshake(SSL *ssl, bool *ret_write, struct error *error)
{
	int result = SSL_do_handshake(ssl);
	return result == 1 ? ERR_NONE : tls_result(ssl, result, ret_write, error);
}

void tls_end(SSL *ssl, SSL_SESSION **session)
{
	if (!ssl)
		return;
	if (session && SSL_is_init_finished(ssl)) {
		/* Without these flags OpenSSL calls the session broken and does not resume it. */
		SSL_set_shutdown(ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
		SSL_SESSION_free(*session);
		*session = SSL_get1_session(ssl);
	}
	SSL_free(ssl);
}
