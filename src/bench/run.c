/* SPDX-License-Identifier: MIT */
/* The loop of restante-bench: when sessions begin, how long they are held, when it is enough. */
#include "bench/run.h"

#include "bench/tls.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum { NS = 1000000000, MS = 1000000, SWEEP_NS = NS };

struct run {
	struct session_host host; /* first: what sessions know of us */
	const struct run_plan *plan;
	struct tally *tally;
	run_watcher *watcher;
	void (*holding)(unsigned held);
	uv_loop_t loop;
	uv_timer_t piece, deadline; /* of a row of the tally; the plan's end */
	uv_signal_t signals[2];
	uv_poll_t arrival; /* a timer finer than the loop's: the next session is due */
	int arrival_fd;
	struct session *sessions;
	unsigned *spare; /* sessions not in use, a stack */
	unsigned spare_count;
	size_t *resting; /* a ring: the account that rested longest comes next */
	size_t resting_at, resting_count, resting_room;
	unsigned held;
	uint64_t begun, began_ns, swept_ns;
	bool holds, held_all, ending, over;
};

static unsigned active(const struct run *run)
{
	return run->plan->connections - run->spare_count;
}

static double seconds_of(const struct run *run)
{
	return (double)(uv_hrtime() - run->began_ns) / NS;
}

static uint64_t piece_ms(const struct run_plan *plan)
{
	uint64_t piece = plan->duration_ms ? plan->duration_ms / RUN_PIECES : RUN_PIECE_MAX_MS;
	return piece < RUN_PIECE_MIN_MS   ? RUN_PIECE_MIN_MS
	       : piece > RUN_PIECE_MAX_MS ? RUN_PIECE_MAX_MS
	                                  : piece;
}

/* --- beginning sessions --- */

static bool all_begun(const struct run *run)
{
	if (run->holds)
		return run->begun >= run->plan->connections;
	return run->plan->sessions && run->begun >= run->plan->sessions;
}

static bool may_begin(const struct run *run)
{
	if (run->ending || !run->spare_count || !run->resting_count || all_begun(run))
		return false;
	return !run->holds || active(run) - run->held < RUN_LOGINS_MAX;
}

/* When the next session is due, by the plan's rate. */
static uint64_t next_due(const struct run *run)
{
	uint64_t rate = run->plan->rate;
	return run->began_ns + run->begun / rate * NS + run->begun % rate * NS / rate;
}

static void begin_one(struct run *run, uint64_t due_ns)
{
	const struct run_plan *plan = run->plan;
	struct session *session = &run->sessions[run->spare[--run->spare_count]];
	const struct sockaddr_storage *source =
	    plan->sources_count ? &plan->sources[run->begun % plan->sources_count] : NULL;
	session->account = run->resting[run->resting_at];
	run->resting_at = (run->resting_at + 1) % run->resting_room;
	run->resting_count--;
	run->begun++;
	session_begin(session, &run->host, &plan->client, &plan->accounts->rows[session->account],
	              (const struct sockaddr *)source, due_ns);
}

static void set_arrival(struct run *run)
{
	uint64_t due = next_due(run);
	struct itimerspec at = {
	    .it_value = {.tv_sec = (time_t)(due / NS), .tv_nsec = (long)(due % NS)}
        };
	(void)timerfd_settime(run->arrival_fd, TFD_TIMER_ABSTIME, &at, NULL);
}

static void begin_sessions(struct run *run)
{
	while (may_begin(run)) {
		uint64_t now = uv_hrtime();
		uint64_t due = run->plan->rate ? next_due(run) : now;
		if (due > now) {
			set_arrival(run);
			break;
		}
		begin_one(run, due);
	}
}

static void on_arrival(uv_poll_t *poll, int status, int events)
{
	struct run *run = poll->data;
	uint64_t count;
	(void)status;
	(void)events;
	(void)!read(run->arrival_fd, &count, sizeof count);
	begin_sessions(run);
}

/* --- the end --- */

