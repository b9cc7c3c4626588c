/* SPDX-License-Identifier: MIT */
/*
 * What a session asks of auth and keeper, and what they answer. Runs in the
 * worker. Their answers are checked before use: a listing is read within its bounds, a message
 * that does not match it is not sent.
 */
#include "server/worker.h"

#include "base/fd.h"
#include "base/secret.h"
#include "ipc/blob.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* --- asking --- */

/* Sends a login request with its secret tail, and wipes what is ours of it. */
static bool ask_auth(struct session *session, enum ipc_type type, const struct ipc_auth_begin *begin,
                     struct span tail)
{
	if (!session->worker->auth) {
		pop_server_not_logged_in(&session->machine, ERR_IO);
		return true;
	}
	session->await = AWAIT_AUTH;
	link_send(session->worker->auth, type, session->id, begin, tail, NULL, 0);
	return false;
}

static void wipe(struct span secret)
{
	if (secret.len)
		secret_wipe((char *)(uintptr_t)secret.ptr, secret.len);
}

bool mail_login(struct session *session)
{
	const struct pop_ask *ask = &session->machine.ask;
	struct ipc_auth_begin begin = {.method = IPC_AUTH_PASSWORD, .tls = session->conn.ssl != NULL};
	char tail[2 * POP_COMMAND_MAX];
	(void)snprintf(begin.address, sizeof begin.address, "%s", session->address);
	memcpy(tail, ask->user.ptr, ask->user.len);
	tail[ask->user.len] = '\0';
	memcpy(tail + ask->user.len + 1, ask->secret.ptr, ask->secret.len);
	struct span all = span_of(tail, ask->user.len + 1 + ask->secret.len);
	wipe(ask->secret);
	bool answered = ask_auth(session, IPC_AUTH_BEGIN, &begin, all);
	wipe(all);
	return answered;
}

bool mail_sasl(struct session *session)
{
	const struct pop_ask *ask = &session->machine.ask;
	struct ipc_auth_begin begin = {.method = IPC_AUTH_SASL, .tls = session->conn.ssl != NULL};
	bool first = ask->mechanism.len > 0;
	begin.has_initial = ask->has_initial;
	(void)snprintf(begin.address, sizeof begin.address, "%s", session->address);
	(void)span_to_text(ask->mechanism, begin.mechanism, sizeof begin.mechanism);
	bool answered =
	    ask_auth(session, first ? IPC_AUTH_BEGIN : IPC_AUTH_STEP, first ? &begin : NULL, ask->secret);
	wipe(ask->secret);
	return answered;
}

void mail_cancel(struct session *session)
{
	if (session->worker->auth)
		link_send(session->worker->auth, IPC_AUTH_CANCEL, session->id, NULL, SPAN(""), NULL, 0);
}

bool mail_listing(struct session *session)
{
	session->await = AWAIT_LISTING;
	link_send(session->worker->keeper, IPC_DROP_LISTING, session->id, NULL, SPAN(""), NULL, 0);
	return false;
}

bool mail_marks(struct session *session)
{
	session->marks = calloc(1, (session->machine.listing.count + 7u) / 8);
	if (session->marks)
		pop_server_marks(&session->machine, session->marks);
	return session->marks != NULL;
}

bool mail_commit(struct session *session)
{
	const struct pop_server *machine = &session->machine;
	struct ipc_drop_commit ask = {.count = machine->marked, .total = machine->listing.count};
	struct span bitmap = span_of((const char *)session->marks, ask.count ? (ask.total + 7u) / 8 : 0);
	int fd = -1;
	if (bitmap.len > IPC_TAIL_MAX && blob_copy("deletions", bitmap, &fd) != ERR_NONE) {
		pop_server_committed(&session->machine, ERR_NOMEM, 0);
		return true;
	}
	session->await = AWAIT_COMMIT;
	link_send(session->worker->keeper, IPC_DROP_COMMIT, session->id, &ask, fd < 0 ? bitmap : SPAN(""),
	          &fd, fd < 0 ? 0 : 1);
	return false;
}

void mail_release(struct session *session)
{
	struct worker *worker = session->worker;
	if (worker->auth && session->await == AWAIT_AUTH)
		link_send(worker->auth, IPC_AUTH_CANCEL, session->id, NULL, SPAN(""), NULL, 0);
	if (worker->keeper && (session->opened || session->await == AWAIT_OPEN))
		link_send(worker->keeper, IPC_DROP_CLOSE, session->id, NULL, SPAN(""), NULL, 0);
	session->opened = false;
	session->await = AWAIT_NOTHING;
	body_release(session);
	listing_leave(session->worker, session->long_listing);
	free(session->listing);
	free(session->marks);
	free(session->user);
	session->long_listing = NULL;
	session->listing = NULL;
	session->marks = NULL;
	session->user = NULL;
}

/* --- answers of auth --- */

static int auth_ok(struct session *session, const struct ipc_auth_ok *ok)
{
	struct worker *worker = session->worker;
	free(session->user);
	session->user = strndup(ok->ticket.account, sizeof ok->ticket.account);
	if (!worker->keeper || !session->user) {
		pop_server_not_logged_in(&session->machine, ERR_IO);
		return ERR_NONE;
	}
	struct ipc_drop_open open = {.ticket = ok->ticket, .network = session->network};
	session->await = AWAIT_OPEN;
	link_send(worker->keeper, IPC_DROP_OPEN, session->id, &open, SPAN(""), NULL, 0);
	return ERR_NONE;
}

