/* SPDX-License-Identifier: MIT */
/*
 * restante-worker: the process. Takes its settings, listening sockets and
 * certificates from the master, confines itself, and serves clients. Trusts the master only.
 */
#include "server/worker.h"

#include "base/secret.h"
#include "ipc/blob.h"
#include "os/os.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

struct session *worker_find(struct worker *worker, uint64_t id)
{
	uint64_t slot = id & ((1u << WORKER_SLOT_BITS) - 1);
	struct session *session = slot < worker->setup.max_sessions ? worker->slots[slot] : NULL;
	return session && session->id == id ? session : NULL;
}

static void leave_if_done(struct worker *worker)
{
	if ((worker->draining || worker->stopping) && worker->session_count == 0)
		child_exit(worker->child, 0);
}

void worker_forget(struct worker *worker, struct session *session)
{
	uint32_t slot = (uint32_t)(session->id & ((1u << WORKER_SLOT_BITS) - 1));
	worker->slots[slot] = NULL;
	worker->free_slots[worker->free_count++] = slot;
	worker->session_count--;
	leave_if_done(worker);
}

/* --- listening --- */

static void on_connection(uv_poll_t *poll, int status, int events);

static int watch(struct worker_listener *listener)
{
	listener->listening = uv_poll_start(&listener->poll, UV_READABLE, on_connection) == 0;
	return listener->listening ? ERR_NONE : ERR_NOMEM;
}

/* Takes up to `most` of the connections that wait; how many it were. */
static int accept_some(struct worker_listener *listener, int most)
{
	int taken = 0;
	while (taken < most) {
		union {
			struct sockaddr any;
			struct sockaddr_in6 v6;
		} address;
		socklen_t size = sizeof address;
		int fd = accept4(listener->fd, &address.any, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd >= 0) {
			taken++;
			session_begin(listener->worker, listener, fd, &address.any);
		} else if (errno == EAGAIN) {
			break;
		} else if (errno != ECONNABORTED && errno != EINTR) {
			/* The connection stays where it is and would wake us at once: until the next sweep.
			 */
			log_note(LOG_ERROR, "cannot accept a connection on %s: %s", listener->address,
			         strerror(errno));
			(void)uv_poll_stop(&listener->poll);
			listener->listening = false;
			break;
		}
	}
	return taken;
}

static void on_connection(uv_poll_t *poll, int status, int events)
{
	struct worker_listener *listener = poll->data;
	/* Mostly one connection waits, and asking for another would be a system call for nothing. */
	int most = listener->busy || ++listener->calm % WORKER_PROBE_EVERY == 0 ? WORKER_ACCEPT_MAX : 1;
	(void)events;
	if (status == 0)
		listener->busy = accept_some(listener, most) > 1;
}

static void stop_listening(struct worker *worker)
{
	worker->draining = true;
	for (unsigned i = 0; i < worker->listener_count; i++) {
		struct worker_listener *listener = &worker->listeners[i];
		if (listener->fd < 0)
			continue;
		if (listener->poll.loop) /* not when the end comes before the start */
			uv_close((uv_handle_t *)&listener->poll, NULL);
		(void)close(listener->fd);
		listener->fd = -1;
	}
}

static int listen_on(struct worker *worker)
{
	for (unsigned i = 0; i < worker->listener_count; i++) {
		struct worker_listener *listener = &worker->listeners[i];
		listener->poll.data = listener;
		if (uv_poll_init_socket(worker->child->loop, &listener->poll, listener->fd) != 0 ||
		    watch(listener) != ERR_NONE)
			return ERR_NOMEM;
	}
	return ERR_NONE;
}

/* --- time --- */

/* Something is being made durable, and the client is to hear of it. */
static bool is_last_wait(const struct session *session)
{
	return session->await == AWAIT_COMMIT || session->await == AWAIT_DELIVERY;
}

