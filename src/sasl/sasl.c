/* SPDX-License-Identifier: MIT */
/*
 * GNU SASL behind sasl.h. Runs in auth, on what clients sent before they have proved
 * anything: it trusts none of it.
 */
#include "sasl/sasl.h"

#include <gsasl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { CHALLENGES_MAX = 2, PREPARED_MAX = 1024 };

/* A mechanism and, where it is server-first, the challenges it is to send: GNU SASL asks for "User Name" as
 * the LOGIN draft has it, but clients are in use that insist on the words most servers send. */
static const struct mechanism {
	const char *name;
	bool server_first;
	const char *challenges[CHALLENGES_MAX];
} mechanisms[] = {
    {"PLAIN", false, {NULL, NULL}              },
    {"LOGIN", true,  {"Username:", "Password:"}},
};

const char sasl_mechanisms[] = "PLAIN LOGIN";

struct sasl {
	Gsasl *library;
};

struct sasl_session {
	const struct mechanism *mechanism;
	Gsasl_session *exchange;
	unsigned steps;
	bool over;     /* no further step is taken */
	bool captured; /* the credentials are there */
	int err;       /* why they could not be captured */
	struct secret authcid, authzid, password;
};

/* Takes a property of the exchange over into *to and wipes it where it was. */
static int capture(Gsasl_session *exchange, Gsasl_property property, struct secret *to)
{
	const char *value = gsasl_property_fast(exchange, property);
	if (!value)
		value = "";
	int err = secret_init(to, span_str(value));
	if (property == GSASL_PASSWORD && *value)
		secret_wipe((char *)(uintptr_t)value, strlen(value));
	return err;
}

static int handle_property(Gsasl *library, Gsasl_session *exchange, Gsasl_property property)
{
	(void)library;
	struct sasl_session *session = gsasl_session_hook_get(exchange);
	if (property != GSASL_VALIDATE_SIMPLE || session->captured)
		return GSASL_NO_CALLBACK;
	session->captured = true;
	int err = capture(exchange, GSASL_AUTHID, &session->authcid);
	if (!err)
		err = capture(exchange, GSASL_AUTHZID, &session->authzid);
	if (!err)
		err = capture(exchange, GSASL_PASSWORD, &session->password);
	session->err = err;
	return GSASL_OK; /* no verdict: the caller checks */
}

int sasl_init(struct sasl **ret)
{
	struct sasl *sasl = calloc(1, sizeof *sasl);
	if (!sasl || gsasl_init(&sasl->library) != GSASL_OK) {
		free(sasl);
		return ERR_NOMEM;
	}
	gsasl_callback_set(sasl->library, handle_property);
	*ret = sasl;
	return ERR_NONE;
}

void sasl_free(struct sasl *sasl)
{
	if (sasl)
		gsasl_done(sasl->library);
	free(sasl);
}

static const struct mechanism *find_mechanism(const char *name)
{
	for (size_t i = 0; i < sizeof mechanisms / sizeof mechanisms[0]; i++)
		if (span_equal_nocase(span_str(mechanisms[i].name), span_str(name)))
			return &mechanisms[i];
	return NULL;
}

int sasl_begin(struct sasl *sasl, const char *mechanism, struct sasl_session **ret)
{
	const struct mechanism *found = find_mechanism(mechanism);
	if (!found)
		return ERR_UNSUPPORTED;
	struct sasl_session *session = calloc(1, sizeof *session);
	if (!session)
		return ERR_NOMEM;
	session->mechanism = found;
	int rc = gsasl_server_start(sasl->library, found->name, &session->exchange);
	if (rc != GSASL_OK) {
		free(session);
		return rc == GSASL_UNKNOWN_MECHANISM ? ERR_UNSUPPORTED : ERR_NOMEM;
	}
	gsasl_session_hook_set(session->exchange, session);
	*ret = session;
	return ERR_NONE;
}

