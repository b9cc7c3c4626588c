/* SPDX-License-Identifier: MIT */
/*
 * The server side of SASL (RFC 4422) through GNU SASL. Used by auth. Password mechanisms (PLAIN,
 * RFC 4616; LOGIN) end with credentials to check, not with a verdict: checking takes a hash, which
 * the caller does elsewhere.
 *
 * LOGIN is a server-first mechanism (the server asks for the user name, then for the password), so an
 * initial response to it is refused, as RFC 5034 section 4 demands ("MUST reject the AUTH command").
 *
 * What an exchange holds is wiped in sasl_end(), except for copies that GNU SASL makes and frees inside a
 * step, which nobody outside can reach.
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

/* ERR_NOMEM. */
int sasl_init(struct sasl **ret);
void sasl_free(struct sasl *sasl);

/* Begins an exchange; `mechanism` in any case. ERR_UNSUPPORTED, ERR_NOMEM. */
int sasl_begin(struct sasl *sasl, const char *mechanism, struct sasl_session **ret);
void sasl_end(struct sasl_session *session); /* NULL is fine; wipes */

/* One step. `response` is the client's, decoded; `first` with has_response false asks for
 * the challenge the mechanism begins with (PLAIN: an empty one). The challenge is appended to
 * *ret_challenge. Names that are not UTF-8 or that SASLprep forbids are SASL_BAD, and so is a response
 * longer than SASL_RESPONSE_MAX. ERR_NOMEM, or what buf_add() says. */
int sasl_step(struct sasl_session *session, bool has_response, struct span response,
              struct buf *ret_challenge, enum sasl_state *ret_state);

/* After SASL_CHECK: who the client says it is, with which password; valid until sasl_end(). `authzid` is
 * empty or names another identity to act as. */
struct span sasl_authcid(const struct sasl_session *session);
struct span sasl_authzid(const struct sasl_session *session);
const struct secret *sasl_password(const struct sasl_session *session);

/* SASLprep (RFC 4013), the form in which names and passwords are compared, as a NUL-terminated string.
 * ERR_SYNTAX: not UTF-8, or octets or characters it forbids (control characters among them); ERR_FULL: longer
 * than `size` with its NUL; ERR_NOMEM. */
int sasl_prepare(struct span text, char *to, size_t size);

#endif
