/* SPDX-License-Identifier: MIT */
/*
 * Opening maildrops for sessions, and their listings. Runs in the keeper's loop; what has to wait for the
 * disk runs in libuv's threads, where it touches its job and that job's maildrop only. Requests come from
 * workers, which may have been taken over; their form and turn were checked, tickets are checked here.
 *
 * A short listing goes with the answer. A long one is made when a session first needs it, so that those which
 * only ask how many messages there are cost no more in a long maildrop than in a short one; then it is kept
 * (keeper_listing.c).
 */
#include "server/keeper.h"

#include "base/time.h"
#include "ipc/blob.h"
#include "log/log.h"
#include "pop/listing.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	TAIL_MESSAGES_MAX = 400, /* whose listing is read at once, and mostly fits a tail */
	INDEXING_LONG = 10000,   /* messages to be read that are worth a line in the log before they are */
	INDEXING_LOG_MS = 5000,  /* from one such line to the next */
};

struct opening {
	struct keeper_job job;
	const char *location; /* of the session's place, which stays as long as it */
	int err;
	struct drop *drop;
	struct drop_report report;
	uint32_t count;     /* what the session was told; 0 before */
	uint64_t octets;    /* likewise */
	char *block;        /* a listing for a tail, NULL: none */
	int blob;           /* one for a memory file, -1: none */
	bool long_lasting;  /* it is one of keeper->unfinished */
	uint64_t logged_ms; /* when its progress was last logged */
	uint64_t size;      /* of either */
};

/* Puts a listing where it can be sent from: *ret_block or *ret_blob. */
static int make_block(const struct pop_source *source, struct opening *opening)
{
	opening->size = pop_listing_size(source);
	if (source->count <= TAIL_MESSAGES_MAX && opening->size <= IPC_TAIL_MAX) {
		opening->block = malloc(opening->size);
		if (!opening->block)
			return ERR_NOMEM;
		pop_listing_make(source, opening->block);
		return ERR_NONE;
	}
	char *map;
	int err = blob_new("restante-listing", opening->size, &opening->blob, &map);
	if (err)
		return err;
	pop_listing_make(source, map);
	return blob_seal(opening->blob, map, opening->size);
}

static int make_listing(struct opening *opening, unsigned flags)
{
	struct drop_listing listing;
	int err = drop_listing(opening->drop, flags, &opening->report, &listing, &opening->job.error);
	if (err)
		return err;
	struct pop_source source = {drop_count(opening->drop), listing.octets, listing.uid_at, listing.uids};
	err = make_block(&source, opening);
	drop_listing_end(&listing);
	return err;
}

/* Forgets what was made, not the maildrop. */
static void drop_block(struct opening *opening)
{
	free(opening->block);
	if (opening->blob >= 0)
		(void)close(opening->blob);
	opening->block = NULL;
	opening->blob = -1;
}

/* --- open --- */

static int open_drop(struct opening *opening, unsigned flags)
{
	const struct keeper *keeper = opening->job.session->keeper;
	unsigned how = flags | (keeper->setup.shared ? DROP_SHARED : 0u);
	return drop_open(&keeper->root, opening->location, how, &opening->drop, &opening->report,
	                 &opening->job.error);
}

/* After the opening: the listing of a short maildrop. */
static void list_opened(struct opening *opening, unsigned flags)
{
	if (opening->err == ERR_NONE && drop_count(opening->drop) <= TAIL_MESSAGES_MAX)
		opening->err = make_listing(opening, flags);
	if (opening->err) {
		drop_block(opening);
		drop_close(opening->drop);
		opening->drop = NULL;
	}
}

static void log_opening(const struct keeper_session *session, const struct opening *opening)
{
	const struct drop_report *report = &opening->report;
	struct log_line line;
	if (opening->err) {
		keeper_log(&line, opening->err == ERR_BUSY ? LOG_INFO : LOG_ERROR, "open-failed", session);
		log_text(&line, "maildrop", opening->location);
		log_err(&line, "result", opening->err);
		log_text(&line, "text", opening->job.error.text);
		log_end(&line);
	} else if (report->rescanned) {
		bool odd = report->unreadable || report->hidden || report->unwritten;
		keeper_log(&line, odd ? LOG_WARNING : LOG_INFO, "index", session);
		log_text(&line, "maildrop", opening->location);
		log_num(&line, "messages", report->messages);
		log_num(&line, "read", report->read);
		log_num(&line, "unreadable", report->unreadable);
		log_num(&line, "skipped", report->skipped);
		log_num(&line, "hidden", report->hidden);
		log_num(&line, "unwritten", report->unwritten);
		log_end(&line);
	}
}

