/* SPDX-License-Identifier: MIT */
/* Sessions. Runs in restante-bench on octets of the server under test, which go to the client machine only.
 */
#include "bench/session.h"

#include "bench/tls.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>

#ifndef IP_BIND_ADDRESS_NO_PORT
#define IP_BIND_ADDRESS_NO_PORT 24
#endif

static void on_ready(uv_poll_t *poll, int status, int events);

/* --- beginning and end --- */

static void on_closed(uv_handle_t *handle)
{
	struct session *session = handle->data;
	session->open = false;
	session->host->over(session->host, session);
}

void session_drop(struct session *session)
{
	session->ended = true;
	client_finish(&session->client);
	uv_close(&session->handle.any, on_closed);
	conn_finish(&session->conn);
}

static void end_well(struct session *session)
{
	struct tally *tally = session->host->tally;
	tally->sums.sessions++;
	tally->deleted += session->client.messages_deleted;
	tally_latency(tally, METRIC_SESSION, uv_hrtime() - session->due_ns);
	if (session->conn.ssl) {
		tally->resumed += (uint64_t)SSL_session_reused(session->conn.ssl);
		tls_end(session->conn.ssl, session->host->resume ? &session->resumable : NULL);
	}
	session_drop(session);
}

void session_fail(struct session *session, int err, const struct error *error)
{
	tally_fault(session->host->tally, err, error);
	session_drop(session);
}

static int watch(struct session *session, int events)
{
	if (session->events == events)
		return ERR_NONE;
	session->events = events;
	return uv_poll_start(&session->handle.poll, events, on_ready) ? ERR_NOMEM : ERR_NONE;
}

static int start_tls(struct session *session, struct error *error)
{
	int err = tls_begin(session->host->tls, session->conn.fd, session->resumable, &session->conn.ssl);
	if (err)
		error_set(error, "TLS: OpenSSL gives no connection");
	session->shaking = !err;
	return err;
}

static int open_socket(const struct session_host *host, const struct sockaddr *source, struct error *error)
{
	const struct sockaddr *address = (const struct sockaddr *)&host->address;
	int on = 1;
	int fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0) {
		error_set(error, "socket: %s", strerror(errno));
		return -1;
	}
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	/* The port is chosen by connect(), by source and target together: 28,000 or so for each source. */
	if (source)
		(void)setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
	if (source && bind(fd, source, host->address_len)) {
		error_set(error, "source address: %s", strerror(errno));
	} else if (connect(fd, address, host->address_len) && errno != EINPROGRESS) {
		error_set(error, "connect: %s", strerror(errno));
	} else {
		return fd;
	}
	(void)close(fd);
	return -1;
}

/* The session is over by way of the loop, as any other: the loop closes a timer that never ran. */
static void begin_failed(struct session *session, const struct error *error)
{
	tally_fault(session->host->tally, ERR_IO, error);
	session->ended = true;
	client_finish(&session->client);
	(void)uv_timer_init(session->host->loop, &session->handle.none);
	session->handle.any.data = session;
	uv_close(&session->handle.any, on_closed);
}

void session_begin(struct session *session, struct session_host *host, const struct client_plan *plan,
                   const struct account *account, const struct sockaddr *source, uint64_t due_ns)
{
	SSL_SESSION *resumable = session->resumable;
	size_t index = session->account;
	struct error error = {.text = ""};
	*session = (struct session){.host = host, .open = true, .account = index, .resumable = resumable};
	session->due_ns = due_ns;
	session->heard_ns = uv_hrtime();
	client_init(&session->client, plan, account);
	int fd = open_socket(host, source, &error);
	conn_init(&session->conn, fd);
	if (fd < 0 || uv_poll_init_socket(host->loop, &session->handle.poll, fd)) {
		if (fd >= 0)
			error_set(&error, "no memory for a connection");
		conn_finish(&session->conn);
		begin_failed(session, &error);
		return;
	}
	session->handle.any.data = session;
	int err = host->security == SECURITY_TLS ? start_tls(session, &error) : ERR_NONE;
	/* In plain the server speaks first; in TLS we do, once there is a connection. */
	if (!err)
		err = watch(session, UV_READABLE | (session->shaking ? UV_WRITABLE : 0));
	if (err)
		session_fail(session, err, &error);
}

/* --- octets --- */

static int flush(struct session *session, struct error *error)
{
	struct buf *out = &session->client.out;
	while (out->len) {
		size_t count;
		int err = conn_write(&session->conn, buf_span(out), false, &count);
		if (err == ERR_AGAIN) {
			bool write = !session->conn.ssl || session->conn.wants_write;
			return watch(session, UV_READABLE | (write ? UV_WRITABLE : 0));
		}
		if (err) {
			error_set(error, "while sending: %s", err_text(err));
			return err;
		}
		buf_consume(out, count);
	}
	buf_release(out);
	return watch(session, UV_READABLE);
}

