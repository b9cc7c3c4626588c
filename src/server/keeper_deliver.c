/* SPDX-License-Identifier: MIT */
/*
 * Mail comes in: a worker names recipients by tickets, gets a file to fill, and hears of each recipient
 * when the message is in his maildrop, durably. Runs in the keeper's loop; the disk is for libuv's threads,
 * of which a delivery has at most one at a time. Requests come from workers, which may have been taken over;
 * their form and turn were checked. What is in the file is nobody's word at all.
 */
#include "drop/deliver.h"

#include "base/time.h"
#include "server/keeper.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct recipient {
	char *location;
	struct drop_quota quota;
	int err; /* found before anything was tried */
};

struct delivery {
	uv_work_t work; /* in a thread when `working` */
	struct keeper_session *session;
	struct drop_incoming *incoming; /* the file; NULL: none yet */
	bool working;                   /* an answer is owed */
	uint32_t count, room;
	uint32_t next; /* the recipient whose turn it is */
	struct recipient *recipients;
	/* of the job in the thread: */
	int err;
	int fd; /* of the file, for the worker; -1 for none */
	struct drop_delivered delivered;
	struct error error;
};

enum ipc_when keeper_deliver_when(const struct keeper_session *session)
{
	const struct delivery *delivery = session->delivery;
	if (delivery->working)
		return IPC_WHEN_DELIVERING;
	return delivery->incoming ? IPC_WHEN_FILLING : IPC_WHEN_GATHERING;
}

/* --- the end --- */

static void free_delivery(struct delivery *delivery)
{
	for (uint32_t i = 0; i < delivery->count; i++)
		free(delivery->recipients[i].location);
	free(delivery->recipients);
	free(delivery->session);
	free(delivery);
}

static void remove_in_thread(uv_work_t *work)
{
	struct delivery *delivery = work->data;
	drop_incoming_end(delivery->incoming);
}

static void removed(uv_work_t *work, int status)
{
	struct delivery *delivery = work->data;
	struct keeper *keeper = delivery->session->keeper;
	(void)status; /* never cancelled */
	keeper->deliveries--;
	free_delivery(delivery);
	keeper_finished(keeper);
}

/* No worker knows of it any more. */
static void finish(struct delivery *delivery)
{
	struct keeper_session *session = delivery->session;
	if (session->peer) {
		session->peer->deliveries--;
		keeper_take(session);
	}
	if (!delivery->incoming) {
		free_delivery(delivery);
		return;
	}
	session->keeper->unfinished++; /* what is temporary does not outlive us */
	if (uv_queue_work(session->keeper->child->loop, &delivery->work, remove_in_thread, removed) != 0) {
		remove_in_thread(&delivery->work);
		removed(&delivery->work, 0);
	}
}

void keeper_deliver_end(struct keeper_session *session)
{
	struct delivery *delivery = session->delivery;
	if (!delivery->working) {
		finish(delivery);
		return;
	}
	session->peer->deliveries--; /* the rest when the disk has done what it is at */
	keeper_take(session);
}

/* --- recipients --- */

static struct keeper_session *new_delivery(struct keeper_peer *peer, uint64_t id, const struct ticket *ticket)
{
	struct delivery *delivery = calloc(1, sizeof *delivery);
	struct keeper_session *session = delivery ? keeper_add(peer, id, ticket->account) : NULL;
	if (!session) {
		free(delivery);
		return NULL;
	}
	delivery->work.data = delivery;
	delivery->session = session;
	delivery->fd = -1;
	session->delivery = delivery;
	peer->deliveries++;
	return session;
}

static int add_recipient(struct delivery *delivery, const struct ticket *ticket, int err)
{
	if (delivery->count == delivery->room) {
		uint32_t room = delivery->room ? 2 * delivery->room : 1;
		struct recipient *larger = realloc(delivery->recipients, room * sizeof *larger);
		if (!larger)
			return ERR_NOMEM;
		delivery->recipients = larger;
		delivery->room = room;
	}
	struct recipient *recipient = &delivery->recipients[delivery->count];
	*recipient = (struct recipient){
	    .location = strndup(ticket->location, sizeof ticket->location),
	    .quota = {.octets = ticket->quota_octets, .messages = ticket->quota_messages},
	    .err = err,
	};
	if (!recipient->location)
		return ERR_NOMEM;
	delivery->count++;
	return ERR_NONE;
}

static int refuse(const char **why, const char *reason)
{
	*why = reason;
	return ERR_PEER;
}

int keeper_deliver_to(struct keeper_peer *peer, struct keeper_session *session, const struct ipc_in *in,
                      const char **why)
{
	const struct ticket *ticket = &((const struct ipc_deliver_to *)in->fixed)->ticket;
	struct keeper *keeper = peer->keeper;
	int err = keeper_tickets_use(&keeper->tickets, ticket, TICKET_DELIVERY, peer->id, in->session,
	                             time_mono_ms(), why);
	if (err == ERR_PEER)
		return err;
	if (!session && peer->deliveries == IPC_DELIVERIES_MAX)
		return refuse(why, "too many deliveries at once");
	if (session && session->delivery->count == IPC_RECIPIENTS_MAX)
		return refuse(why, "too many recipients");
	if (!err)
		err = keeper_check_owner(ticket);
	if (!session)
		session = new_delivery(peer, in->session, ticket);
	/* A recipient that is not noted would shift the answers of the others: rather lose the worker. */
	return session ? add_recipient(session->delivery, ticket, err) : ERR_NOMEM;
}

/* --- the file --- */