static void on_sweep(uv_timer_t *timer)
{
	struct worker *worker = timer->data;
	uint64_t now_ms = uv_now(worker->child->loop);
	for (uint32_t slot = 0; slot < worker->setup.max_sessions; slot++) {
		struct session *session = worker->slots[slot];
		if (!session || is_last_wait(session))
			continue;
		session_note_progress(session);
		if (now_ms > session->moved_ms + WORKER_AHEAD_MS)
			body_rest(session);
		if (session->protocol->expired(session, now_ms))
			session_end(session, "timeout");
		else if (session_is_lost(session))
			session_end(session, "no answer");
	}
	limit_measure(worker);
	listings_sweep(worker, now_ms);
	for (unsigned i = 0; i < worker->listener_count && !worker->draining; i++)
		if (!worker->listeners[i].listening)
			(void)watch(&worker->listeners[i]);
}

/* --- control --- */

static int take_setup(struct worker *worker, const struct ipc_setup_worker *setup)
{
	worker->setup = *setup;
	if (setup->max_sessions == 0 || setup->max_sessions >= 1u << WORKER_SLOT_BITS)
		return ERR_RANGE;
	worker->conf = (struct pop_server_conf){
	    .mechanisms = worker->setup.mechanisms,
	    .bad_commands_max = setup->bad_commands_max,
	    .login_timeout_ms = setup->login_timeout_ms,
	    .autologout_ms = setup->autologout_ms,
	};
	worker->lmtp_conf = (struct lmtp_server_conf){
	    .hostname = worker->setup.hostname,
	    .message_max = setup->message_max,
	    .bad_commands_max = setup->bad_commands_max,
	    .idle_ms = setup->lmtp_idle_ms,
	    .over_quota_defers = setup->over_quota_defers,
	};
	worker->slots = calloc(setup->max_sessions, sizeof *worker->slots);
	worker->free_slots = calloc(setup->max_sessions, sizeof *worker->free_slots);
	if (!worker->slots || !worker->free_slots)
		return ERR_NOMEM;
	while (worker->free_count < setup->max_sessions) {
		worker->free_slots[worker->free_count] = setup->max_sessions - 1 - worker->free_count;
		worker->free_count++;
	}
	return ERR_NONE;
}

static int take_listener(struct worker *worker, struct ipc_in *in)
{
	const struct ipc_listener *from = in->fixed;
	if (worker->listener_count == WORKER_LISTENERS_MAX)
		return ERR_FULL;
	struct worker_listener *listener = &worker->listeners[worker->listener_count++];
	*listener = (struct worker_listener){.worker = worker,
	                                     .protocol = from->lmtp ? &protocol_lmtp : &protocol_pop,
	                                     .fd = ipc_in_take(in, 0),
	                                     .tls = from->tls};
	memcpy(listener->address, from->address, sizeof listener->address);
	return ERR_NONE;
}

static int take_certificate(struct worker *worker, struct ipc_in *in)
{
	const struct ipc_cert *cert = in->fixed;
	struct error error = {""};
	const char *pem;
	int err = blob_map(in->fds[0], cert->octets, &pem);
	if (err)
		return err;
	err = tls_add(worker->tls, span_of(pem, cert->octets), &error);
	blob_unmap(pem, cert->octets);
	if (err)
		log_note(LOG_ERROR, "certificate: %s", error.text);
	return err;
}

static int on_control(struct child *child, struct ipc_in *in)
{
	struct worker *worker = child->owner;
	switch (in->type) {
	case IPC_SETUP_WORKER:
		return take_setup(worker, in->fixed);
	case IPC_LISTENER:
		return take_listener(worker, in);
	case IPC_CERT:
		return take_certificate(worker, in);
	case IPC_TLS_KEYS: {
		const struct ipc_tls_keys *keys = in->fixed;
		tls_set_keys(worker->tls, keys->current, keys->previous);
		return ERR_NONE;
	}
	default:
		return ERR_PEER;
	}
}

/* A file that a message is written to cannot become larger than a message may be, whatever becomes of this
 * process. */
static int limit_files(const struct worker *worker)
{
	enum { LEAST = 1 << 20 }; /* memory files are files too */
	uint64_t most = worker->setup.message_max + IPC_MESSAGE_EXTRA;
	struct rlimit limit = {.rlim_cur = most < LEAST ? LEAST : most};
	limit.rlim_max = limit.rlim_cur;
	return worker->setup.message_max == 0 || setrlimit(RLIMIT_FSIZE, &limit) == 0 ? ERR_NONE : ERR_DENIED;
}

