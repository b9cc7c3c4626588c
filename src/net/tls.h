/* SPDX-License-Identifier: MIT */
/*
 * TLS, server side, through OpenSSL 3: the certificates, who gets which, and resumption that works
 * across workers. RFC 8314, RFC 9325: TLS 1.2 and 1.3. Used by the worker; the master only checks pairs.
 */
#ifndef NET_TLS_H
#define NET_TLS_H

#include "base/err.h"
#include "base/span.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct ssl_st SSL;

enum {
	TLS_KEY_SIZE = 80,  /* session ticket key: 16 name, 32 AES-256, 32 HMAC-SHA-256 */
	TLS_HOSTS_MAX = 64, /* certificates with different names */
};

struct tls; /* certificates and ticket keys; one per worker */

int tls_new(struct tls **ret);
void tls_free(struct tls *tls);

/* Adds a certificate: PEM of the chain (leaf first) and of its key. One with the names of an
 * earlier one but another kind of key (RSA, ECDSA) stands beside it; the first is the default for clients
 * that name no host or an unknown one. ERR_TLS: not PEM, or key and certificate do not match; ERR_FULL. */
int tls_add(struct tls *tls, struct span pem, struct error *error);

/* True once there is a certificate. */
bool tls_ready(const struct tls *tls);

/* Keys for session tickets, the same in every worker. `previous` is accepted, not issued. */
void tls_set_keys(struct tls *tls, const uint8_t current[TLS_KEY_SIZE], const uint8_t previous[TLS_KEY_SIZE]);

/* A connection's TLS on non-blocking socket `fd`, which stays the caller's. ERR_NOMEM. */
int tls_accept(struct tls *tls, int fd, SSL **ret);

#endif
