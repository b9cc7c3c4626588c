/* SPDX-License-Identifier: MIT */
/* TLS of the load generator: certificates are not checked, the server is under test and not trusted. */
#ifndef BENCH_TLS_H
#define BENCH_TLS_H

#include "base/err.h"

#include <openssl/ssl.h>

/* ERR_TLS. */
int tls_new_context(SSL_CTX **ret, struct error *error);

/* Begins TLS on the connected socket `fd`; resumes *session if there is one. ERR_TLS, ERR_NOMEM. */
int tls_begin(SSL_CTX *context, int fd, SSL_SESSION *session, SSL **ret);

/* The peer has closed: nothing is said to it when this connection is. With `session`, *session is replaced by
 * this connection's, for the next to resume. */
void tls_end(SSL *ssl, SSL_SESSION **session);

#endif
