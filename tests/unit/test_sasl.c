/* SPDX-License-Identifier: MIT */
/* Unit test of sasl/sasl.c: exchanges that clients have with a server, good and bad. */
#include "sasl/sasl.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static struct sasl *sasl;

static int set_up(void **state)
{
	(void)state;
	return sasl_init(&sasl);
}

static int tear_down(void **state)
{
	(void)state;
	sasl_free(sasl);
	return 0;
}

static struct sasl_session *begin(const char *mechanism)
{
	struct sasl_session *session = NULL;
	assert_int_equal(sasl_begin(sasl, mechanism, &session), ERR_NONE);
	return session;
}

/* One step whose challenge has to be `challenge`. */
static enum sasl_state step(struct sasl_session *session, bool has_response, struct span response,
                            struct span challenge)
{
	struct buf buf;
	enum sasl_state ret;
	buf_init(&buf, 1000);
	assert_int_equal(sasl_step(session, has_response, response, &buf, &ret), ERR_NONE);
	assert_true(span_equal(buf_span(&buf), challenge));
	buf_finish(&buf);
	return ret;
}

static const struct span none = {"", 0};

static enum sasl_state first(struct sasl_session *session, struct span response)
{
	return step(session, true, response, none);
}

static void assert_credentials(struct sasl_session *session, struct span authcid, struct span authzid,
                               struct span password)
{
	assert_true(span_equal(sasl_authcid(session), authcid));
	assert_true(span_equal(sasl_authzid(session), authzid));
	assert_true(span_equal(secret_reveal(sasl_password(session)), password));
}

static void plain_initial(void **state)
{
	(void)state;
	struct sasl_session *session = begin("plain");
	assert_int_equal(first(session, SPAN("\0tim\0tanstaaftanstaaf")), SASL_CHECK);
	assert_true(sasl_authzid(session).len == 0 || span_equal(sasl_authzid(session), SPAN("tim")));
	assert_true(span_equal(sasl_authcid(session), SPAN("tim")));
	assert_true(span_equal(secret_reveal(sasl_password(session)), SPAN("tanstaaftanstaaf")));
	sasl_end(session);
}

static void plain_after_empty_challenge(void **state)
{
	(void)state;
	struct sasl_session *session = begin("PLAIN");
	assert_int_equal(step(session, false, none, none), SASL_CHALLENGE);
	assert_int_equal(first(session, SPAN("Ursel\0Kurt\0xipj3plmq")), SASL_CHECK);
	assert_credentials(session, SPAN("Kurt"), SPAN("Ursel"), SPAN("xipj3plmq"));
	/* It is over: nothing more is taken. */
	assert_int_equal(first(session, SPAN("\0Kurt\0other")), SASL_BAD);
	sasl_end(session);
}

static void plain_bad(void **state)
{
	(void)state;
	static const struct span bad[] = {
	    {"",	         0 }, /* present but empty */
	    {"tim",              3 }, /* no NUL */
	    {"\0tim",            4 }, /* one NUL */
	    {"\0\0secret",       8 }, /* no authcid */
	    {"\0tim\0sec\0ret",  12}, /* a NUL in the password */
	    {"\0t\xffm\0secret", 11}, /* authcid is not UTF-8 */
	    {"z\xff\0tim\0pw",   9 }, /* authzid is not UTF-8 */
	    {"\0t\001m\0secret", 11}, /* a control character in the name */
	};
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		struct sasl_session *session = begin("PLAIN");
		assert_int_equal(first(session, bad[i]), SASL_BAD);
		sasl_end(session);
	}
}

static void plain_too_long(void **state)
{
	(void)state;
	static char message[SASL_RESPONSE_MAX + 1];
	memset(message, 'p', sizeof message);
	memcpy(message, "\0tim\0", 5);
	struct sasl_session *session = begin("PLAIN");
	assert_int_equal(first(session, span_of(message, sizeof message)), SASL_BAD);
	sasl_end(session);
	session = begin("PLAIN");
	assert_int_equal(first(session, span_of(message, 5 + SECRET_MAX + 1)), SASL_BAD);
	sasl_end(session);
	session = begin("PLAIN");
	assert_int_equal(first(session, span_of(message, 5 + SECRET_MAX)), SASL_CHECK);
	assert_int_equal(sasl_password(session)->len, SECRET_MAX);
	sasl_end(session);
}

