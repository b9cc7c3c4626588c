/* SPDX-License-Identifier: MIT */
/*
 * LMTP sessions: the wishes of the LMTP server machine. Runs in the worker; trusts nothing the client sends,
 * though only this machine's mail server should be able to connect.
 */
#include "server/worker.h"

#include <stdlib.h>

/* The server stops: a client that has nothing under way hears so (RFC 5321 section 3.8). */
static enum next say_goodbye(struct session *session, struct pop_output *out)
{
	static const char text[] = "421 4.3.2 the server stops\r\n";
	enum next next = session_flush(session, out, false);
	size_t sent;
	if (next != NEXT_STEP)
		return next;
	(void)session_write(session, SPAN(text), false, &sent);
	return session_over(session, "server stops");
}

static enum next fulfil(struct session *session, enum lmtp_want want, struct pop_input *in,
                        struct pop_output *out)
{
	bool answered = true;
	enum next next;
	switch (want) {
	case LMTP_WANT_INPUT:
		if (session->worker->stopping)
			return say_goodbye(session, out);
		next = session_flush(session, out, false);
		return next == NEXT_STEP ? session_read(session, in) : next;
	case LMTP_WANT_ROOM:
		return session_flush(session, out, false);
	case LMTP_WANT_CLOSE:
		return session_close(session, out, session->lmtp->machine.quit);
	case LMTP_WANT_OCTETS:
		deliver_octets(session, in);
		break;
	case LMTP_WANT_RESET:
		deliver_forget(session);
		break;
	case LMTP_WANT_RECIPIENT:
		answered = deliver_recipient(session);
		break;
	case LMTP_WANT_DATA:
		answered = deliver_data(session);
		break;
	case LMTP_WANT_VERDICT:
		answered = deliver_verdict(session);
		break;
	}
	return answered ? NEXT_STEP : session_wait(session, out);
}

static enum next step(struct session *session, struct pop_input *in, struct pop_output *out)
{
	uint64_t now_ms = uv_now(session->worker->child->loop);
	return fulfil(session, lmtp_server_step(&session->lmtp->machine, in, out, now_ms), in, out);
}

/* --- beginning, life and end --- */

static int begin(struct session *session, bool tls, bool local)
{
	struct worker *worker = session->worker;
	(void)tls; /* the same inside it */
	session->lmtp = calloc(1, sizeof *session->lmtp);
	if (!session->lmtp)
		return ERR_NOMEM;
	session->lmtp->fd = -1;
	lmtp_server_init(&session->lmtp->machine, &worker->lmtp_conf, local || worker->setup.lmtp_remote,
	                 session->began_ms);
	return ERR_NONE;
}

static void be_active(struct session *session, uint64_t now_ms)
{
	lmtp_server_active(&session->lmtp->machine, now_ms);
}

static bool is_expired(const struct session *session, uint64_t now_ms)
{
	return lmtp_server_expired(&session->lmtp->machine, now_ms);
}

static void describe(const struct session *session, struct log_line *line)
{
	log_text(line, "protocol", "lmtp");
	if (session->lmtp)
		log_num(line, "delivered", session->lmtp->delivered);
}

static void release(struct session *session)
{
	if (!session->lmtp)
		return;
	deliver_forget(session);
	free(session->lmtp->recipients);
	free(session->lmtp);
	session->lmtp = NULL;
}

const struct protocol protocol_lmtp = {
    .refusal = "421 4.3.2 ",
    .begin = begin,
    .step = step,
    .active = be_active,
    .expired = is_expired,
    .describe = describe,
    .release = release,
    .auth = deliver_auth,
    .keeper = deliver_keeper,
    .auth_lost = deliver_auth_lost,
    .keeper_lost = deliver_keeper_lost,
};