static void close_all(struct run *run)
{
	uv_handle_t *handles[] = {(uv_handle_t *)&run->piece, (uv_handle_t *)&run->deadline,
	                          (uv_handle_t *)&run->signals[0], (uv_handle_t *)&run->signals[1],
	                          (uv_handle_t *)&run->arrival};
	for (unsigned i = 0; i < sizeof handles / sizeof handles[0]; i++)
		if (handles[i]->loop && !uv_is_closing(handles[i]))
			uv_close(handles[i], NULL);
}

static void end_if_done(struct run *run)
{
	if (active(run) || run->over || !(run->ending || all_begun(run)))
		return;
	run->over = true;
	run->tally->seconds = seconds_of(run);
	tally_end(run->tally, run->tally->seconds, (double)piece_ms(run->plan) / 2000);
	close_all(run);
}

/* Sessions that were due and found no connection. */
static uint64_t count_missed(const struct run *run)
{
	if (!run->plan->rate || all_begun(run))
		return 0;
	uint64_t due = (uint64_t)(seconds_of(run) * run->plan->rate);
	if (run->plan->sessions && due > run->plan->sessions)
		due = run->plan->sessions;
	return due > run->begun ? due - run->begun : 0;
}

static void begin_end(struct run *run)
{
	if (run->ending)
		return;
	run->tally->missed = count_missed(run);
	run->ending = true;
	for (unsigned i = 0; i < run->plan->connections; i++) {
		struct session *session = &run->sessions[i];
		if (session->open && !session->ended && session->held) {
			run->held--;
			session_release(session);
		}
	}
	end_if_done(run);
}

static void on_deadline(uv_timer_t *timer)
{
	begin_end(timer->data);
}

static void on_signal(uv_signal_t *signal, int number)
{
	struct run *run = signal->data;
	(void)number;
	run->tally->interrupted = true;
	if (run->ending) {
		for (unsigned i = 0; i < run->plan->connections; i++)
			if (run->sessions[i].open && !run->sessions[i].ended)
				session_drop(&run->sessions[i]);
		return;
	}
	begin_end(run);
}

/* --- what sessions tell --- */

static void on_holds(struct session_host *host)
{
	struct run *run = (struct run *)host;
	if (++run->held > run->tally->held)
		run->tally->held = run->held;
	if (run->ending)
		return; /* it is let go with the next piece */
	begin_sessions(run);
}

/* When everybody is in, the time of the hold begins. */
static void look_at_hold(struct run *run)
{
	if (run->held_all || run->ending || !all_begun(run) || run->held < active(run))
		return;
	run->held_all = true;
	run->holding(run->held);
	if (run->plan->duration_ms)
		(void)uv_timer_start(&run->deadline, on_deadline, run->plan->duration_ms, 0);
}

static void on_over(struct session_host *host, struct session *session)
{
	struct run *run = (struct run *)host;
	run->held -= session->held;
	run->spare[run->spare_count++] = (unsigned)(session - run->sessions);
	run->resting[(run->resting_at + run->resting_count++) % run->resting_room] = session->account;
	if (run->plan->errors_max && run->tally->sums.faults >= run->plan->errors_max && !run->ending) {
		run->tally->gave_up = true;
		begin_end(run);
	}
	begin_sessions(run);
	end_if_done(run);
}

/* --- time --- */

static void sweep(struct run *run)
{
	uint64_t now = uv_hrtime();
	struct error error;
	error_set(&error, "nothing came from the server for %.1f s", (double)run->plan->timeout_ms / 1e3);
	for (unsigned i = 0; i < run->plan->connections; i++) {
		struct session *session = &run->sessions[i];
		if (!session->open || session->ended)
			continue;
		if (session->held && run->ending) {
			run->held--;
			session_release(session);
		} else if (!session->held && now - session->heard_ns > run->plan->timeout_ms * MS) {
			session_fail(session, ERR_TIMEOUT, &error);
		}
	}
	run->swept_ns = now;
}

static void on_piece(uv_timer_t *timer)
{
	struct run *run = timer->data;
	double seconds = seconds_of(run);
	(void)tally_row(run->tally, seconds, active(run), run->held);
	if (run->holds)
		look_at_hold(run);
	if (uv_hrtime() - run->swept_ns < SWEEP_NS)
		return;
	sweep(run);
	struct run_view view = {run->tally, seconds, active(run), run->held, run->ending};
	if (run->watcher)
		run->watcher(&view);
}

