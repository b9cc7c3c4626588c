/* SPDX-License-Identifier: MIT */
/* Unit test of server/auth_exchange.c and auth_check.c: the test is a worker, good or hostile, on a
 * socket pair, and changes accounts beside auth. */
#include "log/log.h"
#include "server/auth.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum { WORKER_ID = 3 };
static const char good[] = "Hello world!";
/* crypt(3) by a cheap method of the password above, and of "changed". */
static const char good_hash[] = "$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5";
static const char changed_hash[] = "$5$saltstring$hQ/Y6DyHjGx8e1jsC3GpHqft/geea2kb7uyzU0BA/SD";

static char folder[64], path[96];
static int log_fds[2];
static uv_loop_t loop;
static struct child child;
static struct auth auth;
static struct ipc_channel worker, master; /* their ends */
static struct acct *beside;               /* another connection to the accounts */
static uint64_t session;                  /* the worker's last one */

static int ignore_message(struct link *link, struct ipc_in *in)
{
	(void)link;
	(void)in;
	return ERR_NONE;
}

static void ignore_gone(struct link *link, int err, const char *why)
{
	(void)link;
	(void)err;
	(void)why;
}

static const struct link_ops control_ops = {.message = ignore_message, .gone = ignore_gone};

static int pair(int fds[2])
{
	return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds);
}

static int fill_accounts(void)
{
	int err = acct_open(path, ACCT_CREATE, &beside, NULL);
	if (!err)
		err = acct_add(beside, SPAN("Alice"), good_hash, "");
	if (!err)
		err = acct_add(beside, SPAN("bob"), good_hash, "maildir:/srv/other/bob");
	if (!err)
		err = acct_add(beside, SPAN("carol"), good_hash, "");
	if (!err)
		err = acct_set_disabled(beside, SPAN("carol"), true);
	return err;
}

static int set_up(void **state)
{
	(void)state;
	int fds[2], control[2];
	(void)snprintf(folder, sizeof folder, "/tmp/restante-auth-XXXXXX");
	if (!mkdtemp(folder))
		return -1;
	(void)snprintf(path, sizeof path, "%s/accounts.db", folder);
	if (pipe2(log_fds, O_CLOEXEC | O_NONBLOCK) != 0 || pair(fds) != 0 || pair(control) != 0 ||
	    uv_loop_init(&loop) != 0 || fill_accounts() != 0)
		return -1;
	log_init(log_fds[1], LOG_INFO, "");
	child = (struct child){.loop = &loop, .kind = IPC_AUTH};
	auth = (struct auth){
	    .child = &child,
	    .key = {.epoch = 5,            .key = "0123456789abcdef0123456789abcde"},
	    .setup = { .hash_threads = 2, .hash_queue_max = 10,                        .cache_ms = 60000}
        };
	(void)snprintf(auth.setup.location, sizeof auth.setup.location, "maildir:/srv/mail/%%u");
	(void)snprintf(auth.setup.accounts, sizeof auth.setup.accounts, "%s", path);
	ipc_channel_init(&worker, fds[1], IPC_WORKER, IPC_AUTH, 0);
	ipc_channel_init(&master, control[1], IPC_MASTER, IPC_AUTH, 0);
	if (link_open(&child.control, &loop, control[0], IPC_AUTH, IPC_MASTER, 0, &control_ops, &child) ||
	    acct_open(path, ACCT_CHANGE, &auth.acct, NULL) || sasl_init(&auth.sasl) ||
	    auth_cache_new(auth.setup.cache_ms, &auth.cache) || auth_add_peer(&auth, WORKER_ID, fds[0]))
		return -1;
	return auth_serve(&auth);
}

static int tear_down(void **state)
{
	(void)state;
	auth_drop_peers(&auth);
	link_close(&child.control);
	(void)uv_run(&loop, UV_RUN_DEFAULT); /* every hash has ended, every handle is closed */
	int open = uv_loop_close(&loop) != 0 || auth.checks != 0;
	ipc_channel_finish(&worker);
	ipc_channel_finish(&master);
	auth_cache_free(auth.cache);
	acct_close(auth.acct);
	sasl_free(auth.sasl);
	acct_close(beside);
	(void)close(log_fds[0]);
	(void)close(log_fds[1]);
	return unlink(path) | rmdir(folder) | open;
}

/* --- the worker --- */

