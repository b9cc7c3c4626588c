/* SPDX-License-Identifier: MIT */
/* The loop of pop3-load. Its octets come from the server under test and go to the client machine only. */
#include "load/run.h"

#include "base/time.h"
#include "load/tls.h"

#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

enum {
	READ_SIZE = 256 * 1024, /* one buffer for all connections; it stays in the second-level cache */
	EVENTS_MAX = 256,
};

struct conn {
	int fd; /* -1: not in use */
	uint32_t events;
	bool connected, handshaking, held;
	size_t account;
	SSL *ssl;
	SSL_SESSION *session; /* to resume */
	struct client client;
};

struct run {
	const struct run_plan *plan;
	const volatile int *stop;
	struct run_result *result;
	int epoll;
	SSL_CTX *tls;
	struct conn *conns;
	unsigned *spare; /* conns not in use, a stack */
	unsigned spare_count;
	size_t *free_accounts; /* a ring: the account that rested longest comes next */
	size_t account_next, account_free;
	unsigned held;
	uint64_t begun, deadline_ms; /* 0: none yet */
	bool ending, holds;
	char *buffer;
};

static unsigned active(const struct run *run)
{
	return run->plan->connections - run->spare_count;
}

/* --- one connection --- */

static int conn_watch(struct run *run, struct conn *conn, uint32_t events)
{
	if (conn->events == events)
		return ERR_NONE;
	struct epoll_event event = {.events = events, .data.ptr = conn};
	int what = conn->events ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
	if (epoll_ctl(run->epoll, what, conn->fd, &event))
		return err_from_errno(errno);
	conn->events = events;
	return ERR_NONE;
}

static void conn_end(struct run *run, struct conn *conn, int err, const struct error *error)
{
	struct run_result *result = run->result;
	if (err) {
		if (!result->errors++)
			error_set(&result->first_error, "%s", error->text[0] ? error->text : err_text(err));
		if (result->errors >= RUN_ERRORS_MAX)
			run->ending = true;
	} else {
		result->sessions++;
		result->messages += conn->client.messages_fetched;
		result->octets += conn->client.octets_fetched;
		result->resumed += conn->ssl && SSL_session_reused(conn->ssl);
	}
	tls_end(conn->ssl, run->plan->resume ? &conn->session : NULL);
	conn->ssl = NULL;
	close(conn->fd);
	conn->fd = -1;
	run->held -= conn->held;
	client_finish(&conn->client);
	size_t slot = (run->account_next + run->account_free++) % run->plan->accounts_count;
	run->free_accounts[slot] = conn->account;
	run->spare[run->spare_count++] = (unsigned)(conn - run->conns);
}

static int conn_start_tls(struct run *run, struct conn *conn, struct error *error)
{
	int err = tls_begin(run->tls, conn->fd, conn->session, &conn->ssl);
	if (err)
		error_set(error, "TLS: OpenSSL gives no connection");
	conn->handshaking = !err;
	return err;
}

