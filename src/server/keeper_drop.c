/* SPDX-License-Identifier: MIT */
/*
 * What the keeper does for a session: open, bodies, commit, close. Runs in the loop; what has to wait for the
 * disk runs in libuv's threads, where it touches its job and that job's maildrop only. Requests come
 * from workers, which may have been taken over; their form and turn were checked.
 */
#include "server/keeper.h"

#include "base/time.h"
#include "ipc/blob.h"
#include "log/log.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct opening {
	char location[TICKET_LOCATION_MAX];
	int err;
	struct drop *drop;
	struct drop_report report;
	int blob; /* a listing too long for a tail, -1 */
};

struct bodies {
	uint32_t count, done;
	uint32_t numbers[IPC_BODIES_MAX];
	struct ipc_body body[IPC_BODIES_MAX];
	int fds[IPC_FDS_MAX];
	unsigned fd_count;
};

struct commit {
	char *bitmap;
	size_t size;
	uint32_t removed;
	int err;
};

/* One request in a disk thread. */
struct job {
	uv_work_t work;
	struct keeper_session *session;
	struct error error;
	union {
		struct opening opening;
		struct bodies bodies;
		struct commit commit;
	};
};

static struct job *new_job(struct keeper_session *session)
{
	struct job *job = calloc(1, sizeof *job);
	if (job) {
		job->work.data = job;
		job->session = session;
	}
	return job;
}

/* The session is `working` until `after` is called. */
static int queue_job(struct job *job, uv_work_cb work, uv_after_work_cb after)
{
	job->session->working = true;
	return uv_queue_work(job->session->keeper->child->loop, &job->work, work, after) ? ERR_NOMEM
	                                                                                 : ERR_NONE;
}

static void send_to(const struct keeper_session *session, enum ipc_type type, const void *fixed,
                    struct span tail, const int *fds, unsigned fd_count)
{
	link_send(session->peer->link, type, session->id, fixed, tail, fds, fd_count);
}

static void begin_line(struct log_line *line, enum log_level level, const char *event,
                       const struct keeper_session *session)
{
	log_begin(line, level, event);
	log_num(line, "worker", session->worker);
	log_num(line, "session", session->id);
}

static void end_session(struct keeper_session *session)
{
	session->keeper->open--;
	if (session->peer)
		keeper_take(session);
	drop_close(session->drop);
	free(session);
}

void keeper_close(struct keeper_session *session)
{
	if (session->working)
		keeper_take(session);
	else
		end_session(session);
}

/* --- open --- */

/* A listing of more than a tail's length, in a memory file. */
static int copy_listing(struct drop *drop, int *ret_fd)
{
	int fd;
	char *map;
	uint64_t size = drop_listing_size(drop);
	int err = blob_new("restante-listing", size, &fd, &map);
	if (err)
		return err;
	err = drop_listing(drop, map);
	int sealed = blob_seal(fd, map, size);
	err = err ? err : sealed;
	if (err)
		(void)close(fd);
	else
		*ret_fd = fd;
	return err;
}

static void open_drop(const struct drop_root *root, struct opening *opening, unsigned flags,
                      struct error *error)
{
	opening->blob = -1;
	opening->err = drop_open(root, opening->location, flags, &opening->drop, &opening->report, error);
	if (opening->err || drop_listing_size(opening->drop) <= IPC_TAIL_MAX)
		return;
	opening->err = copy_listing(opening->drop, &opening->blob);
	if (opening->err) {
		error_set(error, "%s: listing: %s", opening->location, err_text(opening->err));
		drop_close(opening->drop);
		opening->drop = NULL;
	}
}

