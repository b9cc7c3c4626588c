/* SPDX-License-Identifier: MIT */
/*
 * POP3 sessions: the wishes of the POP3 server machine, and how messages are sent. Runs in the
 * worker; trusts nothing the client sends.
 */
#include "server/worker.h"

#include <unistd.h>

/* --- messages --- */

/* Straight from the file to the socket: the message needs no conversion. */
static enum next send_file(struct session *session, struct pop_output *out, uint64_t length)
{
	enum next next = session_flush(session, out, true);
	if (next != NEXT_STEP)
		return next;
	size_t count = 0;
	int err = conn_send_file(&session->conn, session->body.fd, session->body_at, length, &count);
	if (err == ERR_AGAIN)
		return NEXT_WRITE;
	if (err)
		return session_over(session, err == ERR_CORRUPT ? "message cut short" : "disconnected");
	session->body_at += count;
	session_sent(session, count);
	return pop_server_octets_sent(&session->machine, count)
	           ? session_over(session, "message not as listed")
	           : NEXT_STEP;
}

/* The next octets of the message, raw: where they are, or read into the worker's buffer. */
static bool look_at_body(struct session *session, size_t size, struct span *ret)
{
	if (session->body.fd < 0) {
		*ret = span_first(session->here, size);
		return ret->len > 0;
	}
	ssize_t count = pread(session->body.fd, session->worker->raw, size, (off_t)session->body_at);
	if (count > 0)
		*ret = span_of(session->worker->raw, (size_t)count);
	return count > 0;
}

static void take_from_body(struct session *session, size_t count)
{
	if (session->body.fd < 0)
		body_take_here(session, count);
	else
		session->body_at += count;
}

static enum next send_body(struct session *session, struct pop_output *out)
{
	bool by_kernel = session->body.fd >= 0 && !session->conn.ssl;
	uint64_t as_is = by_kernel ? pop_server_octets_as_is(&session->machine) : 0;
	if (as_is >= WORKER_SEND_FILE_MIN)
		return send_file(session, out, as_is);
	uint64_t left = pop_server_octets_left(&session->machine);
	size_t size = left < WORKER_RAW_SIZE ? (size_t)left : WORKER_RAW_SIZE;
	if (out->cap - out->len < 2 * size) { /* encoding at most doubles */
		enum next next = session_flush(session, out, true);
		if (next != NEXT_STEP)
			return next;
	}
	struct span octets;
	if (!look_at_body(session, size, &octets))
		return session_over(session, "message cut short");
	struct span rest = octets;
	int err = pop_server_octets(&session->machine, &rest, out);
	take_from_body(session, octets.len - rest.len);
	return err ? session_over(session, "message not as listed") : NEXT_STEP;
}

/* Lines of a listing, from where they are. */
static enum next send_text(struct session *session, struct pop_output *out)
{
	enum next next = session_flush(session, out, true);
	if (next != NEXT_STEP)
		return next;
	struct span text = session->machine.ask.text;
	size_t sent, most = text.len < WORKER_TURN_OCTETS ? text.len : WORKER_TURN_OCTETS;
	int err = session_write(session, span_first(text, most), true, &sent);
	pop_server_text_sent(&session->machine, sent);
	if (err)
		return err == ERR_AGAIN ? NEXT_WRITE : session_over(session, "disconnected");
	return NEXT_STEP;
}

/* --- the machine's wishes --- */

/* One wish of the machine. */
static enum next fulfil(struct session *session, enum pop_want want, struct pop_input *in,
                        struct pop_output *out)
{
	bool answered = true;
	enum next next;
	switch (want) {
	case POP_WANT_INPUT:
		next = session_flush(session, out, false);
		return next == NEXT_STEP ? session_read(session, in) : next;
	case POP_WANT_ROOM:
		return session_flush(session, out, false);
	case POP_WANT_OCTETS:
		return send_body(session, out);
	case POP_WANT_TEXT:
		return send_text(session, out);
	case POP_WANT_MARKS:
		return mail_marks(session) ? NEXT_STEP : session_over(session, "out of memory");
	case POP_WANT_TLS:
		return session_start_tls(session, out);
	case POP_WANT_CLOSE:
		return session_close(session, out, session->machine.quit);
	case POP_WANT_CANCEL:
		mail_cancel(session);
		return NEXT_STEP;
	case POP_WANT_LOGIN:
		answered = mail_login(session);
		break;
	case POP_WANT_SASL:
		answered = mail_sasl(session);
		break;
	case POP_WANT_BODY:
		answered = body_ask(session, span_of(in->ptr, in->len));
		break;
	case POP_WANT_LISTING:
		answered = mail_listing(session);
		break;
	case POP_WANT_COMMIT:
		answered = mail_commit(session);
		break;
	}
	return answered ? NEXT_STEP : session_wait(session, out);
}

static enum next step(struct session *session, struct pop_input *in, struct pop_output *out)
{
	uint64_t now_ms = uv_now(session->worker->child->loop);
	enum next next = fulfil(session, pop_server_step(&session->machine, in, out, now_ms), in, out);
	if (next != NEXT_ENDED && session->sending && !pop_server_octets_left(&session->machine))
		body_done(session);
	return next;
}

/* --- beginning, life and end --- */

static int begin(struct session *session, bool tls, bool local)
{
	struct worker *worker = session->worker;
	pop_server_init(&session->machine, &worker->conf, tls, tls_ready(worker->tls),
	                worker->setup.cleartext_always || local, session->began_ms);
	return ERR_NONE;
}

static void be_active(struct session *session, uint64_t now_ms)
{
	pop_server_active(&session->machine, now_ms);
}

static bool is_expired(const struct session *session, uint64_t now_ms)
{
	return pop_server_expired(&session->machine, now_ms);
}

static void enter_tls(struct session *session)
{
	pop_server_tls(&session->machine);
}

static void describe(const struct session *session, struct log_line *line)
{
	const struct pop_server *machine = &session->machine;
	if (machine->state != POP_TRANSACTION)
		return;
	log_num(line, "fetched", session->fetched);
	log_num(line, "deleted", machine->removed);
	log_num(line, "left", machine->listing.count - machine->removed);
}

const struct protocol protocol_pop = {
    .refusal = "-ERR [SYS/TEMP] ",
    .strangers = true,
    .begin = begin,
    .step = step,
    .active = be_active,
    .expired = is_expired,
    .tls = enter_tls,
    .describe = describe,
    .release = mail_release,
    .auth = mail_auth,
    .keeper = mail_keeper,
    .auth_lost = mail_auth_lost,
    .keeper_lost = mail_keeper_lost,
};
