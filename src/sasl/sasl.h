/* SPDX-License-Identifier: MIT */
/*
 * The server side of SASL (RFC 4422) through GNU SASL. Used by auth. Password mechanisms (PLAIN,
 * RFC 4616; LOGIN) end with credentials to check, not with a verdict: checking takes a hash, which
 * the caller does elsewhere.
 */
#ifndef SASL_SASL_H
#define SASL_SASL_H

#include "base/buf.h"
#include "base/err.h"
#include "base/secret.h"

struct sasl;         /* the library, one per process */
struct sasl_session; /* one exchange */

enum { SASL_RESPONSE_MAX = 12288 }; /* octets of one response, decoded */

enum sasl_state {
	SASL_CHALLENGE, /* send the challenge, feed the response */
	SASL_CHECK,     /* credentials are there: check them; the exchange is over */
	SASL_BAD,       /* not what the mechanism expects; the exchange is over */
};

/* Mechanism names we serve, separated by spaces, best first. */
extern const char sasl_mechanisms[];

int sasl_init(struct sasl **ret);
void sasl_free(struct sasl *sasl);

/* Begins an exchange; `mechanism` in any case. ERR_UNSUPPORTED, ERR_NOMEM. */
int sasl_begin(struct sasl *sasl, const char *mechanism, struct sasl_session **ret);
void sasl_end(struct sasl_session *session); /* NULL is fine; wipes */

/* One step. `response` is the client's, decoded; `first` with has_response false asks for
 * the challenge the mechanism begins with (PLAIN: an empty one). A server-first mechanism (LOGIN) given
 * an initial response: LOGIN takes it as the user name, as clients in use expect. The challenge is put into
 * *ret_challenge. */
int sasl_step(struct sasl_session *session, bool has_response, struct span response,
              struct buf *ret_challenge, enum sasl_state *ret_state);

/* After SASL_CHECK: who the client says it is, with which password; valid until sasl_end(). `authzid` is
 * empty or names another identity to act as. */
struct span sasl_authcid(const struct sasl_session *session);
struct span sasl_authzid(const struct sasl_session *session);
const struct secret *sasl_password(const struct sasl_session *session);

#endif