/* ERR_AGAIN: not done yet. */
static int shake_hands(struct session *session, struct error *error)
{
	int err = conn_handshake(&session->conn, error);
	if (err == ERR_AGAIN) {
		int watched = watch(session, UV_READABLE | (session->conn.wants_write ? UV_WRITABLE : 0));
		return watched ? watched : ERR_AGAIN;
	}
	if (err == ERR_CLOSED)
		error_set(error, "the server closed the connection in the TLS handshake");
	if (err)
		return err;
	session->shaking = false;
	if (session->client.wish == CLIENT_TLS)
		err = client_proceed(&session->client, uv_hrtime());
	return err ? err : flush(session, error);
}

/* What the client machine has done since the last look. */
static void count_up(struct session *session, uint64_t now_ns)
{
	struct client *client = &session->client;
	struct tally *tally = session->host->tally;
	if (client->greeted && !session->greeted)
		tally_latency(tally, METRIC_GREETING, now_ns - session->due_ns);
	if (client->logged_in && !session->logged_in)
		tally_latency(tally, METRIC_LOGIN, now_ns - session->due_ns);
	session->greeted = client->greeted;
	session->logged_in = client->logged_in;
	if (client->message_ns)
		tally_latency(tally, METRIC_MESSAGE, client->message_ns);
	client->message_ns = 0;
	tally->sums.messages += client->messages_fetched - session->messages;
	tally->sums.octets += client->octets_fetched - session->octets;
	session->messages = client->messages_fetched;
	session->octets = client->octets_fetched;
}

static int obey(struct session *session, struct error *error)
{
	if (session->client.wish == CLIENT_TLS && !session->conn.ssl) {
		int err = start_tls(session, error);
		return err ? err : shake_hands(session, error);
	}
	if (session->client.wish == CLIENT_HOLD && !session->held) {
		session->held = true;
		session->host->holds(session->host);
	}
	return ERR_NONE;
}

/* Reads once and answers. ERR_CLOSED with *ret_end: the connection is at its end, and it was time. */
static int turn(struct session *session, bool *ret_end, struct error *error)
{
	size_t count;
	int err = conn_read(&session->conn, session->host->buffer, SESSION_READ_SIZE, &count);
	if (err == ERR_AGAIN) /* TLS may have to write before it can read on */
		return session->conn.wants_write && watch(session, UV_READABLE | UV_WRITABLE) ? ERR_NOMEM
		                                                                              : ERR_AGAIN;
	if (err == ERR_CLOSED) {
		*ret_end = client_closed(&session->client, error) == ERR_NONE;
		return ERR_CLOSED;
	}
	if (err) {
		error_set(error, "while reading: %s", err_text(err));
		return err;
	}
	session->heard_ns = uv_hrtime();
	err = client_feed(&session->client, span_of(session->host->buffer, count), session->heard_ns, error);
	count_up(session, session->heard_ns);
	if (!err)
		err = flush(session, error);
	return err ? err : obey(session, error);
}

/* As long as more is here already, or the end of the connection is expected. */
static int turns(struct session *session, bool *ret_end, struct error *error)
{
	int err;
	do
		err = turn(session, ret_end, error);
	while (!err && (session->client.wish == CLIENT_DONE ||
	                (session->conn.ssl && SSL_has_pending(session->conn.ssl))));
	return err;
}

static int take_connection(struct session *session, struct error *error)
{
	int errnum = 0;
	socklen_t size = sizeof errnum;
	(void)getsockopt(session->conn.fd, SOL_SOCKET, SO_ERROR, &errnum, &size);
	session->connected = true;
	if (!errnum)
		return ERR_NONE;
	error_set(error, "connect: %s", strerror(errnum));
	return ERR_IO;
}

static void on_ready(uv_poll_t *poll, int status, int events)
{
	struct session *session = poll->data;
	struct error error = {.text = ""};
	bool end = false;
	(void)events;
	int err = session->connected ? ERR_NONE : take_connection(session, &error);
	if (!err)
		err = session->shaking ? shake_hands(session, &error) : flush(session, &error);
	if (!err)
		err = turns(session, &end, &error);
	/* With an error the loop has stopped to poll: whoever has read to here must have met it. */
	if (status < 0 && err == ERR_AGAIN)
		err = ERR_CLOSED;
	if (end)
		end_well(session);
	else if (err && err != ERR_AGAIN)
		session_fail(session, err, &error);
}

void session_release(struct session *session)
{
	struct error error = {.text = ""};
	session->held = false;
	session->heard_ns = uv_hrtime();
	int err = client_proceed(&session->client, session->heard_ns);
	if (!err)
		err = flush(session, &error);
	if (err)
		session_fail(session, err, &error);
}