static void send_begin(const struct ipc_auth_begin *begin, struct span tail)
{
	assert_int_equal(ipc_send(&worker, IPC_AUTH_BEGIN, session, begin, tail, NULL, 0), ERR_NONE);
}

static void begin_password(const char *user, struct span password)
{
	struct ipc_auth_begin begin = {.method = IPC_AUTH_PASSWORD, .tls = 1, .address = "192.0.2.7:5"};
	char tail[4096];
	size_t len = strlen(user) + 1;
	memcpy(tail, user, len);
	memcpy(tail + len, password.ptr, password.len);
	session++;
	send_begin(&begin, span_of(tail, len + password.len));
}

static void begin_sasl(const char *mechanism, bool has_initial, struct span initial)
{
	struct ipc_auth_begin begin = {
	    .method = IPC_AUTH_SASL, .has_initial = has_initial, .address = "[::1]:5"};
	(void)snprintf(begin.mechanism, sizeof begin.mechanism, "%s", mechanism);
	session++;
	send_begin(&begin, initial);
}

static void step(struct span response)
{
	assert_int_equal(ipc_send(&worker, IPC_AUTH_STEP, session, NULL, response, NULL, 0), ERR_NONE);
}

static void cancel(void)
{
	assert_int_equal(ipc_send(&worker, IPC_AUTH_CANCEL, session, NULL, SPAN(""), NULL, 0), ERR_NONE);
}

/* What came, to be looked at after the receive buffer is gone. */
static struct {
	enum ipc_type type;
	struct ticket ticket;
	int err;
	char challenge[64];
} reply;

static void take_reply(const struct ipc_in *in)
{
	reply.type = in->type;
	assert_int_equal(in->session, session);
	if (in->type == IPC_AUTH_OK)
		reply.ticket = ((const struct ipc_auth_ok *)in->fixed)->ticket;
	else if (in->type == IPC_AUTH_FAIL)
		reply.err = ((const struct ipc_auth_fail *)in->fixed)->err;
	else
		assert_true(span_to_text(in->tail, reply.challenge, sizeof reply.challenge));
}

/* Runs auth until it answers the session's question. */
static enum ipc_type wait_reply(void)
{
	struct ipc_in in;
	const char *why;
	int err;
	while ((err = ipc_receive(&worker, &in, &why)) == ERR_AGAIN)
		(void)uv_run(&loop, UV_RUN_ONCE);
	assert_int_equal(err, ERR_NONE);
	take_reply(&in);
	ipc_in_finish(&in);
	return reply.type;
}

static void assert_no_reply(void)
{
	struct ipc_in in;
	const char *why;
	for (int i = 0; i < 20; i++)
		(void)uv_run(&loop, UV_RUN_NOWAIT);
	while (auth.checks)
		(void)uv_run(&loop, UV_RUN_ONCE);
	assert_int_equal(ipc_receive(&worker, &in, &why), ERR_AGAIN);
}

static void assert_granted(void)
{
	assert_int_equal(wait_reply(), IPC_AUTH_OK);
}

static void assert_refused(int err)
{
	assert_int_equal(wait_reply(), IPC_AUTH_FAIL);
	assert_int_equal(reply.err, err);
}

/* The worker is cut off and reported. */
static void assert_fault(const char *reason)
{
	struct ipc_in in;
	const char *why;
	int err;
	while ((err = ipc_receive(&master, &in, &why)) == ERR_AGAIN)
		(void)uv_run(&loop, UV_RUN_ONCE);
	assert_int_equal(err, ERR_NONE);
	assert_int_equal(in.type, IPC_PEER_FAULT);
	const struct ipc_peer_fault *fault = in.fixed;
	assert_int_equal(fault->kind, IPC_WORKER);
	assert_int_equal(fault->id, WORKER_ID);
	assert_string_equal(fault->reason, reason);
	ipc_in_finish(&in);
	assert_null(auth.peers);
	assert_int_equal(ipc_receive(&worker, &in, &why), ERR_CLOSED);
}

/* From here on a login that needs a hash is told to wait: what is granted comes from the cache. */
static void allow_no_hash(void)
{
	auth.setup.hash_threads = auth.setup.hash_queue_max = 0;
}

static void assert_logged(const char *text, bool expected)
{
	static char lines[65536];
	static size_t len;
	log_flush();
	ssize_t got = read(log_fds[0], lines + len, sizeof lines - 1 - len);
	len += got > 0 ? (size_t)got : 0;
	lines[len] = '\0';
	assert_int_equal(strstr(lines, text) != NULL, expected);
}

