/* SPDX-License-Identifier: MIT */
/*
 * What workers ask of auth: the exchanges of each worker, which message is in turn in
 * them, and the answers. Runs in auth. A worker may have been taken over: what it
 * sends is well-formed (ipc/channel saw to that) but else as hostile as the network.
 */
#include "server/auth.h"

#include "base/time.h"
#include "log/log.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct auth_peer {
	struct link *link; /* NULL: not listened to yet */
	struct auth *auth;
	uint32_t id;
	int fd; /* what the link takes over */
	struct auth_peer *next, **at;
	uint32_t count; /* of exchanges */
	struct auth_exchange *buckets[AUTH_BUCKETS];
};

/* --- exchanges --- */

struct auth *auth_of(const struct auth_exchange *exchange)
{
	return exchange->peer->auth;
}

/* The place of the session's exchange in its bucket: that of a NULL when there is none. */
static struct auth_exchange **find_place(struct auth_peer *peer, uint64_t session)
{
	struct auth_exchange **place = &peer->buckets[session % AUTH_BUCKETS];
	while (*place && (*place)->session != session)
		place = &(*place)->next;
	return place;
}

static void free_exchange(struct auth_exchange *exchange)
{
	*find_place(exchange->peer, exchange->session) = exchange->next;
	exchange->peer->count--;
	auth_forget(exchange->check);
	sasl_end(exchange->sasl);
	free(exchange);
}

static struct auth_exchange *new_exchange(struct auth_peer *peer, uint64_t session,
                                          const struct ipc_auth_begin *begin)
{
	struct auth_exchange *exchange = peer->count < AUTH_EXCHANGES_MAX ? malloc(sizeof *exchange) : NULL;
	if (!exchange)
		return NULL;
	*exchange = (struct auth_exchange){
	    .peer = peer, .session = session, .state = IPC_WHEN_WORKING, .begin = *begin};
	*find_place(peer, session) = exchange;
	peer->count++;
	return exchange;
}

/* --- answers --- */

static void send_refusal(struct auth_peer *peer, uint64_t session, int err)
{
	struct ipc_auth_fail fail = {.err = err};
	link_send(peer->link, IPC_AUTH_FAIL, session, &fail, SPAN(""), NULL, 0);
}

void auth_refuse(struct auth_exchange *exchange, int err)
{
	send_refusal(exchange->peer, exchange->session, err);
	free_exchange(exchange);
}

/* Completes, seals and sends a ticket, in which purpose and quota are set; an error is sent instead. */
static void send_ticket(struct auth_peer *peer, uint64_t session, struct ticket *ticket, const char *account,
                        const char *location)
{
	struct auth *auth = peer->auth;
	ticket->nonce = ++auth->nonce;
	ticket->expires_ms = time_mono_ms() + TICKET_LIFE_MS;
	ticket->session = session;
	ticket->worker = peer->id;
	ticket->epoch = auth->key.epoch;
	ticket->uid = ticket->gid = UINT32_MAX;
	bool fits = span_to_text(span_str(account), ticket->account, sizeof ticket->account) &&
	            span_to_text(span_str(location), ticket->location, sizeof ticket->location);
	int err = fits ? ticket_seal(ticket, auth->key.key) : ERR_FULL;
	if (err) {
		log_note(LOG_ERROR, "no ticket for account %s: %s", account, err_text(err));
		send_refusal(peer, session, ERR_IO);
		return;
	}
	const struct ipc_auth_ok ok = {.ticket = *ticket};
	link_send(peer->link, IPC_AUTH_OK, session, &ok, SPAN(""), NULL, 0);
}

void auth_grant(struct auth_exchange *exchange, const char *account, const char *location)
{
	struct ticket ticket = {.purpose = TICKET_SESSION};
	send_ticket(exchange->peer, exchange->session, &ticket, account, location);
	free_exchange(exchange);
}

void auth_log_failure(const struct auth_exchange *exchange, struct span name, const char *reason)
{
	struct log_line line;
	log_begin(&line, LOG_INFO, "login-failed");
	log_num(&line, "worker", exchange->peer->id);
	log_num(&line, "session", exchange->session);
	log_span(&line, "user", name);
	log_text(&line, "addr", exchange->begin.address);
	log_num(&line, "tls", exchange->begin.tls);
	log_text(&line, "mechanism", exchange->sasl ? exchange->begin.mechanism : "PASS");
	log_text(&line, "reason", reason);
	log_end(&line);
}

/* --- questions --- */

/* Somebody may act as himself only (RFC 4422 section 3.4.1 leaves more to the server). */
static void check_credentials(struct auth_exchange *exchange)
{
	struct span authcid = sasl_authcid(exchange->sasl), authzid = sasl_authzid(exchange->sasl);
	char self[ACCT_NAME_MAX + 1], other[ACCT_NAME_MAX + 1];
	bool same = authzid.len == 0 || span_equal(authzid, authcid) ||
	            (acct_name_fold(authcid, self) == ERR_NONE &&
	             acct_name_fold(authzid, other) == ERR_NONE && strcmp(self, other) == 0);
	if (!same) {
		auth_log_failure(exchange, authcid, "asks to act as somebody else");
		auth_refuse(exchange, ERR_CREDENTIALS);
		return;
	}
	auth_check(exchange, authcid, secret_reveal(sasl_password(exchange->sasl)));
}

