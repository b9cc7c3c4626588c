/* SPDX-License-Identifier: MIT */
/*
 * A session's octets: socket and TLS on one side, the machine of its protocol on the
 * other. Runs in the worker; trusts nothing the client sends.
 */
#include "server/worker.h"

#include "base/secret.h"
#include "base/time.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum next session_over(struct session *session, const char *result)
{
	session_end(session, result);
	return NEXT_ENDED;
}

static void on_ready(uv_poll_t *poll, int status, int events);

static void poll_for(struct session *session, int events)
{
	if (session->events == events)
		return; /* each change costs system calls */
	session->worker->waiting += events == UV_WRITABLE;
	session->worker->waiting -= session->events == UV_WRITABLE;
	session->events = (uint8_t)events;
	if (events)
		(void)uv_poll_start(&session->poll, events, on_ready);
	else
		(void)uv_poll_stop(&session->poll);
}

/* --- output --- */

/* Octets came in or went out. */
static void note_moved(struct session *session)
{
	session->moved_ms = uv_now(session->worker->child->loop);
}

void session_sent(struct session *session, size_t count)
{
	session->octets_out += count;
	session->unacked = UINT32_MAX; /* not known: looked at by the next sweep */
	note_moved(session);
	session->protocol->active(session, session->moved_ms);
}

/* What the kernel has taken from us may still be on its way, to a slow client for minutes. */
void session_note_progress(struct session *session)
{
	if (!session->unacked)
		return;
	uint32_t left = conn_unacked(&session->conn);
	if (session->unacked != UINT32_MAX && left < session->unacked) {
		note_moved(session);
		session->protocol->active(session, session->moved_ms);
	}
	session->unacked = left;
}

bool session_is_lost(const struct session *session)
{
	uint32_t limit_ms = session->worker->setup.dead_peer_ms;
	return session->unacked && uv_now(session->worker->child->loop) - session->moved_ms >= limit_ms &&
	       conn_is_silent(&session->conn, limit_ms);
}

/* The kernel would take megabytes for each client that does not read. A few may have them, which makes them
 * faster; with many, its memory for all connections would run out, and everybody's suffer. */
static void consider_room(struct session *session)
{
	if (session->narrow || session->worker->waiting < WORKER_WAITING_MANY)
		return;
	session->narrow = true;
	conn_limit_unsent(&session->conn, WORKER_UNSENT_MAX);
}

int session_write(struct session *session, struct span octets, bool more, size_t *ret_sent)
{
	int err = ERR_NONE;
	*ret_sent = 0;
	consider_room(session);
	while (!err && *ret_sent < octets.len) {
		size_t count = 0;
		err = conn_write(&session->conn, span_after(octets, *ret_sent), more, &count);
		*ret_sent += count;
	}
	if (*ret_sent)
		session_sent(session, *ret_sent);
	return err;
}

/* What was left over before: true when all of it is gone. */
static bool flush_kept(struct session *session, int *ret_err)
{
	size_t sent;
	*ret_err =
	    session_write(session, span_after(buf_span(&session->out), session->out_sent), false, &sent);
	session->out_sent += sent;
	if (session->out_sent < session->out.len)
		return false;
	buf_finish(&session->out);
	session->out_sent = 0;
	return true;
}

/* The machine's output: what the socket does not take is kept. */
enum next session_flush(struct session *session, struct pop_output *out, bool more)
{
	if (!out->len)
		return NEXT_STEP;
	size_t sent;
	int err = session_write(session, span_of(out->ptr, out->len), more, &sent);
	struct span rest = span_after(span_of(out->ptr, out->len), sent);
	out->len = 0;
	if (err && err != ERR_AGAIN)
		return session_over(session, "disconnected");
	if (rest.len && buf_add(&session->out, rest) != ERR_NONE)
		return session_over(session, "out of memory");
	return rest.len ? NEXT_WRITE : NEXT_STEP;
}

/* --- input --- */

enum next session_read(struct session *session, struct pop_input *in)
{
	struct worker *worker = session->worker;
	if (in->len && in->ptr != worker->in)
		memmove(worker->in, in->ptr, in->len);
	in->ptr = worker->in;
	if (!session->readable && !session->conn.ssl)
		return NEXT_READ; /* the last read took all there was: asking again would be a system call for
		                     nothing */
	size_t count = 0;
	int err = conn_read(&session->conn, in->ptr + in->len, WORKER_IN_SIZE - in->len, &count);
	if (err == ERR_AGAIN)
		return session->conn.wants_write ? NEXT_WRITE : NEXT_READ;
	if (err)
		return session_over(session, "disconnected");
	session->readable = count == WORKER_IN_SIZE - in->len;
	in->len += count;
	session->octets_in += count;
	note_moved(session);
	return NEXT_STEP;
}