static int conn_connect(struct run *run, struct conn *conn, struct error *error)
{
	const struct run_plan *plan = run->plan;
	int on = 1;
	conn->events = 0;
	conn->connected = conn->handshaking = conn->held = false;
	conn->fd = socket(plan->address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (conn->fd < 0)
		goto failed;
	(void)setsockopt(conn->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (connect(conn->fd, (const struct sockaddr *)&plan->address, plan->address_len) &&
	    errno != EINPROGRESS)
		goto failed;
	if (plan->security == SECURITY_TLS) {
		int err = conn_start_tls(run, conn, error);
		return err ? err : conn_watch(run, conn, EPOLLIN | EPOLLOUT);
	}
	return conn_watch(run, conn, EPOLLIN); /* the server speaks first */
failed:
	error_set(error, "connect: %s", strerror(errno));
	return err_from_errno(errno);
}

static void conn_begin(struct run *run)
{
	struct conn *conn = &run->conns[run->spare[--run->spare_count]];
	conn->account = run->free_accounts[run->account_next];
	run->account_next = (run->account_next + 1) % run->plan->accounts_count;
	run->account_free--;
	run->begun++;
	client_init(&conn->client, &run->plan->client, &run->plan->accounts[conn->account]);
	struct error error = {.text = ""};
	int err = conn_connect(run, conn, &error);
	if (err)
		conn_end(run, conn, err, &error);
}

/* Octets sent or read, 0 at the end of the connection, ERR_AGAIN, or another error with its reason. */
static long plain_result(ssize_t len, struct error *error)
{
	if (len >= 0)
		return (long)len;
	if (errno == EAGAIN || errno == EINTR)
		return ERR_AGAIN;
	error_set(error, "connection: %s", strerror(errno));
	return err_from_errno(errno);
}

static int conn_flush(struct run *run, struct conn *conn, struct error *error)
{
	struct buf *out = &conn->client.out;
	bool want_write = true;
	while (out->len) {
		long len = conn->ssl ? tls_write(conn->ssl, out->ptr, out->len, &want_write, error)
		                     : plain_result(send(conn->fd, out->ptr, out->len, MSG_NOSIGNAL), error);
		if (len == ERR_AGAIN)
			return conn_watch(run, conn, EPOLLIN | (want_write ? EPOLLOUT : 0));
		if (len < 0)
			return (int)len;
		buf_consume(out, (size_t)len);
	}
	buf_release(out);
	return conn_watch(run, conn, EPOLLIN);
}

/* ERR_AGAIN: not done yet. */
static int conn_handshake(struct run *run, struct conn *conn, struct error *error)
{
	bool want_write = false;
	int err = tls_handshake(conn->ssl, &want_write, error);
	if (err == ERR_AGAIN) {
		int watch = conn_watch(run, conn, EPOLLIN | (want_write ? EPOLLOUT : 0));
		return watch ? watch : ERR_AGAIN;
	}
	if (err)
		return err;
	conn->handshaking = false;
	if (conn->client.wish == CLIENT_TLS)
		err = client_proceed(&conn->client);
	return err ? err : conn_flush(run, conn, error);
}

static int conn_wish(struct run *run, struct conn *conn, struct error *error)
{
	if (conn->client.wish == CLIENT_TLS && !conn->ssl) {
		int err = conn_start_tls(run, conn, error);
		return err ? err : conn_handshake(run, conn, error);
	}
	if (conn->client.wish == CLIENT_HOLD && !conn->held) {
		conn->held = true;
		if (++run->held > run->result->held)
			run->result->held = run->held;
	}
	return ERR_NONE;
}

/* Reads once and answers. Octets read, 0 at the end of the connection, or an error. */
static long conn_turn(struct run *run, struct conn *conn, struct error *error)
{
	bool want_write = false;
	long len = conn->ssl ? tls_read(conn->ssl, run->buffer, READ_SIZE, &want_write, error)
	                     : plain_result(recv(conn->fd, run->buffer, READ_SIZE, 0), error);
	if (len < 0)
		return len;
	if (len == 0)
		return client_closed(&conn->client, error);
	int err = client_feed(&conn->client, span_of(run->buffer, (size_t)len), error);
	if (!err)
		err = conn_flush(run, conn, error);
	if (!err)
		err = conn_wish(run, conn, error);
	return err ? err : len;
}

static void conn_ready(struct run *run, struct conn *conn)
{
	struct error error = {.text = ""};
	long result = conn->handshaking ? conn_handshake(run, conn, &error) : conn_flush(run, conn, &error);
	if (result == ERR_NONE)
		do {
			result = conn_turn(run, conn, &error);
			/* Again only where more is here already, or the end of the connection is expected. */
		} while (result > 0 &&
		         (conn->client.wish == CLIENT_DONE || (conn->ssl && SSL_has_pending(conn->ssl))));
	if (result <= 0 && result != ERR_AGAIN)
		conn_end(run, conn, (int)result, &error);
}

/* --- the run --- */

static bool may_begin(const struct run *run)
{
	const struct run_plan *plan = run->plan;
	if (run->ending || !run->spare_count || !run->account_free)
		return false;
	if (run->holds)
		return run->begun < plan->connections && active(run) - run->held < RUN_LOGINS_MAX;
	return !plan->sessions || run->begun < plan->sessions;
}

/* When everybody is in, the time of the hold begins. */
static void look_at_hold(struct run *run, uint64_t now)
{
	const struct run_plan *plan = run->plan;
	if (!run->holds || run->deadline_ms || run->ending || run->begun < plan->connections ||
	    run->held < active(run))
		return;
	fprintf(stderr, "holding %u sessions\n", run->held);
	run->deadline_ms = plan->duration_ms ? now + plan->duration_ms : UINT64_MAX;
}

static void release_all(struct run *run)
{
	for (unsigned i = 0; i < run->plan->connections; i++) {
		struct conn *conn = &run->conns[i];
		if (conn->fd < 0 || !conn->held || conn->client.wish != CLIENT_HOLD)
			continue;
		conn->held = false;
		run->held--;
		struct error error = {.text = ""};
		int err = client_proceed(&conn->client);
		if (!err)
			err = conn_flush(run, conn, &error);
		if (err)
			conn_end(run, conn, err, &error);
	}
}

static void give_up(struct run *run)
{
	struct error error;
	error_set(&error, "nothing came from the server for %d s", RUN_STALL_MS / 1000);
	run->ending = true;
	for (unsigned i = 0; i < run->plan->connections; i++)
		if (run->conns[i].fd >= 0)
			conn_end(run, &run->conns[i], ERR_TIMEOUT, &error);
}

static int wait_ms(const struct run *run, uint64_t now)
{
	uint64_t left = RUN_STALL_MS;
	if (run->deadline_ms && !run->ending && run->deadline_ms - now < left)
		left = run->deadline_ms - now;
	return (int)left;
}

static void loop(struct run *run)
{
	uint64_t now = time_mono_ms();
	uint64_t heard = now;
	if (!run->holds && run->plan->duration_ms)
		run->deadline_ms = now + run->plan->duration_ms;
	for (;;) {
		while (may_begin(run))
			conn_begin(run);
		look_at_hold(run, now);
		if (!active(run))
			break;
		struct epoll_event events[EVENTS_MAX];
		int count = epoll_wait(run->epoll, events, EVENTS_MAX, wait_ms(run, now));
		for (int i = 0; i < count; i++)
			conn_ready(run, events[i].data.ptr);
		now = time_mono_ms();
		if (count > 0)
			heard = now;
		if (!run->ending && (*run->stop || (run->deadline_ms && now >= run->deadline_ms)))
			run->ending = true;
		if (run->ending && run->held)
			release_all(run);
		if (now - heard >= RUN_STALL_MS && run->held < active(run))
			give_up(run);
	}
}

static int set_up(struct run *run, struct error *error)
{
	const struct run_plan *plan = run->plan;
	run->epoll = epoll_create1(EPOLL_CLOEXEC);
	run->conns = calloc(plan->connections, sizeof(*run->conns));
	run->spare = calloc(plan->connections, sizeof(*run->spare));
	run->free_accounts = calloc(plan->accounts_count, sizeof(*run->free_accounts));
	run->buffer = malloc(READ_SIZE);
	if (run->epoll < 0 || !run->conns || !run->spare || !run->free_accounts || !run->buffer) {
		error_set(error, "no memory for %u connections", plan->connections);
		return ERR_NOMEM;
	}
	for (unsigned i = plan->connections; i-- > 0;) {
		run->conns[i].fd = -1;
		run->spare[run->spare_count++] = i;
	}
	for (size_t i = 0; i < plan->accounts_count; i++)
		run->free_accounts[i] = i;
	run->account_free = plan->accounts_count;
	return plan->security == SECURITY_PLAIN ? ERR_NONE : tls_new_context(&run->tls, error);
}

static void tear_down(struct run *run)
{
	if (run->conns)
		for (unsigned i = 0; i < run->plan->connections; i++)
			SSL_SESSION_free(run->conns[i].session);
	SSL_CTX_free(run->tls);
	free(run->conns);
	free(run->spare);
	free(run->free_accounts);
	free(run->buffer);
	if (run->epoll >= 0)
		close(run->epoll);
}

int run_load(const struct run_plan *plan, const volatile int *stop, struct run_result *ret,
             struct error *error)
{
	struct run run = {.plan = plan, .stop = stop, .result = ret};
	*ret = (struct run_result){0};
	for (unsigned i = 0; i < sizeof(plan->client.profile->steps); i++)
		run.holds |= plan->client.profile->steps[i] == STEP_HOLD;
	int err = set_up(&run, error);
	if (!err) {
		uint64_t begun_ns = time_real_ns();
		loop(&run);
		ret->nanoseconds = time_real_ns() - begun_ns;
	}
	tear_down(&run);
	return err;
}