/* The listing in a memory file: the one just made, which is kept, or one that was. The descriptor is the
 * caller's. ERR_NOTFOUND: it has to be made. */
static int find_listing(struct keeper_session *session, struct opening *made, struct keeper_listing *ret)
{
	struct drop_identity identity;
	struct keeper_listings *listings = &session->keeper->listings;
	int err = drop_identify(session->drop, &identity);
	if (err || !made || made->blob < 0)
		return err ? err : keeper_listing_find(listings, &identity, ret);
	*ret = (struct keeper_listing){.identity = identity, .fd = made->blob, .octets = made->size};
	made->blob = -1;
	keeper_listing_keep(listings, ret);
	return ERR_NONE;
}

/* Sends the listing along if it is at hand. */
static void send_opened(struct keeper_session *session, struct opening *opening)
{
	struct keeper_listing listing = {.fd = -1};
	struct ipc_drop_opened opened = {.count = drop_count(session->drop),
	                                 .octets = drop_octets(session->drop),
	                                 .listing_octets = opening->size};
	struct span tail = {opening->block, opening->block ? opening->size : 0};
	if (!opening->block && find_listing(session, opening, &listing) == ERR_NONE) {
		opened.listing_octets = listing.octets;
		opened.listing_id = listing.id;
	}
	session->listed = listing.fd >= 0 || opening->block;
	keeper_send(session, IPC_DROP_OPENED, &opened, tail, &listing.fd, listing.fd >= 0);
}

static void send_failed(struct link *link, uint64_t session, int err)
{
	struct ipc_drop_failed failed = {.err = err};
	link_send(link, IPC_DROP_FAILED, session, &failed, SPAN(""), NULL, 0);
}

static void fail_opening(struct keeper_session *session, int err)
{
	struct link *link = session->peer->link;
	uint64_t id = session->id;
	keeper_end(session);
	send_failed(link, id, err);
}

void keeper_turn_away(struct keeper_session *session, int err)
{
	struct opening opening = {.location = keeper_place_location(session), .err = err, .blob = -1};
	error_set(&opening.job.error, "another session has it");
	log_opening(session, &opening);
	fail_opening(session, err);
}

static void finish_opening(struct keeper_session *session, struct opening *opening)
{
	session->drop = opening->drop;
	if (opening->err == ERR_BUSY && session->peer && keeper_ask_elders(session)) {
		drop_block(opening);
		return;
	}
	session->working = false;
	log_opening(session, opening);
	if (!session->peer) {
		keeper_end(session);
	} else if (opening->err) {
		fail_opening(session, opening->err);
	} else {
		send_opened(session, opening);
		keeper_place_changed(session->keeper, session->place);
	}
	drop_block(opening);
}

/* A step: ERR_AGAIN is the result when there are more to come. */
static void open_in_thread(uv_work_t *work)
{
	struct opening *opening = work->data;
	struct error *error = &opening->job.error;
	opening->err = ERR_NONE;
	if (!opening->drop)
		opening->err = open_drop(opening, DROP_STEPS);
	if (opening->err == ERR_NONE)
		opening->err = drop_prepare(opening->drop, &opening->report, error);
	if (opening->err != ERR_AGAIN)
		list_opened(opening, 0);
}

static void stop_in_thread(uv_work_t *work)
{
	struct opening *opening = work->data;
	opening->err = ERR_IO;
	error_set(&opening->job.error, "stopped; what was read so far is kept");
	drop_close(opening->drop);
	opening->drop = NULL;
}