/* --- TLS --- */

enum next session_start_tls(struct session *session, struct pop_output *out)
{
	enum next next = session_flush(session, out, false);
	if (next != NEXT_STEP)
		return next;
	if (conn_start_tls(&session->conn, session->worker->tls) != ERR_NONE)
		return session_over(session, "out of memory");
	session->shaking = session->stls = true;
	return NEXT_READ;
}

static enum next shake_hands(struct session *session)
{
	struct error error = {""};
	int err = conn_handshake(&session->conn, &error);
	if (err == ERR_AGAIN)
		return session->conn.wants_write ? NEXT_WRITE : NEXT_READ;
	if (err) {
		struct log_line line;
		log_begin(&line, LOG_INFO, "tls-failed");
		log_num(&line, "session", session->id);
		log_text(&line, "addr", session->address);
		log_text(&line, "error", error.text[0] ? error.text : "connection closed");
		log_end(&line);
		return session_over(session, "tls failed");
	}
	session->shaking = false;
	if (session->stls)
		session->protocol->tls(session);
	return NEXT_STEP;
}

/* --- the pump --- */

enum next session_wait(struct session *session, struct pop_output *out)
{
	enum next next = session_flush(session, out, false);
	return next == NEXT_STEP ? NEXT_WAIT : next;
}

enum next session_close(struct session *session, struct pop_output *out, bool asked)
{
	enum next next = session_flush(session, out, false);
	if (next != NEXT_STEP)
		return next;
	if (!asked && !session->conn.ssl) {
		(void)shutdown(session->conn.fd, SHUT_WR);
		(void)recv(session->conn.fd, session->worker->in, WORKER_IN_SIZE, 0);
	}
	return session_over(session, asked ? "quit" : "refused");
}

/* Brings back the input that was kept. */
static struct pop_input take_input(struct session *session)
{
	struct worker *worker = session->worker;
	struct pop_input in = {worker->in, session->in.len};
	if (in.len) {
		memcpy(worker->in, session->in.ptr, in.len);
		secret_wipe(session->in.ptr, session->in.len); /* it may hold a password */
		buf_finish(&session->in);
	}
	return in;
}

static enum next pump(struct session *session)
{
	struct worker *worker = session->worker;
	struct pop_input in = take_input(session);
	struct pop_output out = {worker->out, 0, sizeof worker->out};
	enum next next = NEXT_STEP;
	uint64_t turn_ends = session->octets_in + session->octets_out + WORKER_TURN_OCTETS;
	while (next == NEXT_STEP) {
		if (session->octets_in + session->octets_out >= turn_ends) {
			/* However fast this client is, now it is the others' turn: on when the loop is round.
			 */
			next = session_flush(session, &out, false);
			next = next == NEXT_STEP ? NEXT_WRITE : next;
			break;
		}
		next = session->protocol->step(session, &in, &out);
	}
	if (next != NEXT_ENDED && in.len && buf_add(&session->in, span_of(in.ptr, in.len)) != ERR_NONE)
		return session_over(session, "out of memory");
	return next;
}

void session_run(struct session *session)
{
	enum next next = NEXT_STEP;
	int err = ERR_NONE;
	if (session->await != AWAIT_NOTHING)
		next = NEXT_WAIT;
	if (!flush_kept(session, &err))
		next = err == ERR_AGAIN ? NEXT_WRITE : session_over(session, "disconnected");
	if (next == NEXT_STEP && session->shaking)
		next = shake_hands(session);
	if (next == NEXT_STEP)
		next = pump(session);
	if (next == NEXT_READ)
		poll_for(session, UV_READABLE);
	else if (next == NEXT_WRITE)
		poll_for(session, UV_WRITABLE);
	else if (next == NEXT_WAIT && session->events == UV_WRITABLE)
		poll_for(session, UV_READABLE);
}

static void on_ready(uv_poll_t *poll, int status, int events)
{
	struct session *session = poll->data;
	session->readable = session->readable || events & UV_READABLE;
	if (status < 0)
		session_over(session, "disconnected");
	else if (session->await != AWAIT_NOTHING && session->events == UV_READABLE)
		poll_for(session, 0); /* more input than we can take now: look again after the answer */
	else
		session_run(session);
}

/* --- giving way --- */