void sasl_end(struct sasl_session *session)
{
	if (!session)
		return;
	gsasl_finish(session->exchange);
	secret_finish(&session->authcid);
	secret_finish(&session->authzid);
	secret_finish(&session->password);
	free(session);
}

static bool is_name(const struct secret *name)
{
	char prepared[PREPARED_MAX];
	return name->len == 0 || sasl_prepare(secret_reveal(name), prepared, sizeof prepared) == ERR_NONE;
}

/* What the library's answer means to the caller. */
static int conclude(struct sasl_session *session, int rc, struct span challenge, struct buf *ret_challenge,
                    enum sasl_state *ret_state)
{
	if (rc == GSASL_MALLOC_ERROR || session->err == ERR_NOMEM)
		return ERR_NOMEM;
	if (rc == GSASL_NEEDS_MORE) {
		const char *ours = session->steps <= CHALLENGES_MAX
		                       ? session->mechanism->challenges[session->steps - 1]
		                       : NULL;
		int err = buf_add(ret_challenge, ours ? span_str(ours) : challenge);
		if (err)
			return err;
		session->over = false;
		*ret_state = SASL_CHALLENGE;
		return ERR_NONE;
	}
	bool good = rc == GSASL_OK && session->captured && !session->err && session->authcid.len > 0 &&
	            is_name(&session->authcid) && is_name(&session->authzid);
	*ret_state = good ? SASL_CHECK : SASL_BAD;
	return ERR_NONE;
}

/* Whether this response is one the mechanism can take now at all. */
static bool in_turn(const struct sasl_session *session, bool has_response, struct span response)
{
	bool server_first = session->mechanism->server_first;
	if (session->over || response.len > SASL_RESPONSE_MAX)
		return false;
	if (!has_response)
		return session->steps == 0;
	/* GNU SASL takes an initial response to LOGIN for none, and an empty one to PLAIN likewise. */
	return server_first ? session->steps > 0 : response.len > 0;
}

int sasl_step(struct sasl_session *session, bool has_response, struct span response,
              struct buf *ret_challenge, enum sasl_state *ret_state)
{
	bool fits = in_turn(session, has_response, response);
	session->over = true; /* unless the library wants more */
	if (!fits) {
		*ret_state = SASL_BAD;
		return ERR_NONE;
	}
	session->steps++;
	char *challenge = NULL;
	size_t len = 0;
	const char *input = !has_response ? NULL : response.len ? response.ptr : "";
	int rc = gsasl_step(session->exchange, input, response.len, &challenge, &len);
	int err = conclude(session, rc, span_of(challenge, len), ret_challenge, ret_state);
	gsasl_free(challenge);
	return err;
}

struct span sasl_authcid(const struct sasl_session *session)
{
	return secret_reveal(&session->authcid);
}

struct span sasl_authzid(const struct sasl_session *session)
{
	return secret_reveal(&session->authzid);
}

const struct secret *sasl_password(const struct sasl_session *session)
{
	return &session->password;
}

static bool is_plain_ascii(struct span text)
{
	for (size_t i = 0; i < text.len; i++)
		if (text.ptr[i] < 0x20 || text.ptr[i] > 0x7e)
			return false;
	return true;
}

int sasl_prepare(struct span text, char *to, size_t size)
{
	if (is_plain_ascii(text)) /* comes out as it is */
		return span_to_text(text, to, size) ? ERR_NONE : ERR_FULL;
	struct secret copy; /* with a NUL; it may be a password */
	int err = secret_init(&copy, text);
	if (err)
		return err;
	char *prepared = NULL;
	if (span_find(text, '\0') != text.len)
		err = ERR_SYNTAX;
	else if (gsasl_saslprep(copy.hidden, GSASL_ALLOW_UNASSIGNED, &prepared, NULL) != GSASL_OK)
		err = ERR_SYNTAX;
	else if (!span_to_text(span_str(prepared), to, size))
		err = ERR_FULL;
	if (prepared)
		secret_wipe(prepared, strlen(prepared));
	gsasl_free(prepared);
	secret_finish(&copy);
	return err;
}