static void log_progress(struct opening *opening)
{
	const struct drop_report *report = &opening->report;
	uint64_t now_ms = time_mono_ms();
	bool first = opening->logged_ms == 0 && report->messages - report->settled >= INDEXING_LONG;
	if (!first && (opening->logged_ms == 0 || now_ms < opening->logged_ms + INDEXING_LOG_MS))
		return;
	struct log_line line;
	keeper_log(&line, LOG_INFO, "indexing", opening->job.session);
	log_text(&line, "maildrop", opening->location);
	log_num(&line, "messages", report->messages);
	log_num(&line, "done", report->settled);
	log_end(&line);
	opening->logged_ms = now_ms;
}

static void open_done(uv_work_t *work, int status);

/* One step after the other, behind what others have asked of the threads meanwhile; to the end also when the
 * client is gone, for it will be back. */
static int queue_step(struct opening *opening)
{
	struct keeper *keeper = opening->job.session->keeper;
	if (!opening->long_lasting)
		keeper->unfinished++;
	opening->long_lasting = true;
	log_progress(opening);
	return keeper_queue(&opening->job, opening, keeper->stopping ? stop_in_thread : open_in_thread,
	                    open_done);
}

static void open_done(uv_work_t *work, int status)
{
	struct opening *opening = work->data;
	struct keeper *keeper = opening->job.session->keeper;
	(void)status; /* never cancelled */
	if (opening->err == ERR_AGAIN) {
		int err = queue_step(opening);
		if (err == ERR_NONE)
			return; /* a thread may be at it already: it is not ours to touch */
		opening->err = err;
	}
	finish_opening(opening->job.session, opening);
	if (opening->long_lasting)
		keeper_finished(keeper);
	free(opening);
}

/* Tries without waiting; what would have to wait goes to a thread. */
void keeper_try_open(struct keeper_session *session)
{
	struct opening opening = {
	    .job.session = session, .location = keeper_place_location(session), .blob = -1};
	opening.err = open_drop(&opening, DROP_NOWAIT);
	list_opened(&opening, DROP_NOWAIT);
	if (opening.err == ERR_AGAIN) {
		struct opening *job = malloc(sizeof *job);
		if (job) {
			*job = opening;
			if (keeper_queue(&job->job, job, open_in_thread, open_done) == ERR_NONE)
				return;
			free(job);
		}
		opening.err = ERR_NOMEM;
	}
	finish_opening(session, &opening);
}

int keeper_check_owner(const struct ticket *ticket)
{
	if (ticket->uid == (uint32_t)-1 || ticket->uid == geteuid())
		return ERR_NONE;
	log_note(LOG_ERROR, "the maildrop %s belongs to uid %u, and the keeper runs as %u", ticket->location,
	         ticket->uid, geteuid());
	return ERR_DENIED;
}

/* Whether an honest ticket can be served. */
static int check_opening(const struct keeper *keeper, const struct ticket *ticket)
{
	if (keeper->stopping)
		return ERR_IO;
	if (keeper->open >= keeper->setup.max_open) {
		log_note(LOG_WARNING,
		         "%u maildrops are open: no more; see keeper.max_open and the limit on open files",
		         keeper->open);
		return ERR_FULL;
	}
	return keeper_check_owner(ticket);
}

/* A maildrop that a session of ours has is not tried: the lock would say no more. */
static void begin_opening(struct keeper_session *session)
{
	session->working = true;
	int err = keeper_count_account(session) > session->keeper->setup.per_account ? ERR_BUSY : ERR_NONE;
	if (!err && !keeper_is_taken(session)) {
		keeper_try_open(session);
		return;
	}
	err = err ? err : keeper_wait(session);
	if (err)
		keeper_turn_away(session, err);
}

/* More than its share of one network: counted, or not. */
static int count_network(struct keeper *keeper, const struct network *network)
{
	uint32_t most = keeper->setup.per_network;
	uint32_t count = tally_add(&keeper->sessions_of, network);
	if (count == 0)
		return ERR_NOMEM;
	if (!most || count <= most)
		return ERR_NONE;
	tally_remove(&keeper->sessions_of, network);
	return ERR_CROWDED;
}