int mail_auth(struct session *session, struct ipc_in *in)
{
	if (session->await != AWAIT_AUTH)
		return ERR_PEER;
	session->await = AWAIT_NOTHING;
	struct pop_output out = {session->worker->out, 0, POP_AUTH_LINE_MAX};
	switch (in->type) {
	case IPC_AUTH_OK:
		(void)auth_ok(session, in->fixed);
		break;
	case IPC_AUTH_FAIL:
		pop_server_not_logged_in(&session->machine, ((const struct ipc_auth_fail *)in->fixed)->err);
		break;
	case IPC_AUTH_CHALLENGE:
		if (pop_server_challenge(&session->machine, in->tail, &out) != ERR_NONE ||
		    buf_add(&session->out, span_of(out.ptr, out.len)) != ERR_NONE) {
			session_end(session, "challenge too long");
			return ERR_NONE;
		}
		break;
	default:
		return ERR_PEER;
	}
	session_run(session);
	return ERR_NONE;
}

/* --- answers of the keeper --- */

/* Brings a long listing into the session. */
static int take_long(struct session *session, const struct ipc_in *in, uint64_t id, uint64_t octets,
                     struct pop_listing *listing)
{
	int err = listing_take(session->worker, id, in->fds[0], octets, &session->long_listing);
	return err ? err : pop_listing_open(span_of(session->long_listing->map, octets), listing);
}

/* A copy of a tail. */
static int take_short(struct session *session, struct span tail, struct pop_listing *listing)
{
	session->listing = malloc(tail.len);
	if (!session->listing)
		return ERR_NOMEM;
	memcpy(session->listing, tail.ptr, tail.len);
	return pop_listing_open(span_of(session->listing, tail.len), listing);
}

static void log_login(const struct session *session)
{
	char tls[64];
	struct log_line line;
	conn_describe(&session->conn, tls, sizeof tls);
	log_begin(&line, LOG_INFO, "login");
	log_num(&line, "session", session->id);
	log_text(&line, "user", session->user);
	log_text(&line, "addr", session->address);
	log_text(&line, "tls", tls);
	log_num(&line, "messages", session->machine.listing.count);
	log_num(&line, "octets", session->machine.octets);
	log_end(&line);
}

static int drop_opened(struct session *session, struct ipc_in *in)
{
	const struct ipc_drop_opened *opened = in->fixed;
	struct pop_listing listing = {.count = opened->count, .total = opened->octets};
	session->opened = true;
	int err = ERR_NONE;
	if (in->fd_count)
		err = take_long(session, in, opened->listing_id, opened->listing_octets, &listing);
	else if (in->tail.len)
		err = take_short(session, in->tail, &listing);
	if (err == ERR_PEER)
		return err;
	if (err) {
		session_end(session, "out of memory");
		return ERR_NONE;
	}
	pop_server_logged_in(&session->machine, &listing);
	limit_leave(session);
	log_login(session);
	session_run(session);
	return ERR_NONE;
}

static int drop_listed(struct session *session, struct ipc_in *in)
{
	const struct ipc_drop_listed *listed = in->fixed;
	struct pop_listing listing = session->machine.listing;
	int err = listed->err;
	if (err == ERR_NONE) {
		err = take_long(session, in, listed->listing_id, listed->listing_octets, &listing);
		if (err == ERR_PEER)
			return err;
	}
	if (err)
		pop_server_not_listed(&session->machine);
	else
		pop_server_listed(&session->machine, &listing);
	session_run(session);
	return ERR_NONE;
}

static int drop_recalled(struct session *session)
{
	struct link *link = session->worker->keeper;
	uint64_t id = session->id;
	if (!session->opened && session->await != AWAIT_OPEN)
		return ERR_PEER;
	if (session_keeps(session))
		link_send(link, IPC_DROP_KEEP, id, NULL, SPAN(""), NULL, 0);
	return ERR_NONE;
}

int mail_keeper(struct session *session, struct ipc_in *in)
{
	static const uint8_t awaited[IPC_TYPES] = {
	    [IPC_DROP_OPENED] = AWAIT_OPEN,
	    [IPC_DROP_FAILED] = AWAIT_OPEN,
	    [IPC_DROP_LISTED] = AWAIT_LISTING,
	    [IPC_DROP_COMMITTED] = AWAIT_COMMIT,
	};
	if (in->type == IPC_DROP_RECALL)
		return drop_recalled(session);
	if (session->await == AWAIT_NOTHING || session->await != awaited[in->type])
		return ERR_PEER;
	session->await = AWAIT_NOTHING;
	if (in->type == IPC_DROP_OPENED)
		return drop_opened(session, in);
	if (in->type == IPC_DROP_LISTED)
		return drop_listed(session, in);
	if (in->type == IPC_DROP_FAILED) {
		pop_server_not_logged_in(&session->machine, ((const struct ipc_drop_failed *)in->fixed)->err);
	} else {
		const struct ipc_drop_committed *done = in->fixed;
		session->opened = false;
		pop_server_committed(&session->machine, done->err, done->removed);
	}
	session_run(session);
	return ERR_NONE;
}

/* --- links that are gone --- */

/* Auth is gone: logins under way get a temporary failure; sessions that are in go on. */
void mail_auth_lost(struct session *session)
{
	if (session->await != AWAIT_AUTH)
		return;
	session->await = AWAIT_NOTHING;
	pop_server_not_logged_in(&session->machine, ERR_IO);
	session_run(session);
}

/* The keeper is gone, and with it the locks: what held a maildrop ends without update. */
void mail_keeper_lost(struct session *session)
{
	bool opening = session->await == AWAIT_OPEN;
	if (!opening && !session->opened)
		return;
	session->opened = false;
	session->await = AWAIT_NOTHING;
	if (!opening) {
		session_end(session, "keeper lost");
		return;
	}
	pop_server_not_logged_in(&session->machine, ERR_IO);
	session_run(session);
}