/* --- setting up --- */

static int allocate(struct run *run, struct error *error)
{
	const struct run_plan *plan = run->plan;
	run->resting_room = plan->accounts->count * plan->per_account;
	run->sessions = calloc(plan->connections, sizeof *run->sessions);
	run->spare = calloc(plan->connections, sizeof *run->spare);
	run->resting = calloc(run->resting_room, sizeof *run->resting);
	run->host.buffer = malloc(SESSION_READ_SIZE);
	if (!run->sessions || !run->spare || !run->resting || !run->host.buffer) {
		error_set(error, "no memory for %u connections", plan->connections);
		return ERR_NOMEM;
	}
	while (run->spare_count < plan->connections) {
		run->spare[run->spare_count] = plan->connections - 1 - run->spare_count;
		run->spare_count++;
	}
	for (; run->resting_count < run->resting_room; run->resting_count++)
		run->resting[run->resting_count] = run->resting_count % plan->accounts->count;
	return plan->security == SECURITY_PLAIN ? ERR_NONE : tls_new_context(&run->host.tls, error);
}

static int set_up_loop(struct run *run, struct error *error)
{
	static const int numbers[] = {SIGINT, SIGTERM};
	uv_loop_t *loop = &run->loop;
	int uv = 0;
	run->piece.data = run->deadline.data = run->arrival.data = run;
	for (unsigned i = 0; i < 2 && !uv; i++) {
		run->signals[i].data = run;
		uv = uv_signal_init(loop, &run->signals[i]);
		uv = uv ? uv : uv_signal_start(&run->signals[i], on_signal, numbers[i]);
	}
	run->arrival_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	uv = uv ? uv : run->arrival_fd < 0 ? UV_EMFILE : uv_poll_init(loop, &run->arrival, run->arrival_fd);
	uv = uv ? uv : uv_poll_start(&run->arrival, UV_READABLE, on_arrival);
	uv = uv ? uv : uv_timer_init(loop, &run->piece);
	uv = uv ? uv : uv_timer_start(&run->piece, on_piece, piece_ms(run->plan), piece_ms(run->plan));
	uv = uv ? uv : uv_timer_init(loop, &run->deadline);
	if (!uv && run->plan->duration_ms && !run->holds)
		uv = uv_timer_start(&run->deadline, on_deadline, run->plan->duration_ms, 0);
	if (!uv)
		return ERR_NONE;
	error_set(error, "the event loop cannot be set up: %s", uv_strerror(uv));
	return ERR_IO;
}

static void tear_down(struct run *run)
{
	close_all(run);
	(void)uv_run(&run->loop, UV_RUN_DEFAULT);
	(void)uv_loop_close(&run->loop);
	for (unsigned i = 0; run->sessions && i < run->plan->connections; i++)
		SSL_SESSION_free(run->sessions[i].resumable);
	SSL_CTX_free(run->host.tls);
	free(run->sessions);
	free(run->spare);
	free(run->resting);
	free(run->host.buffer);
	if (run->arrival_fd >= 0)
		(void)close(run->arrival_fd);
}

int run_load(const struct run_plan *plan, run_watcher *watcher, void (*holding)(unsigned held),
             struct tally *tally, struct error *error)
{
	struct run run = {
	    .plan = plan, .tally = tally, .watcher = watcher, .holding = holding, .arrival_fd = -1};
	if (uv_loop_init(&run.loop)) {
		error_set(error, "there is no event loop");
		return ERR_NOMEM;
	}
	run.holds = profile_has(plan->client.profile, STEP_HOLD);
	run.host.loop = &run.loop;
	run.host.tally = tally;
	run.host.security = plan->security;
	run.host.resume = plan->resume;
	run.host.address = plan->address;
	run.host.address_len = plan->address_len;
	run.host.holds = on_holds;
	run.host.over = on_over;
	int err = allocate(&run, error);
	if (!err)
		err = set_up_loop(&run, error);
	if (!err) {
		run.began_ns = run.swept_ns = uv_hrtime();
		begin_sessions(&run);
		(void)uv_run(&run.loop, UV_RUN_DEFAULT);
	}
	tear_down(&run);
	return err;
}
