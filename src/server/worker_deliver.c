/* SPDX-License-Identifier: MIT */
/*
 * What an LMTP session asks of auth and keeper, and the message on its way from the socket to its file: never
 * more than one read of it is in memory, and what the client sends is not read before what it sent is
 * written. Runs in the worker.
 */
#include "server/worker.h"

#include "base/time.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* --- what the keeper has for us --- */

/* The keeper has forgotten the delivery, or is gone. */
static void be_forgotten(struct session *session)
{
	session->worker->deliveries -= session->lmtp->begun;
	session->lmtp->begun = false;
}

/* Tells the keeper that there is nothing more to come, if it does not know. */
static void end_delivery(struct session *session)
{
	if (session->lmtp->begun && session->worker->keeper)
		link_send(session->worker->keeper, IPC_DELIVER_END, session->id, NULL, SPAN(""), NULL, 0);
	be_forgotten(session);
}

/* Gives up the message's file, or the promise of one. */
static void close_file(struct session *session)
{
	struct lmtp_session *lmtp = session->lmtp;
	session->worker->body_fds -= lmtp->fd >= 0 || session->await == AWAIT_FILE;
	if (lmtp->fd >= 0)
		(void)close(lmtp->fd);
	lmtp->fd = -1;
	if (session->await == AWAIT_FILE)
		session->await = AWAIT_NOTHING;
}

/* --- recipients --- */

/* The address is the client's, and in its input: a copy outlives that. */
static struct lmtp_recipient *next_recipient(struct lmtp_session *lmtp)
{
	if (!lmtp->recipients)
		lmtp->recipients = calloc(LMTP_RECIPIENTS_MAX, sizeof *lmtp->recipients);
	if (!lmtp->recipients || lmtp->count == LMTP_RECIPIENTS_MAX)
		return NULL;
	struct lmtp_recipient *recipient = &lmtp->recipients[lmtp->count];
	struct span mailbox = lmtp->machine.ask.mailbox;
	free(recipient->address);
	recipient->address = strndup(mailbox.ptr, mailbox.len);
	return recipient->address ? recipient : NULL;
}

static void begin_line(struct log_line *line, const struct session *session, const char *event)
{
	const struct lmtp_server *machine = &session->lmtp->machine;
	log_begin(line, LOG_INFO, event);
	log_num(line, "session", session->id);
	log_span(line, "from", span_of(machine->sender, machine->sender_len));
}

static void refuse(struct session *session, const char *address, enum lmtp_verdict verdict)
{
	struct log_line line;
	begin_line(&line, session, "recipient-refused");
	log_text(&line, "addr", session->address);
	log_text(&line, "to", address);
	log_text(&line, "result", lmtp_verdict_text(verdict));
	log_end(&line);
	lmtp_server_recipient(&session->lmtp->machine, verdict);
}

bool deliver_recipient(struct session *session)
{
	struct worker *worker = session->worker;
	struct lmtp_session *lmtp = session->lmtp;
	struct lmtp_recipient *recipient = next_recipient(lmtp);
	if (!recipient || !worker->auth || !worker->keeper || (lmtp->count && !lmtp->begun)) {
		refuse(session, recipient ? recipient->address : "", LMTP_TROUBLE);
		return true;
	}
	if (!lmtp->begun && worker->deliveries == IPC_DELIVERIES_MAX) {
		refuse(session, recipient->address, LMTP_BUSY);
		return true;
	}
	session->await = AWAIT_RECIPIENT;
	link_send(worker->auth, IPC_AUTH_LOOKUP, session->id, NULL, span_str(recipient->address), NULL, 0);
	return false;
}

static void admit(struct session *session, const struct ticket *ticket)
{
	struct lmtp_session *lmtp = session->lmtp;
	struct worker *worker = session->worker;
	struct lmtp_recipient *recipient = &lmtp->recipients[lmtp->count];
	struct ipc_deliver_to to = {.ticket = *ticket};
	free(recipient->account);
	recipient->account = strndup(ticket->account, sizeof ticket->account);
	/* The keeper may have gone with the recipients before this one. */
	if (!worker->keeper || !recipient->account || (lmtp->count && !lmtp->begun)) {
		refuse(session, recipient->address, LMTP_TROUBLE);
		return;
	}
	link_send(worker->keeper, IPC_DELIVER_TO, session->id, &to, SPAN(""), NULL, 0);
	worker->deliveries += !lmtp->begun;
	lmtp->begun = true;
	lmtp->count++;
	lmtp_server_recipient(&lmtp->machine, LMTP_GOOD);
}