static int add_session(struct keeper_peer *peer, uint64_t id, const struct ipc_drop_open *open,
                       struct keeper_session **ret)
{
	struct keeper *keeper = peer->keeper;
	int err = count_network(keeper, &open->network);
	if (err)
		return err;
	struct keeper_session *session = keeper_add(peer, id, open->ticket.account);
	if (session && keeper_place_enter(session, open->ticket.location) == ERR_NONE) {
		session->network = open->network;
		keeper->open++;
		*ret = session;
		return ERR_NONE;
	}
	tally_remove(&keeper->sessions_of, &open->network);
	if (session) {
		keeper_take(session);
		free(session);
	}
	return ERR_NOMEM;
}

int keeper_open(struct keeper_peer *peer, const struct ipc_in *in, const char **why)
{
	struct keeper *keeper = peer->keeper;
	const struct ipc_drop_open *open = in->fixed;
	int err = keeper_tickets_use(&keeper->tickets, &open->ticket, TICKET_SESSION, peer->id, in->session,
	                             time_mono_ms(), why);
	if (err == ERR_PEER)
		return err;
	if (err == ERR_NONE)
		err = check_opening(keeper, &open->ticket);
	struct keeper_session *session;
	if (err == ERR_NONE)
		err = add_session(peer, in->session, open, &session);
	if (err)
		send_failed(peer->link, in->session, err);
	else
		begin_opening(session);
	return ERR_NONE;
}

/* --- listing --- */

/* `err`, or the listing, whose descriptor is sent away. */
static void send_listed(struct keeper_session *session, int err, const struct keeper_listing *listing)
{
	struct ipc_drop_listed listed = {.err = err};
	if (err == ERR_NONE) {
		listed.listing_octets = listing->octets;
		listed.listing_id = listing->id;
	}
	keeper_send(session, IPC_DROP_LISTED, &listed, SPAN(""), &listing->fd, err == ERR_NONE);
}

static void list_in_thread(uv_work_t *work)
{
	struct opening *opening = work->data;
	opening->err = make_listing(opening, 0);
	/* Made anew, it may know other messages than the session was told of. */
	if (opening->err == ERR_NONE &&
	    (drop_count(opening->drop) != opening->count || drop_octets(opening->drop) != opening->octets))
		opening->err = ERR_CHANGED;
}

static void log_listing(const struct keeper_session *session, const struct opening *opening)
{
	struct log_line line;
	if (opening->report.rescanned) {
		keeper_log(&line, LOG_WARNING, "index-renewed", session);
		log_num(&line, "messages", opening->report.messages);
		log_num(&line, "read", opening->report.read);
		log_end(&line);
	}
	if (opening->err) {
		keeper_log(&line, LOG_ERROR, "listing-failed", session);
		log_err(&line, "result", opening->err);
		log_text(&line, "text", opening->job.error.text);
		log_end(&line);
	}
}

static void list_done(uv_work_t *work, int status)
{
	struct opening *opening = work->data;
	struct keeper_session *session = opening->job.session;
	struct keeper_listing listing = {.fd = -1};
	(void)status;
	session->working = false;
	if (opening->err == ERR_NONE)
		opening->err = find_listing(session, opening, &listing);
	log_listing(session, opening);
	if (session->peer) {
		send_listed(session, opening->err, &listing);
	} else {
		if (listing.fd >= 0)
			(void)close(listing.fd);
		keeper_end(session);
	}
	drop_block(opening);
	free(opening);
}

int keeper_list(struct keeper_session *session, const char **why)
{
	struct keeper_listing listing;
	if (session->listed) {
		*why = "asks for its listing twice";
		return ERR_PEER;
	}
	session->listed = true;
	if (find_listing(session, NULL, &listing) == ERR_NONE) {
		send_listed(session, ERR_NONE, &listing);
		return ERR_NONE;
	}
	struct opening *job = calloc(1, sizeof *job);
	if (job) {
		*job = (struct opening){.job.session = session,
		                        .drop = session->drop,
		                        .blob = -1,
		                        .count = drop_count(session->drop),
		                        .octets = drop_octets(session->drop)};
		if (keeper_queue(&job->job, job, list_in_thread, list_done) == ERR_NONE)
			return ERR_NONE;
		session->working = false;
		free(job);
	}
	send_listed(session, ERR_NOMEM, &listing);
	return ERR_NONE;
}