/* --- passwords --- */

static void right_password(void **state)
{
	(void)state;
	begin_password("aLICE", span_str(good));
	assert_granted();
	assert_int_equal(ticket_verify(&reply.ticket, auth.key.key), ERR_NONE);
	assert_int_equal(reply.ticket.session, session);
	assert_int_equal(reply.ticket.worker, WORKER_ID);
	assert_int_equal(reply.ticket.epoch, 5);
	assert_int_equal(reply.ticket.uid, UINT32_MAX);
	assert_string_equal(reply.ticket.account, "Alice");
	assert_string_equal(reply.ticket.location, "maildir:/srv/mail/Alice");
	uint64_t nonce = reply.ticket.nonce;
	begin_password("bob", span_str(good));
	assert_granted();
	assert_string_equal(reply.ticket.location, "maildir:/srv/other/bob");
	assert_int_not_equal(reply.ticket.nonce, nonce);
}

static void refusals_are_alike(void **state)
{
	(void)state;
	static char long_password[2048];
	memset(long_password, 'x', sizeof long_password);
	begin_password("alice", SPAN("Hello world"));
	assert_refused(ERR_CREDENTIALS);
	begin_password("alice", SPAN(""));
	assert_refused(ERR_CREDENTIALS);
	begin_password("alice", SPAN("Hello world!\0"));
	assert_refused(ERR_CREDENTIALS);
	begin_password("alice", span_of(long_password, sizeof long_password));
	assert_refused(ERR_CREDENTIALS);
	begin_password("carol", span_str(good));
	assert_refused(ERR_CREDENTIALS);
	begin_password("dave", span_str(good));
	assert_refused(ERR_CREDENTIALS);
	begin_password("", span_str(good));
	assert_refused(ERR_CREDENTIALS);
	begin_password("../dave\nx", span_str(good));
	assert_refused(ERR_CREDENTIALS);
	assert_logged("user=carol addr=192.0.2.7:5 tls=1 mechanism=PASS reason=\"account disabled\"", true);
	assert_logged("user=dave addr=192.0.2.7:5 tls=1 mechanism=PASS reason=\"unknown user\"", true);
	assert_logged("user=alice addr=192.0.2.7:5 tls=1 mechanism=PASS reason=\"wrong password\"", true);
	assert_logged("user=\"../dave\\x0ax\"", true);
	assert_logged("Hello", false);
}

static void verified_logins_cost_no_hash(void **state)
{
	(void)state;
	begin_password("alice", span_str(good));
	assert_granted();
	begin_password("carol", span_str(good));
	assert_refused(ERR_CREDENTIALS);
	allow_no_hash();
	begin_password("ALICE", span_str(good));
	assert_granted();
	assert_string_equal(reply.ticket.account, "Alice");
	assert_int_equal(ticket_verify(&reply.ticket, auth.key.key), ERR_NONE);
	begin_sasl("PLAIN", true, SPAN("\0alice\0Hello world!"));
	assert_granted();
	/* Nothing else is known. */
	begin_password("alice", SPAN("hello world!"));
	assert_refused(ERR_FULL);
	begin_password("carol", span_str(good));
	assert_refused(ERR_FULL);
	begin_password("bob", span_str(good));
	assert_refused(ERR_FULL);
}

static void any_change_forgets_verified_logins(void **state)
{
	(void)state;
	begin_password("alice", span_str(good));
	assert_granted();
	assert_int_equal(acct_set_hash(beside, SPAN("alice"), changed_hash), ERR_NONE);
	begin_password("alice", span_str(good));
	assert_refused(ERR_CREDENTIALS);
	begin_password("alice", SPAN("changed"));
	assert_granted();
	assert_int_equal(acct_set_disabled(beside, SPAN("alice"), true), ERR_NONE);
	begin_password("alice", SPAN("changed"));
	assert_refused(ERR_CREDENTIALS);
	assert_int_equal(acct_set_disabled(beside, SPAN("alice"), false), ERR_NONE);
	begin_password("alice", SPAN("changed"));
	assert_granted();
	assert_int_equal(acct_del(beside, SPAN("alice")), ERR_NONE);
	begin_password("alice", SPAN("changed"));
	assert_refused(ERR_CREDENTIALS);
}

/* Sends the login and changes the account while it is being hashed. */
static void begin_before_change(const char *user)
{
	begin_password(user, span_str(good));
	while (!auth.checks)
		(void)uv_run(&loop, UV_RUN_NOWAIT);
}