/* On the file system of the first recipient who can be delivered to at all. */
static void begin_in_thread(uv_work_t *work)
{
	struct delivery *delivery = work->data;
	const struct drop_root *root = &delivery->session->keeper->root;
	delivery->err = ERR_NOTFOUND;
	for (uint32_t i = 0; i < delivery->count && !delivery->incoming; i++) {
		struct recipient *recipient = &delivery->recipients[i];
		if (!recipient->err)
			recipient->err = drop_incoming_begin(root, recipient->location, &delivery->incoming,
			                                     &delivery->error);
		delivery->err = recipient->err;
	}
	if (delivery->incoming)
		delivery->err = drop_incoming_lend(delivery->incoming, &delivery->fd);
}

static void send_file(struct delivery *delivery, int err)
{
	const struct keeper_session *session = delivery->session;
	struct ipc_deliver_file file = {.err = err};
	link_send(session->peer->link, IPC_DELIVER_FILE, session->id, &file, SPAN(""), &delivery->fd,
	          delivery->fd >= 0);
	if (err)
		finish(delivery);
}

static void log_failure(const struct delivery *delivery, const char *location, int err)
{
	struct log_line line;
	keeper_log(&line, err == ERR_QUOTA ? LOG_INFO : LOG_ERROR, "deliver-failed", delivery->session);
	log_text(&line, "maildrop", location);
	log_err(&line, "result", err);
	log_text(&line, "text", delivery->error.text);
	log_end(&line);
}

static void begun(uv_work_t *work, int status)
{
	struct delivery *delivery = work->data;
	struct keeper *keeper = delivery->session->keeper;
	(void)status;
	delivery->working = false;
	if (!delivery->incoming)
		keeper->deliveries--;
	if (delivery->err)
		log_failure(delivery, delivery->recipients[delivery->count - 1].location, delivery->err);
	if (delivery->session->peer && !keeper->stopping) {
		send_file(delivery, delivery->err);
	} else {
		if (delivery->fd >= 0)
			(void)close(delivery->fd);
		finish(delivery);
	}
	keeper_finished(keeper);
}

void keeper_deliver_begin(struct keeper_session *session)
{
	struct delivery *delivery = session->delivery;
	struct keeper *keeper = session->keeper;
	if (keeper->deliveries >= keeper->setup.max_deliveries) {
		log_note(LOG_WARNING, "%u messages are on their way in: no more; see keeper.max_deliveries",
		         keeper->deliveries);
		send_file(delivery, ERR_FULL);
	} else if (uv_queue_work(keeper->child->loop, &delivery->work, begin_in_thread, begun) != 0) {
		send_file(delivery, ERR_NOMEM);
	} else {
		delivery->working = true;
		keeper->deliveries++;
		keeper->unfinished++;
	}
}

/* --- delivering --- */

static void deliver_in_thread(uv_work_t *work)
{
	struct delivery *delivery = work->data;
	const struct recipient *recipient = &delivery->recipients[delivery->next];
	delivery->err = recipient->err;
	if (!delivery->err)
		delivery->err =
		    drop_deliver(&delivery->session->keeper->root, delivery->incoming, recipient->location,
		                 &recipient->quota, &delivery->delivered, &delivery->error);
}

static void delivered(uv_work_t *work, int status);

/* The next recipient. False: there is none any more, or nobody who wants to know. */
static bool go_on(struct delivery *delivery)
{
	struct keeper_session *session = delivery->session;
	if (!session->peer || delivery->next == delivery->count)
		return false;
	delivery->error.text[0] = '\0';
	delivery->delivered = (struct drop_delivered){.raw = 0};
	return uv_queue_work(session->keeper->child->loop, &delivery->work, deliver_in_thread, delivered) ==
	       0;
}

static void delivered(uv_work_t *work, int status)
{
	struct delivery *delivery = work->data;
	struct keeper_session *session = delivery->session;
	struct keeper *keeper = session->keeper;
	struct ipc_delivered answer = {
	    .recipient = delivery->next, .err = delivery->err, .raw = delivery->delivered.raw};
	(void)status;
	if (delivery->err)
		log_failure(delivery, delivery->recipients[delivery->next].location, delivery->err);
	delivery->next++;
	if (session->peer)
		link_send(session->peer->link, IPC_DELIVERED, session->id, &answer, SPAN(""), NULL, 0);
	if (go_on(delivery))
		return;
	for (; session->peer && delivery->next < delivery->count;
	     delivery->next++) { /* no memory for a job */
		answer = (struct ipc_delivered){.recipient = delivery->next, .err = ERR_NOMEM};
		link_send(session->peer->link, IPC_DELIVERED, session->id, &answer, SPAN(""), NULL, 0);
	}
	finish(delivery);
	keeper_finished(keeper);
}

/* A file larger than any message may be is none that an honest worker filled. */
static bool is_too_large(const struct delivery *delivery)
{
	uint64_t most = delivery->session->keeper->setup.message_max;
	struct stat what;
	return most && (fstat(drop_incoming_fd(delivery->incoming), &what) != 0 ||
	                (uint64_t)what.st_size > most + IPC_MESSAGE_EXTRA);
}

int keeper_deliver_commit(struct keeper_session *session, const char **why)
{
	struct delivery *delivery = session->delivery;
	if (is_too_large(delivery))
		return refuse(why, "a message larger than any may be");
	delivery->working = true;
	session->keeper->unfinished++;
	if (!go_on(delivery)) {
		delivery->err = ERR_NOMEM;
		delivered(&delivery->work, 0);
	}
	return ERR_NONE;
}