int deliver_auth(struct session *session, struct ipc_in *in)
{
	if (session->await != AWAIT_RECIPIENT)
		return ERR_PEER;
	session->await = AWAIT_NOTHING;
	const char *address = session->lmtp->recipients[session->lmtp->count].address;
	if (in->type == IPC_AUTH_OK) {
		admit(session, &((const struct ipc_auth_ok *)in->fixed)->ticket);
	} else if (in->type == IPC_AUTH_FAIL) {
		int err = ((const struct ipc_auth_fail *)in->fixed)->err;
		refuse(session, address,
		       err == ERR_NOTFOUND ? LMTP_UNKNOWN
		       : err == ERR_DENIED ? LMTP_DISABLED
		                           : LMTP_TROUBLE);
	} else {
		return ERR_PEER;
	}
	session_run(session);
	return ERR_NONE;
}

void deliver_auth_lost(struct session *session)
{
	if (session->await != AWAIT_RECIPIENT)
		return;
	session->await = AWAIT_NOTHING;
	refuse(session, session->lmtp->recipients[session->lmtp->count].address, LMTP_TROUBLE);
	session_run(session);
}

/* --- the file --- */

static enum lmtp_verdict verdict_of(int err)
{
	switch (err) {
	case ERR_NONE:
		return LMTP_GOOD;
	case ERR_QUOTA:
		return LMTP_OVER_QUOTA;
	case ERR_NOSPACE:
		return LMTP_NO_SPACE;
	case ERR_FULL:
		return LMTP_BUSY;
	case ERR_DENIED:
	case ERR_CORRUPT:
	case ERR_NOTREGULAR:
	case ERR_BUSY:
	case ERR_READONLY:
	case ERR_SYNTAX:
	case ERR_NOTFOUND:
		return LMTP_MAILDROP;
	default:
		return LMTP_TROUBLE;
	}
}

bool deliver_data(struct session *session)
{
	struct worker *worker = session->worker;
	struct lmtp_session *lmtp = session->lmtp;
	lmtp->data_ms = uv_now(worker->child->loop);
	if (!worker->keeper || !lmtp->begun || worker->body_fds >= worker->body_fds_max) {
		lmtp_server_data(&lmtp->machine, lmtp->begun ? LMTP_BUSY : LMTP_TROUBLE);
		return true;
	}
	worker->body_fds++;
	session->await = AWAIT_FILE;
	link_send(worker->keeper, IPC_DELIVER_BEGIN, session->id, NULL, SPAN(""), NULL, 0);
	return false;
}

static void write_octets(struct session *session, struct span octets)
{
	struct lmtp_session *lmtp = session->lmtp;
	while (octets.len && lmtp->fd >= 0 && !lmtp_server_failure(&lmtp->machine)) {
		ssize_t count = write(lmtp->fd, octets.ptr, octets.len);
		if (count <= 0)
			lmtp_server_fail(&lmtp->machine,
			                 errno == EFBIG ? LMTP_TOO_LARGE : verdict_of(err_from_errno(errno)));
		else
			octets = span_after(octets, (size_t)count);
	}
}

/* What final delivery adds (RFC 5321 section 4.4). Delivered-To would tell the recipients of each other when
 * the message has several, as they share one file. */
static void write_lines(struct session *session)
{
	const struct lmtp_session *lmtp = session->lmtp;
	const struct lmtp_server *machine = &lmtp->machine;
	time_t now = (time_t)(time_real_ns() / 1000000000u);
	char date[48] = "";
	struct tm tm;
	struct buf lines;
	buf_init(&lines, IPC_MESSAGE_EXTRA);
	if (gmtime_r(&now, &tm))
		(void)strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S +0000", &tm);
	int err = buf_addf(&lines, "Return-Path: <%.*s>\n", machine->sender_len, machine->sender);
	if (!err && lmtp->count == 1)
		err = buf_addf(&lines, "Delivered-To: %s\n", lmtp->recipients[0].address);
	if (!err)
		err = buf_addf(&lines,
		               "Received: from %.*s (%s)\n\tby %s (Restante) with %sLMTP id %u.%llx;\n\t%s\n",
		               machine->client_len, machine->client, session->address,
		               session->worker->setup.hostname, machine->utf8 ? "UTF8" : "",
		               session->worker->child->id, (unsigned long long)session->id, date);
	if (err)
		lmtp_server_fail(&session->lmtp->machine, LMTP_TROUBLE);
	else
		write_octets(session, buf_span(&lines));
	buf_finish(&lines);
}

void deliver_octets(struct session *session, struct pop_input *in)
{
	enum { MOST = WORKER_RAW_SIZE - POP_UNDOT_HELD };
	char *to = session->worker->raw;
	size_t beyond = in->len > MOST ? in->len - MOST : 0;
	in->len -= beyond;
	size_t len = lmtp_server_octets(&session->lmtp->machine, in, to);
	in->len += beyond;
	write_octets(session, span_of(to, len));
}

/* --- verdicts --- */