static void change_while_hashing(void **state)
{
	(void)state;
	begin_before_change("alice");
	assert_int_equal(acct_set_hash(beside, SPAN("alice"), changed_hash), ERR_NONE);
	assert_refused(ERR_CREDENTIALS);
	begin_before_change("bob");
	assert_int_equal(acct_set_disabled(beside, SPAN("bob"), true), ERR_NONE);
	assert_refused(ERR_CREDENTIALS);
	assert_int_equal(acct_set_disabled(beside, SPAN("bob"), false), ERR_NONE);
	begin_before_change("bob");
	assert_int_equal(acct_del(beside, SPAN("bob")), ERR_NONE);
	assert_refused(ERR_CREDENTIALS);
	/* A change of somebody else is none of his business. */
	assert_int_equal(acct_add(beside, SPAN("eve"), good_hash, ""), ERR_NONE);
	begin_before_change("eve");
	assert_int_equal(acct_del(beside, SPAN("alice")), ERR_NONE);
	assert_granted();
	allow_no_hash();
	begin_password("eve", span_str(good));
	assert_granted();
}

static uv_sem_t released;

static void occupy(uv_work_t *work)
{
	(void)work;
	uv_sem_wait(&released);
}

static void ignore_end(uv_work_t *work, int status)
{
	(void)work;
	(void)status;
}

static void waiting_logins_are_bounded(void **state)
{
	(void)state;
	uv_work_t work; /* keeps the only thread busy */
	assert_int_equal(uv_sem_init(&released, 0), 0);
	assert_int_equal(uv_queue_work(&loop, &work, occupy, ignore_end), 0);
	auth.setup.hash_threads = 1;
	auth.setup.hash_queue_max = 2;
	for (int i = 0; i < 3; i++)
		begin_password("alice", SPAN("wrong"));
	for (int i = 0; i < 3; i++) {
		begin_password("alice", SPAN("wrong"));
		assert_refused(ERR_FULL);
	}
	uv_sem_post(&released);
	session -= 6;
	for (int i = 0; i < 3; i++) {
		session++;
		assert_refused(ERR_CREDENTIALS);
	}
	session += 3;
	begin_password("alice", span_str(good));
	assert_granted();
	uv_sem_destroy(&released);
}

static void unusable_location(void **state)
{
	(void)state;
	(void)snprintf(auth.setup.location, sizeof auth.setup.location, "maildir:/srv/%%d/%%n");
	begin_password("alice", span_str(good));
	assert_refused(ERR_IO);
	allow_no_hash(); /* nor is it remembered */
	begin_password("alice", span_str(good));
	assert_refused(ERR_FULL);
}

static void accounts_out_of_reach(void **state)
{
	(void)state;
	char away[128];
	(void)snprintf(away, sizeof away, "%s.away", path);
	begin_password("alice", span_str(good));
	assert_granted();
	assert_int_equal(rename(path, away), 0);
	begin_password("alice", span_str(good));
	assert_refused(ERR_IO);
	assert_int_equal(rename(away, path), 0);
	begin_password("alice", span_str(good));
	assert_granted();
}

/* --- SASL --- */

static void sasl_exchanges(void **state)
{
	(void)state;
	begin_sasl("PLAIN", true, SPAN("\0bob\0Hello world!"));
	assert_granted();
	assert_string_equal(reply.ticket.account, "bob");
	begin_sasl("PLAIN", true, SPAN("BOB\0bob\0Hello world!"));
	assert_granted();
	begin_sasl("PLAIN", false, SPAN(""));
	assert_int_equal(wait_reply(), IPC_AUTH_CHALLENGE);
	assert_string_equal(reply.challenge, "");
	step(SPAN("\0Bob\0Hello world!"));
	assert_granted();
	begin_sasl("LOGIN", false, SPAN(""));
	assert_int_equal(wait_reply(), IPC_AUTH_CHALLENGE);
	assert_string_equal(reply.challenge, "Username:");
	step(SPAN("alice"));
	assert_int_equal(wait_reply(), IPC_AUTH_CHALLENGE);
	assert_string_equal(reply.challenge, "Password:");
	step(span_str(good));
	assert_granted();
}