static void step(struct auth_exchange *exchange, bool has_response, struct span response)
{
	struct buf challenge;
	enum sasl_state state = SASL_BAD;
	buf_init(&challenge, IPC_AUTH_TAIL_MAX);
	int err = sasl_step(exchange->sasl, has_response, response, &challenge, &state);
	if (err) {
		auth_refuse(exchange, err);
	} else if (state == SASL_CHALLENGE) {
		exchange->state = IPC_WHEN_WAITING;
		link_send(exchange->peer->link, IPC_AUTH_CHALLENGE, exchange->session, NULL,
		          buf_span(&challenge), NULL, 0);
	} else if (state == SASL_CHECK) {
		exchange->state = IPC_WHEN_WORKING;
		check_credentials(exchange);
	} else {
		auth_log_failure(exchange, SPAN(""), "not what the mechanism expects");
		auth_refuse(exchange, ERR_SYNTAX);
	}
	buf_finish(&challenge);
}

static int begin(struct auth_peer *peer, const struct ipc_in *in)
{
	const struct ipc_auth_begin *begin = in->fixed;
	struct span password = in->tail, name = span_cut(&password, '\0');
	bool with_password = begin->method == IPC_AUTH_PASSWORD;
	if (with_password ? name.len == in->tail.len : begin->method != IPC_AUTH_SASL) {
		peer->link->why = with_password ? "no password" : "no such method";
		return ERR_PEER;
	}
	struct auth_exchange *exchange = new_exchange(peer, in->session, begin);
	if (!exchange) {
		send_refusal(peer, in->session, ERR_FULL);
		return ERR_NONE;
	}
	if (with_password) {
		auth_check(exchange, name, password);
		return ERR_NONE;
	}
	int err = sasl_begin(peer->auth->sasl, begin->mechanism, &exchange->sasl);
	if (err)
		auth_refuse(exchange, err);
	else
		step(exchange, begin->has_initial, in->tail);
	return ERR_NONE;
}

static uint64_t quota_or_default(uint64_t own, uint64_t configured)
{
	return own == ACCT_QUOTA_DEFAULT ? configured : own;
}

static int look_up(struct auth_peer *peer, const struct ipc_in *in)
{
	struct auth *auth = peer->auth;
	struct acct_row row = {0};
	char location[ACCT_LOCATION_MAX];
	if (!auth->setup.lmtp) {
		peer->link->why = "looks up a recipient where no mail comes in";
		return ERR_PEER;
	}
	int err = auth_find_recipient(auth, in->tail, &row);
	if (!err)
		err = auth_locate(auth, &row, location);
	if (err) {
		send_refusal(peer, in->session, err);
	} else {
		struct ticket ticket = {
		    .purpose = TICKET_DELIVERY,
		    .quota_octets = quota_or_default(row.quota_octets, auth->setup.quota_octets),
		    .quota_messages = quota_or_default(row.quota_messages, auth->setup.quota_messages),
		};
		send_ticket(peer, in->session, &ticket, row.name, location);
	}
	secret_wipe(&row, sizeof row);
	return ERR_NONE;
}

static int handle_message(struct link *link, struct ipc_in *in)
{
	struct auth_peer *peer = link->owner;
	struct auth_exchange *exchange = *find_place(peer, in->session);
	int err = ipc_in_turn(in->type, exchange ? exchange->state : IPC_WHEN_ABSENT);
	if (err)
		return err;
	if (in->type == IPC_AUTH_BEGIN)
		return begin(peer, in);
	if (in->type == IPC_AUTH_LOOKUP)
		return look_up(peer, in);
	if (in->type == IPC_AUTH_STEP)
		step(exchange, true, in->tail);
	else if (exchange) /* AUTH_CANCEL, which may have crossed the answer */
		free_exchange(exchange);
	return ERR_NONE;
}

/* --- workers --- */

static void free_peer(struct auth_peer *peer)
{
	for (size_t i = 0; i < AUTH_BUCKETS; i++)
		while (peer->buckets[i])
			free_exchange(peer->buckets[i]);
	*peer->at = peer->next;
	if (peer->next)
		peer->next->at = peer->at;
	if (!peer->link)
		(void)close(peer->fd);
	link_free(peer->link);
	free(peer);
}

static void handle_gone(struct link *link, int err, const char *why)
{
	struct auth_peer *peer = link->owner;
	if (err != ERR_CLOSED)
		child_report_fault(peer->auth->child, IPC_WORKER, peer->id,
		                   why ? why : "does not read its answers");
	free_peer(peer);
}

static const struct link_ops peer_ops = {.message = handle_message, .gone = handle_gone};

static int listen_to(struct auth_peer *peer)
{
	peer->link = malloc(sizeof *peer->link);
	int err = peer->link ? link_open(peer->link, peer->auth->child->loop, peer->fd, IPC_AUTH, IPC_WORKER,
	                                 peer->id, &peer_ops, peer)
	                     : ERR_NOMEM;
	if (err)
		free_peer(peer);
	return err;
}

int auth_add_peer(struct auth *auth, uint32_t id, int fd)
{
	struct auth_peer *peer = calloc(1, sizeof *peer);
	if (!peer) {
		(void)close(fd);
		return ERR_NOMEM;
	}
	*peer = (struct auth_peer){.auth = auth, .id = id, .fd = fd, .next = auth->peers, .at = &auth->peers};
	if (peer->next)
		peer->next->at = &peer->next;
	auth->peers = peer;
	return auth->serving ? listen_to(peer) : ERR_NONE;
}

int auth_serve(struct auth *auth)
{
	int err = ERR_NONE;
	struct auth_peer *next;
	auth->serving = true;
	for (struct auth_peer *peer = auth->peers; peer && !err; peer = next) {
		next = peer->next;
		err = listen_to(peer);
	}
	return err;
}

void auth_drop_peers(struct auth *auth)
{
	while (auth->peers)
		free_peer(auth->peers);
}