static void login(void **state)
{
	(void)state;
	struct sasl_session *session = begin("LOGIN");
	assert_int_equal(step(session, false, none, SPAN("Username:")), SASL_CHALLENGE);
	assert_int_equal(step(session, true, SPAN("tim"), SPAN("Password:")), SASL_CHALLENGE);
	assert_int_equal(first(session, SPAN("tanstaaf")), SASL_CHECK);
	assert_credentials(session, SPAN("tim"), none, SPAN("tanstaaf"));
	sasl_end(session);
}

static void login_bad(void **state)
{
	(void)state;
	/* RFC 5034 section 4: no initial response to a mechanism in which the server begins. */
	struct sasl_session *session = begin("LOGIN");
	assert_int_equal(first(session, SPAN("tim")), SASL_BAD);
	sasl_end(session);

	static const struct span names[] = {
	    {"",       0},
            {"t\0m",   3},
            {"t\xffm", 3}
        };
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		struct buf buf;
		enum sasl_state at = SASL_CHALLENGE;
		session = begin("LOGIN");
		buf_init(&buf, 100);
		assert_int_equal(sasl_step(session, false, none, &buf, &at), ERR_NONE);
		assert_int_equal(sasl_step(session, true, names[i], &buf, &at), ERR_NONE);
		if (at == SASL_CHALLENGE)
			assert_int_equal(sasl_step(session, true, SPAN("secret"), &buf, &at), ERR_NONE);
		assert_int_equal(at, SASL_BAD);
		buf_finish(&buf);
		sasl_end(session);
	}
}

static void challenge_that_does_not_fit(void **state)
{
	(void)state;
	struct sasl_session *session = begin("LOGIN");
	struct buf buf;
	enum sasl_state at = SASL_CHALLENGE;
	buf_init(&buf, 3);
	assert_int_equal(sasl_step(session, false, none, &buf, &at), ERR_FULL);
	assert_int_equal(first(session, SPAN("tim")), SASL_BAD);
	buf_finish(&buf);
	sasl_end(session);
}

static void mechanisms(void **state)
{
	(void)state;
	struct span all = span_str(sasl_mechanisms);
	while (all.len) {
		char name[32];
		assert_true(span_to_text(span_cut(&all, ' '), name, sizeof name));
		sasl_end(begin(name));
	}
	static const char *const others[] = {"", "PLAI", "PLAIN ", "CRAM-MD5", "SCRAM-SHA-1", "ANONYMOUS"};
	for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
		struct sasl_session *session = NULL;
		assert_int_equal(sasl_begin(sasl, others[i], &session), ERR_UNSUPPORTED);
		assert_null(session);
	}
	sasl_end(NULL);
}

static void prepare(void **state)
{
	(void)state;
	char to[32];
	assert_int_equal(sasl_prepare(SPAN("a b~"), to, sizeof to), ERR_NONE);
	assert_string_equal(to, "a b~");
	/* RFC 4013 section 3: soft hyphen goes, compatibility forms become plain, no case is changed. */
	assert_int_equal(sasl_prepare(SPAN("I\xc2\xadX"), to, sizeof to), ERR_NONE);
	assert_string_equal(to, "IX");
	assert_int_equal(sasl_prepare(SPAN("\xe2\x85\xa8"), to, sizeof to), ERR_NONE);
	assert_string_equal(to, "IX");
	assert_int_equal(sasl_prepare(SPAN("A\xcc\x8a"), to, sizeof to), ERR_NONE);
	assert_string_equal(to, "\xc3\x85");
	assert_int_equal(sasl_prepare(SPAN("\007"), to, sizeof to), ERR_SYNTAX);
	assert_int_equal(sasl_prepare(SPAN("\xd8\xa7\x31"), to, sizeof to), ERR_SYNTAX);
	assert_int_equal(sasl_prepare(SPAN("a\0b"), to, sizeof to), ERR_SYNTAX);
	assert_int_equal(sasl_prepare(SPAN("\xc3"), to, sizeof to), ERR_SYNTAX);
	assert_int_equal(sasl_prepare(SPAN("abcd"), to, 4), ERR_FULL);
	assert_int_equal(sasl_prepare(SPAN("ab\xc3\x85"), to, 4), ERR_FULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(plain_initial), cmocka_unit_test(plain_after_empty_challenge),
	    cmocka_unit_test(plain_bad),     cmocka_unit_test(plain_too_long),
	    cmocka_unit_test(login),         cmocka_unit_test(login_bad),
	    cmocka_unit_test(mechanisms),    cmocka_unit_test(challenge_that_does_not_fit),
	    cmocka_unit_test(prepare),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
