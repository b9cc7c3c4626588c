/* SPDX-License-Identifier: MIT */
/* TLS for restante-bench, over OpenSSL; src/net reads and writes. */
#include "bench/tls.h"

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
	/* Sessions are kept beside their connection. With a cache, even one that stores nothing, OpenSSL
	 * takes a ticket for used up after one resumption, and servers that give no new one then would be
	 * resumed every other time. */
	SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
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

void tls_end(SSL *ssl, SSL_SESSION **session)
{
	if (!SSL_is_init_finished(ssl))
		return;
	/* Without these flags OpenSSL calls the session broken and does not resume it. */
	SSL_set_shutdown(ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
	if (!session)
		return;
	SSL_SESSION_free(*session);
	*session = SSL_get1_session(ssl);
}
