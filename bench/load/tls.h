/* SPDX-License-Identifier: MIT */
/* TLS of the load generator: certificates are not checked, the server is under test and not trusted. */
#ifndef LOAD_TLS_H
#define LOAD_TLS_H

#include "base/err.h"

#include <openssl/ssl.h>
#include <stdbool.h>

/* ERR_TLS. */
int tls_new_context(SSL_CTX **ret, struct error *error);

/* Begins TLS on the connected socket `fd`; resumes *session if there is one. ERR_TLS, ERR_NOMEM. */
int tls_begin(SSL_CTX *context, int fd, SSL_SESSION *session, SSL **ret);

/* Reads, writes or shakes hands. Octets done, 0 at the end of the connection (reading only);
 * ERR_AGAIN with *ret_write telling which readiness to wait for; ERR_TLS with the reason. */
long tls_read(SSL *ssl, char *to, size_t size, bool *ret_write, struct error *error);
long tls_write(SSL *ssl, const char *from, size_t len, bool *ret_write, struct error *error);
int tls_handshake(SSL *ssl, bool *ret_write, struct error *error);

/* Frees; with `session`, *session is replaced by this connection's, for the next to resume. */
void tls_end(SSL *ssl, SSL_SESSION **session);

#endif