/* Has closed, or is gone, and nothing it has said is left to do. */
static bool is_client_gone(const struct session *session)
{
	char octet;
	ssize_t count = session->in.len ? 1 : recv(session->conn.fd, &octet, 1, MSG_PEEK | MSG_DONTWAIT);
	return count == 0 || (count < 0 && errno != EAGAIN);
}

static bool is_idle(struct session *session)
{
	uint32_t limit_ms = session->worker->setup.takeover_ms;
	session_note_progress(session);
	return limit_ms && uv_now(session->worker->child->loop) - session->moved_ms >= limit_ms;
}

bool session_keeps(struct session *session)
{
	struct worker *worker = session->worker;
	uint64_t id = session->id;
	const char *why = NULL;
	if (session->await == AWAIT_NOTHING) { /* its end, or a command, may be here and not seen yet */
		session->readable = true;
		session_run(session);
		session = worker_find(worker, id);
		if (!session)
			return false;
	}
	if (session->await == AWAIT_NOTHING && is_idle(session))
		why = "taken over";
	else if (session->await == AWAIT_OPEN && is_client_gone(session))
		why = "disconnected";
	if (why)
		session_end(session, why);
	return !why;
}

/* --- beginning and end --- */

/* In TLS from the first octet on there is no way to say why that would not cost what is to be saved. */
static void refuse(const struct worker_listener *listener, int fd, const char *reason)
{
	char line[128];
	int size =
	    snprintf(line, sizeof line, "%s%s, try again later\r\n", listener->protocol->refusal, reason);
	if (!listener->tls)
		(void)send(fd, line, (size_t)size, MSG_NOSIGNAL);
	(void)close(fd);
}

void session_begin(struct worker *worker, const struct worker_listener *listener, int fd,
                   const struct sockaddr *address)
{
	const struct protocol *protocol = listener->protocol;
	struct network network = network_of(address);
	const char *reason = limit_admit(worker, protocol, &network);
	struct session *session = reason ? NULL : calloc(1, sizeof *session);
	if (!session || uv_poll_init_socket(worker->child->loop, &session->poll, fd) != 0) {
		refuse(listener, fd, reason ? reason : "no memory");
		free(session);
		return;
	}
	uint32_t slot = worker->free_slots[--worker->free_count];
	worker->slots[slot] = session;
	worker->session_count++;
	session->id = ++worker->serial << WORKER_SLOT_BITS | slot;
	session->worker = worker;
	session->protocol = protocol;
	session->poll.data = session;
	session->network = network;
	limit_enter(session);
	session->began_ms = session->moved_ms = uv_now(worker->child->loop);
	session->shaking = listener->tls;
	buf_init(&session->in, WORKER_IN_SIZE);
	buf_init(&session->out, WORKER_OUT_SIZE);
	net_address_text(address, session->address);
	conn_init(&session->conn, fd);
	int err = protocol->begin(session, listener->tls, net_is_loopback(address));
	if (!err && listener->tls)
		err = conn_start_tls(&session->conn, worker->tls);
	if (err) {
		session_over(session, "out of memory");
		return;
	}
	if (listener->tls)
		poll_for(session, UV_READABLE);
	else
		session_run(session);
}

static void log_end_of(const struct session *session, const char *result)
{
	char tls[64];
	struct log_line line;
	conn_describe(&session->conn, tls, sizeof tls);
	log_begin(&line, LOG_INFO, "end");
	log_num(&line, "session", session->id);
	if (session->user)
		log_text(&line, "user", session->user);
	log_text(&line, "addr", session->address);
	log_text(&line, "tls", tls);
	log_text(&line, "result", result);
	log_num(&line, "ms", uv_now(session->worker->child->loop) - session->began_ms);
	log_num(&line, "in", session->octets_in);
	log_num(&line, "out", session->octets_out);
	session->protocol->describe(session, &line);
	log_end(&line);
}

static void on_closed(uv_handle_t *handle)
{
	free(handle->data);
}

void session_end(struct session *session, const char *result)
{
	log_end_of(session, result);
	session->protocol->release(session);
	limit_leave(session);
	session->worker->waiting -= session->events == UV_WRITABLE;
	uv_close((uv_handle_t *)&session->poll, on_closed); /* before the descriptor it polls is closed */
	conn_finish(&session->conn);
	if (session->in.ptr)
		secret_wipe(session->in.ptr, session->in.len);
	buf_finish(&session->in);
	buf_finish(&session->out);
	worker_forget(session->worker, session);
}