static void sasl_refusals(void **state)
{
	(void)state;
	begin_sasl("PLAIN", true, SPAN("\0bob\0wrong"));
	assert_refused(ERR_CREDENTIALS);
	begin_sasl("PLAIN", true, SPAN("alice\0bob\0Hello world!"));
	assert_refused(ERR_CREDENTIALS);
	begin_sasl("PLAIN", true, SPAN("bob Hello world!"));
	assert_refused(ERR_SYNTAX);
	begin_sasl("LOGIN", true, SPAN("bob"));
	assert_refused(ERR_SYNTAX);
	begin_sasl("CRAM-MD5", false, SPAN(""));
	assert_refused(ERR_UNSUPPORTED);
	assert_logged("Hello", false);
	/* Each was the end of its exchange. */
	step(SPAN("x"));
	assert_fault("out of turn");
}

/* --- a worker that was taken over, or a client that goes away --- */

static void step_out_of_turn(void **state)
{
	(void)state;
	session++;
	step(SPAN("x"));
	assert_fault("out of turn");
}

static void begin_twice(void **state)
{
	(void)state;
	begin_sasl("LOGIN", false, SPAN(""));
	assert_int_equal(wait_reply(), IPC_AUTH_CHALLENGE);
	session--;
	begin_sasl("LOGIN", false, SPAN(""));
	assert_fault("out of turn");
}

static void step_while_working(void **state)
{
	(void)state;
	begin_before_change("alice");
	step(SPAN("x"));
	assert_fault("out of turn");
}

static void begin_without_password(void **state)
{
	(void)state;
	struct ipc_auth_begin begin = {.method = IPC_AUTH_PASSWORD};
	session++;
	send_begin(&begin, SPAN("alice"));
	assert_fault("no password");
}

static void begin_by_no_method(void **state)
{
	(void)state;
	struct ipc_auth_begin begin = {.method = 2};
	session++;
	send_begin(&begin, SPAN("alice\0x"));
	assert_fault("no such method");
}

static void cancelled(void **state)
{
	(void)state;
	session++;
	cancel(); /* crossed an answer, or never was */
	begin_sasl("LOGIN", false, SPAN(""));
	assert_int_equal(wait_reply(), IPC_AUTH_CHALLENGE);
	cancel();
	session--;
	begin_password("alice", span_str(good)); /* the same session tries another way */
	assert_granted();
	begin_before_change("bob");
	cancel();
	assert_no_reply();
	begin_password("bob", span_str(good));
	assert_granted();
}

static void worker_goes_away(void **state)
{
	(void)state;
	begin_before_change("alice");
	begin_sasl("LOGIN", false, SPAN(""));
	assert_int_equal(wait_reply(), IPC_AUTH_CHALLENGE);
	(void)shutdown(worker.fd, SHUT_RDWR);
	while (auth.peers || auth.checks)
		(void)uv_run(&loop, UV_RUN_ONCE);
}

static void exchanges_are_bounded(void **state)
{
	(void)state;
	for (int i = 0; i < AUTH_EXCHANGES_MAX; i++) {
		begin_sasl("LOGIN", false, SPAN(""));
		assert_int_equal(wait_reply(), IPC_AUTH_CHALLENGE);
	}
	begin_sasl("LOGIN", false, SPAN(""));
	assert_refused(ERR_FULL);
	session--;
	cancel();
	session++;
	begin_sasl("LOGIN", false, SPAN(""));
	assert_int_equal(wait_reply(), IPC_AUTH_CHALLENGE);
}

int main(void)
{
#define AUTH_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
	    AUTH_TEST(right_password),
	    AUTH_TEST(refusals_are_alike),
	    AUTH_TEST(verified_logins_cost_no_hash),
	    AUTH_TEST(any_change_forgets_verified_logins),
	    AUTH_TEST(change_while_hashing),
	    AUTH_TEST(waiting_logins_are_bounded),
	    AUTH_TEST(unusable_location),
	    AUTH_TEST(accounts_out_of_reach),
	    AUTH_TEST(sasl_exchanges),
	    AUTH_TEST(sasl_refusals),
	    AUTH_TEST(step_out_of_turn),
	    AUTH_TEST(begin_twice),
	    AUTH_TEST(step_while_working),
	    AUTH_TEST(begin_without_password),
	    AUTH_TEST(begin_by_no_method),
	    AUTH_TEST(cancelled),
	    AUTH_TEST(worker_goes_away),
	    AUTH_TEST(exchanges_are_bounded),
	};
	if (setenv("UV_THREADPOOL_SIZE", "1", 1) != 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
