/* SPDX-License-Identifier: MIT */
/*
 * What the keeper does for a session with an open maildrop: commit and close. Runs in the loop; what has
 * to wait for the disk runs in libuv's threads, where it touches its job and that job's maildrop only.
 * Requests come from workers, which may have been taken over; their form and turn were checked.
 */
#include "server/keeper.h"

#include "ipc/blob.h"
#include "log/log.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct commit {
	char *bitmap;
	size_t size;
	uint32_t removed;
	int err;
};

/* One in a disk thread. */
struct job {
	struct keeper_job base;
	struct commit commit;
};

static struct job *new_job(struct keeper_session *session)
{
	struct job *job = calloc(1, sizeof *job);
	if (job)
		job->base.session = session;
	return job;
}

static int queue_job(struct job *job, uv_work_cb work, uv_after_work_cb after)
{
	return keeper_queue(&job->base, job, work, after);
}

int keeper_queue(struct keeper_job *job, void *data, uv_work_cb work, uv_after_work_cb after)
{
	job->work.data = data;
	job->session->working = true;
	return uv_queue_work(job->session->keeper->child->loop, &job->work, work, after) ? ERR_NOMEM
	                                                                                 : ERR_NONE;
}

void keeper_send(const struct keeper_session *session, enum ipc_type type, const void *fixed,
                 struct span tail, const int *fds, unsigned fd_count)
{
	link_send(session->peer->link, type, session->id, fixed, tail, fds, fd_count);
}

void keeper_log(struct log_line *line, enum log_level level, const char *event,
                const struct keeper_session *session)
{
	log_begin(line, level, event);
	log_num(line, "worker", session->worker);
	log_num(line, "session", session->id);
}

void keeper_end(struct keeper_session *session)
{
	struct keeper *keeper = session->keeper;
	struct keeper_place *place = keeper_place_leave(session);
	keeper->open--;
	tally_remove(&keeper->sessions_of, &session->network);
	if (session->peer)
		keeper_take(session);
	drop_close(session->drop);
	free(session);
	keeper_place_changed(keeper, place);
}

void keeper_close(struct keeper_session *session)
{
	if (session->working && !session->wait)
		keeper_take(session);
	else
		keeper_end(session);
}

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
	keeper_log(&line, LOG_ERROR, "commit-failed", session);
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
	keeper_end(session);
	if (link)
		link_send(link, IPC_DROP_COMMITTED, id, &committed, SPAN(""), NULL, 0);
}

static void commit_in_thread(uv_work_t *work)
{
	struct job *job = work->data;
	struct commit *commit = &job->commit;
	commit->err = drop_commit_step(job->base.session->drop, span_of(commit->bitmap, commit->size),
	                               &commit->removed, &job->base.error);
}

static void commit_done(uv_work_t *work, int status)
{
	struct job *job = work->data;
	struct keeper *keeper = job->base.session->keeper;
	(void)status;
	if (job->commit.err == ERR_AGAIN) { /* behind what others have asked of the threads meanwhile */
		int err = queue_job(job, commit_in_thread, commit_done);
		if (err == ERR_NONE)
			return; /* a thread may be at it already: it is not ours to touch */
		job->commit.err = err;
	}
	finish_commit(job->base.session, &job->commit, job->base.error.text);
	free(job);
	keeper_finished(keeper);
}

int keeper_commit(struct keeper_session *session, struct ipc_in *in, const char **why)
{
	const struct ipc_drop_commit *asked = in->fixed;
	struct commit commit = {.err = ERR_NONE};
	if (asked->total != drop_count(session->drop)) {
		*why = "commits another maildrop";
		return ERR_PEER;
	}
	int err = asked->count ? take_bitmap(in, ((size_t)asked->total + 7) / 8, &commit) : ERR_NONE;
	if (asked->count && err == ERR_NONE && !bits_fit(&commit, asked->total, asked->count)) {
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
			session->committing = true;
			session->keeper->unfinished++;
			return ERR_NONE;
		}
		free(job);
	}
	commit.err = err || asked->count == 0 ? err : ERR_NOMEM;
	finish_commit(session, &commit, err_text(commit.err));
	return ERR_NONE;
}