/* Sessions take at most three quarters of the descriptors, messages what is left: one that is asked for must
 * not fail because of who else has connected. */
static int share_descriptors(struct worker *worker)
{
	struct rlimit limit;
	uint64_t own = WORKER_FDS_OWN + worker->listener_count;
	if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur < own + 4) {
		log_note(LOG_ERROR, "the limit on open files is too low: raise it (ulimit -n)");
		return ERR_FULL;
	}
	uint64_t free_fds = limit.rlim_cur - own < UINT32_MAX ? limit.rlim_cur - own : UINT32_MAX;
	worker->session_max = worker->setup.max_sessions;
	if (worker->session_max > free_fds * 3 / 4) {
		worker->session_max = (uint32_t)(free_fds * 3 / 4);
		log_note(LOG_WARNING,
		         "the limit on open files allows %u sessions, not %u: raise it (ulimit -n)",
		         worker->session_max, worker->setup.max_sessions);
	}
	worker->body_fds_max = (uint32_t)(free_fds - worker->session_max);
	return ERR_NONE;
}

static int on_start(struct child *child)
{
	struct worker *worker = child->owner;
	struct error error = {""};
	worker->child = child;
	uv_update_time(child->loop);
	worker->sweep.data = worker;
	if (uv_timer_init(child->loop, &worker->sweep) != 0 ||
	    uv_timer_start(&worker->sweep, on_sweep, WORKER_SWEEP_MS, WORKER_SWEEP_MS) != 0)
		return ERR_NOMEM;
	for (unsigned i = 0; i < worker->listener_count; i++)
		if (worker->listeners[i].tls && !tls_ready(worker->tls))
			return ERR_CONFIG;
	struct os_confine confine = {.role = OS_WORKER};
	int err = os_become(worker->setup.uid, worker->setup.gid, worker->setup.empty_root, &error);
	if (!err)
		err = limit_files(worker);
	if (!err)
		err = os_confine(&confine, &error);
	if (err == ERR_UNSUPPORTED) { /* the other fences stand */
		log_note(LOG_WARNING, "worker less confined than it should be: %s", error.text);
		err = ERR_NONE;
	}
	if (err) {
		log_note(LOG_ERROR, "worker not confined: %s", error.text);
		return err;
	}
	err = share_descriptors(worker);
	return err ? err : listen_on(worker);
}

static int on_peer(struct child *child, enum ipc_kind kind, uint32_t id, int fd)
{
	struct worker *worker = child->owner;
	worker->child = child;
	return worker_link(worker, kind, id, fd);
}

static void on_drain(struct child *child)
{
	struct worker *worker = child->owner;
	worker->child = child;
	/* With fewer workers than before nobody else has these sockets, and who waits in them would be cut.
	 */
	for (unsigned i = 0; i < worker->listener_count; i++)
		if (worker->listeners[i].fd >= 0)
			accept_some(&worker->listeners[i], NET_BACKLOG);
	stop_listening(worker);
	leave_if_done(worker);
}

/* A commit that has been asked for is waited for, so that its client hears the outcome; all else ends. */
static void on_stop(struct child *child)
{
	struct worker *worker = child->owner;
	worker->child = child;
	worker->stopping = true;
	stop_listening(worker);
	for (uint32_t slot = 0; slot < worker->setup.max_sessions; slot++)
		if (worker->slots && worker->slots[slot] && !is_last_wait(worker->slots[slot]))
			session_end(worker->slots[slot], "server stops");
	leave_if_done(worker);
}

int main(void)
{
	static const struct child_ops ops = {
	    .control = on_control, .start = on_start, .peer = on_peer, .drain = on_drain, .stop = on_stop};
	struct worker *worker = calloc(1, sizeof *worker);
	if (!worker || tls_new(&worker->tls) != ERR_NONE) {
		free(worker);
		return EXIT_FAILURE;
	}
	int status = child_run(IPC_WORKER, &ops, worker);
	tls_free(worker->tls);
	tally_finish(&worker->strangers_of);
	free(worker->slots);
	free(worker->free_slots);
	free(worker);
	return status;
}