static void log_opening(const struct keeper_session *session, const struct opening *opening, const char *text)
{
	const struct drop_report *report = &opening->report;
	struct log_line line;
	if (opening->err) {
		begin_line(&line, opening->err == ERR_BUSY ? LOG_INFO : LOG_ERROR, "open-failed", session);
		log_text(&line, "maildrop", opening->location);
		log_err(&line, "result", opening->err);
		log_text(&line, "text", text);
		log_end(&line);
	} else if (report->rescanned) {
		bool odd = report->unreadable || report->hidden || report->unwritten;
		begin_line(&line, odd ? LOG_WARNING : LOG_INFO, "index", session);
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

static int send_opened(const struct keeper_session *session, int blob)
{
	static _Alignas(8) char listing[IPC_TAIL_MAX];
	struct ipc_drop_opened opened = {.count = drop_count(session->drop),
	                                 .listing_octets = drop_listing_size(session->drop)};
	struct span tail = {listing, 0};
	if (blob < 0) {
		int err = drop_listing(session->drop, listing);
		if (err)
			return err;
		tail.len = opened.listing_octets;
	}
	send_to(session, IPC_DROP_OPENED, &opened, tail, &blob, blob >= 0);
	return ERR_NONE;
}

static void send_failed(struct link *link, uint64_t session, int err)
{
	struct ipc_drop_failed failed = {.err = err};
	link_send(link, IPC_DROP_FAILED, session, &failed, SPAN(""), NULL, 0);
}

static void finish_opening(struct keeper_session *session, const struct opening *opening, const char *text)
{
	int err = opening->err;
	session->working = false;
	session->drop = opening->drop;
	log_opening(session, opening, text);
	if (!session->peer) {
		if (opening->blob >= 0)
			(void)close(opening->blob);
		end_session(session);
		return;
	}
	if (err == ERR_NONE)
		err = send_opened(session, opening->blob);
	if (err) {
		struct link *link = session->peer->link;
		uint64_t id = session->id;
		end_session(session);
		send_failed(link, id, err);
	}
}

static void open_in_thread(uv_work_t *work)
{
	struct job *job = work->data;
	open_drop(&job->session->keeper->root, &job->opening, 0, &job->error);
}

static void open_done(uv_work_t *work, int status)
{
	struct job *job = work->data;
	(void)status; /* never cancelled */
	finish_opening(job->session, &job->opening, job->error.text);
	free(job);
}

static void begin_opening(struct keeper_session *session, const struct ticket *ticket)
{
	struct error error = {""};
	static struct opening opening;
	opening = (struct opening){.err = ERR_NONE};
	memcpy(opening.location, ticket->location, sizeof opening.location);
	open_drop(&session->keeper->root, &opening, DROP_NOWAIT, &error);
	if (opening.err == ERR_AGAIN) {
		struct job *job = new_job(session);
		if (job) {
			job->opening = opening;
			if (queue_job(job, open_in_thread, open_done) == ERR_NONE)
				return;
			free(job);
		}
		opening.err = ERR_NOMEM;
	}
	finish_opening(session, &opening, error.text);
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
	if (ticket->uid != (uint32_t)-1 && ticket->uid != geteuid()) {
		log_note(LOG_ERROR, "the maildrop %s belongs to uid %u, and the keeper runs as %u",
		         ticket->location, ticket->uid, geteuid());
		return ERR_DENIED;
	}
	return ERR_NONE;
}

int keeper_open(struct keeper_peer *peer, const struct ipc_in *in, const char **why)
{
	struct keeper *keeper = peer->keeper;
	const struct ipc_drop_open *open = in->fixed;
	int err =
	    keeper_tickets_use(&keeper->tickets, &open->ticket, peer->id, in->session, time_mono_ms(), why);
	if (err == ERR_PEER)
		return err;
	if (err == ERR_NONE)
		err = check_opening(keeper, &open->ticket);
	struct keeper_session *session = err ? NULL : keeper_add(peer, in->session);
	if (!session) {
		send_failed(peer->link, in->session, err ? err : ERR_NOMEM);
		return ERR_NONE;
	}
	keeper->open++;
	begin_opening(session, &open->ticket);
	return ERR_NONE;
}

/* --- bodies --- */

static void log_body(const struct keeper_session *session, const struct ipc_body *body)
{
	struct log_line line;
	begin_line(&line, body->err == ERR_NOTFOUND ? LOG_INFO : LOG_WARNING, "message-failed", session);
	log_num(&line, "message", body->number);
	log_err(&line, "result", body->err);
	log_end(&line);
}

/* Opens what is left of a batch; ERR_AGAIN when the next one has to wait for the disk. */
static int open_bodies(struct drop *drop, struct bodies *bodies, unsigned flags)
{
	for (; bodies->done < bodies->count; bodies->done++) {
		struct drop_body found;
		struct ipc_body *body = &bodies->body[bodies->done];
		uint32_t number = bodies->numbers[bodies->done];
		int err = drop_body(drop, number, flags, &found);
		if (err == ERR_AGAIN && flags & DROP_NOWAIT)
			return err;
		*body = (struct ipc_body){.number = number, .err = err};
		if (err)
			continue;
		body->offset = found.offset;
		body->length = found.length;
		body->wire = found.wire;
		body->header = found.header;
		body->flags = (found.crlf ? IPC_BODY_CRLF : 0u) | (found.no_dots ? IPC_BODY_NO_DOTS : 0u);
		bodies->fds[bodies->fd_count++] = found.fd;
	}
	return ERR_NONE;
}

static void finish_bodies(struct keeper_session *session, const struct bodies *bodies)
{
	session->working = false;
	if (!session->peer) {
		for (unsigned i = 0; i < bodies->fd_count; i++)
			(void)close(bodies->fds[i]);
		end_session(session);
		return;
	}
	for (uint32_t i = 0; i < bodies->count; i++)
		if (bodies->body[i].err)
			log_body(session, &bodies->body[i]);
	struct ipc_drop_bodies fixed = {.count = bodies->count};
	send_to(session, IPC_DROP_BODIES, &fixed,
	        span_of((const char *)bodies->body, bodies->count * sizeof bodies->body[0]), bodies->fds,
	        bodies->fd_count);
}

static void bodies_in_thread(uv_work_t *work)
{
	struct job *job = work->data;
	(void)open_bodies(job->session->drop, &job->bodies, 0);
}

static void bodies_done(uv_work_t *work, int status)
{
	struct job *job = work->data;
	(void)status;
	finish_bodies(job->session, &job->bodies);
	free(job);
}

static void fail_bodies(struct bodies *bodies, int err)
{
	for (; bodies->done < bodies->count; bodies->done++)
		bodies->body[bodies->done] =
		    (struct ipc_body){.number = bodies->numbers[bodies->done], .err = err};
}

int keeper_body(struct keeper_session *session, const struct ipc_in *in, const char **why)
{
	static struct bodies bodies;
	const struct ipc_drop_body *asked = in->fixed;
	bodies.count = asked->count;
	bodies.done = 0;
	bodies.fd_count = 0;
	memcpy(bodies.numbers, in->tail.ptr, in->tail.len);
	for (uint32_t i = 0; i < bodies.count; i++)
		if (bodies.numbers[i] < 1 || bodies.numbers[i] > drop_count(session->drop)) {
			*why = "asks for a message that is not there";
			return ERR_PEER;
		}
	if (open_bodies(session->drop, &bodies, DROP_NOWAIT) == ERR_AGAIN) {
		struct job *job = new_job(session);
		if (job) {
			job->bodies = bodies;
			if (queue_job(job, bodies_in_thread, bodies_done) == ERR_NONE)
				return ERR_NONE;
			free(job);
		}
		fail_bodies(&bodies, ERR_NOMEM);
	}
	finish_bodies(session, &bodies);
	return ERR_NONE;
}

/* --- commit --- */

/* The marks that came with the message, copied: a tail is gone soon, a file is the peer's. */
static int take_bitmap(const struct ipc_in *in, size_t size, struct commit *ret)
{
	const char *map = in->tail.ptr;
	if (in->fd_count) {
		int err = blob_map(in->fds[0], size, &map);
		if (err)
			return err;
	}
	ret->bitmap = malloc(size + 1);
	ret->size = size;
	if (ret->bitmap && size)
		memcpy(ret->bitmap, map, size);
	if (in->fd_count)
		blob_unmap(map, size);
	return ret->bitmap ? ERR_NONE : ERR_NOMEM;
}

static bool bits_fit(const struct commit *commit, uint32_t total, uint32_t marked)
{
	uint32_t bits = 0;
	for (size_t i = 0; i < commit->size; i++)
		bits += (uint32_t)__builtin_popcount((unsigned char)commit->bitmap[i]);
	unsigned stray = total % 8 ? (unsigned char)commit->bitmap[commit->size - 1] >> total % 8 : 0;
	return bits == marked && stray == 0;
}

static void log_commit(const struct keeper_session *session, const struct commit *commit, const char *text)
{
	struct log_line line;
	begin_line(&line, LOG_ERROR, "commit-failed", session);
	log_num(&line, "removed", commit->removed);
	log_err(&line, "result", commit->err);
	log_text(&line, "text", text);
	log_end(&line);
}

/* The lock is given up before the answer: the client may be back at once. */
static void finish_commit(struct keeper_session *session, const struct commit *commit, const char *text)
{
	struct ipc_drop_committed committed = {.err = commit->err, .removed = commit->removed};
	struct link *link = session->peer ? session->peer->link : NULL;
	uint64_t id = session->id;
	if (commit->err)
		log_commit(session, commit, text);
	free(commit->bitmap);
	end_session(session);
	if (link)
		link_send(link, IPC_DROP_COMMITTED, id, &committed, SPAN(""), NULL, 0);
}

static void commit_in_thread(uv_work_t *work)
{
	struct job *job = work->data;
	struct commit *commit = &job->commit;
	commit->err = drop_commit(job->session->drop, span_of(commit->bitmap, commit->size), &commit->removed,
	                          &job->error);
}

static void commit_done(uv_work_t *work, int status)
{
	struct job *job = work->data;
	struct keeper *keeper = job->session->keeper;
	(void)status;
	finish_commit(job->session, &job->commit, job->error.text);
	free(job);
	keeper_commit_done(keeper);
}

int keeper_commit(struct keeper_session *session, struct ipc_in *in, const char **why)
{
	const struct ipc_drop_commit *asked = in->fixed;
	struct commit commit = {.err = ERR_NONE};
	if (asked->total != drop_count(session->drop)) {
		*why = "commits another maildrop";
		return ERR_PEER;
	}
	int err = take_bitmap(in, ((size_t)asked->total + 7) / 8, &commit);
	if (err == ERR_NONE && !bits_fit(&commit, asked->total, asked->count)) {
		free(commit.bitmap);
		err = ERR_PEER;
	}
	if (err == ERR_PEER) {
		*why = "marks that do not hold";
		return err;
	}
	struct job *job = err || asked->count == 0 ? NULL : new_job(session);
	if (job) {
		job->commit = commit;
		err = queue_job(job, commit_in_thread, commit_done);
		if (err == ERR_NONE) {
			session->keeper->commits++;
			return ERR_NONE;
		}
		free(job);
	}
	commit.err = err || asked->count == 0 ? err : ERR_NOMEM;
	finish_commit(session, &commit, err_text(commit.err));
	return ERR_NONE;
}