static void log_verdict(const struct session *session, const struct lmtp_recipient *recipient)
{
	const struct lmtp_session *lmtp = session->lmtp;
	enum lmtp_verdict verdict = (enum lmtp_verdict)recipient->verdict;
	struct log_line line;
	begin_line(&line, session, verdict ? "not-delivered" : "delivered");
	log_text(&line, "to", recipient->address);
	log_text(&line, "user", recipient->account);
	log_num(&line, "octets", lmtp->machine.undot.octets);
	if (!verdict)
		log_num(&line, "raw", recipient->raw);
	log_text(&line, "result", lmtp_verdict_text(verdict));
	log_num(&line, "ms", uv_now(session->worker->child->loop) - lmtp->data_ms);
	log_end(&line);
}

/* Nothing more comes from the keeper: whoever has no verdict yet gets this one. */
static void judge_rest(struct lmtp_session *lmtp, enum lmtp_verdict verdict)
{
	while (lmtp->heard < lmtp->count)
		lmtp->recipients[lmtp->heard++].verdict = (uint8_t)verdict;
}

bool deliver_verdict(struct session *session)
{
	struct lmtp_session *lmtp = session->lmtp;
	enum lmtp_verdict failure = lmtp_server_failure(&lmtp->machine);
	close_file(session);
	if (!lmtp->committed && (failure || !lmtp->begun)) {
		judge_rest(lmtp, failure ? failure : LMTP_TROUBLE);
		end_delivery(session);
	} else if (!lmtp->committed) {
		lmtp->committed = true;
		link_send(session->worker->keeper, IPC_DELIVER_COMMIT, session->id, NULL, SPAN(""), NULL, 0);
	}
	if (lmtp->told == lmtp->heard) {
		session->await = AWAIT_DELIVERY;
		return false;
	}
	const struct lmtp_recipient *recipient = &lmtp->recipients[lmtp->told++];
	lmtp->delivered += recipient->verdict == LMTP_GOOD;
	log_verdict(session, recipient);
	lmtp_server_verdict(&lmtp->machine, (enum lmtp_verdict)recipient->verdict);
	if (lmtp->told == lmtp->count)
		deliver_forget(session);
	return true;
}

void deliver_forget(struct session *session)
{
	struct lmtp_session *lmtp = session->lmtp;
	close_file(session);
	end_delivery(session);
	for (uint32_t i = 0; lmtp->recipients && i < LMTP_RECIPIENTS_MAX; i++) {
		free(lmtp->recipients[i].address);
		free(lmtp->recipients[i].account);
	}
	free(lmtp->recipients);
	lmtp->recipients = NULL;
	lmtp->count = lmtp->heard = lmtp->told = 0;
	lmtp->committed = false;
	session->await = AWAIT_NOTHING;
}

/* --- answers of the keeper --- */

static void take_file(struct session *session, struct ipc_in *in)
{
	struct lmtp_session *lmtp = session->lmtp;
	int err = ((const struct ipc_deliver_file *)in->fixed)->err;
	lmtp_server_data(&lmtp->machine, verdict_of(err));
	if (err) { /* and with it the delivery is over */
		close_file(session);
		be_forgotten(session);
		return;
	}
	session->await = AWAIT_NOTHING;
	lmtp->fd = ipc_in_take(in, 0);
	write_lines(session);
}

static int take_verdict(struct session *session, const struct ipc_delivered *delivered)
{
	struct lmtp_session *lmtp = session->lmtp;
	if (!lmtp->committed || lmtp->heard == lmtp->count || delivered->recipient != lmtp->heard)
		return ERR_PEER;
	struct lmtp_recipient *recipient = &lmtp->recipients[lmtp->heard++];
	recipient->verdict = (uint8_t)verdict_of(delivered->err);
	recipient->raw = delivered->raw;
	if (lmtp->heard == lmtp->count)
		be_forgotten(session);
	return ERR_NONE;
}

int deliver_keeper(struct session *session, struct ipc_in *in)
{
	int err = ERR_PEER;
	if (in->type == IPC_DELIVERED) {
		err = take_verdict(session, in->fixed);
	} else if (in->type == IPC_DELIVER_FILE && session->await == AWAIT_FILE) {
		take_file(session, in);
		err = ERR_NONE;
	}
	if (err)
		return err;
	if (session->await == AWAIT_DELIVERY)
		session->await = AWAIT_NOTHING;
	if (session->await == AWAIT_NOTHING)
		session_run(session);
	return ERR_NONE;
}

/* With the keeper go its files: whatever was not delivered is not. */
void deliver_keeper_lost(struct session *session)
{
	struct lmtp_session *lmtp = session->lmtp;
	bool file = session->await == AWAIT_FILE;
	if (!lmtp->begun)
		return;
	close_file(session);
	be_forgotten(session);
	if (lmtp->committed)
		judge_rest(lmtp, LMTP_TROUBLE);
	else
		lmtp_server_fail(&lmtp->machine, LMTP_TROUBLE);
	if (file)
		lmtp_server_data(&lmtp->machine, LMTP_TROUBLE);
	if (file || session->await == AWAIT_DELIVERY) {
		session->await = AWAIT_NOTHING;
		session_run(session);
	}
}
