/* SPDX-License-Identifier: MIT */
/*
 * What worker, auth and keeper have in common. The master is trusted here: it
 * started the process and could do worse than send nonsense.
 */
#include "server/child.h"

#include "base/err.h"
#include "log/log.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sysexits.h>
#include <unistd.h>

static void take_setup(struct child *child, uint32_t id, uint8_t log_level)
{
	child->id = id;
	log_init(IPC_LOG_FD, log_level <= LOG_DEBUG ? (enum log_level)log_level : LOG_INFO, "");
}

static void take_common_setup(struct child *child, const struct ipc_in *in)
{
	if (in->type == IPC_SETUP_WORKER) {
		const struct ipc_setup_worker *setup = in->fixed;
		take_setup(child, setup->id, setup->log_level);
	} else if (in->type == IPC_SETUP_AUTH) {
		const struct ipc_setup_auth *setup = in->fixed;
		take_setup(child, setup->id, setup->log_level);
	} else if (in->type == IPC_SETUP_KEEPER) {
		const struct ipc_setup_keeper *setup = in->fixed;
		take_setup(child, setup->id, setup->log_level);
	}
}

/* A step of the setup that failed ends the process; the owner may have chosen the status. */
static int check_step(struct child *child, const char *step, int err)
{
	if (err) {
		log_note(LOG_ERROR, "%s failed: %s", step, err_text(err));
		child_exit(child, EX_SOFTWARE);
	}
	return ERR_NONE;
}

static int start(struct child *child)
{
	if (child->started)
		return ERR_PEER;
	child->started = true;
	int err = child->ops->start(child);
	if (err)
		return check_step(child, "start", err);
	log_flush();
	link_send(&child->control, IPC_READY, 0, NULL, span_of(NULL, 0), NULL, 0);
	return ERR_NONE;
}

static int take_peer(struct child *child, struct ipc_in *in)
{
	const struct ipc_peer *peer = in->fixed;
	if (peer->kind == IPC_WORKER && !child->started) /* may say anything, and we are not confined yet */
		return ERR_PEER;
	return child->ops->peer(child, (enum ipc_kind)peer->kind, peer->id, ipc_in_take(in, 0));
}

static int handle_message(struct link *link, struct ipc_in *in)
{
	struct child *child = link->owner;
	switch (in->type) {
	case IPC_PEER:
		return check_step(child, "link to a peer", take_peer(child, in));
	case IPC_START:
		return start(child);
	case IPC_DRAIN:
		if (child->ops->drain)
			child->ops->drain(child);
		return ERR_NONE;
	case IPC_STOP:
		child->ops->stop(child);
		return ERR_NONE;
	default:
		take_common_setup(child, in);
		return check_step(child, "setup", child->ops->control(child, in));
	}
}

static void arm_alarm(int signal_number)
{
	(void)signal_number;
	(void)alarm(CHILD_ORPHAN_S);
}

static void handle_gone(struct link *link, int err, const char *why)
{
	struct child *child = link->owner;
	if (child->ended)
		return;
	log_note(LOG_ERROR, "the master is gone (%s): stopping", why ? why : err_text(err));
	arm_alarm(SIGTERM);
	child->ops->stop(child);
}

static const struct link_ops control_ops = {.message = handle_message, .gone = handle_gone};

/* The master alone obeys the terminal and the service manager. SIGTERM is what the kernel sends when
 * the master dies (os_confine() asks for it): then there is a limit even for a loop that hangs. */
static void set_signals(void)
{
	struct sigaction ignore = {.sa_handler = SIG_IGN};
	struct sigaction orphan = {.sa_handler = arm_alarm, .sa_flags = SA_RESTART};
	(void)sigaction(SIGPIPE, &ignore, NULL);
	(void)sigaction(SIGXFSZ, &ignore, NULL); /* write() fails instead */
	(void)sigaction(SIGINT, &ignore, NULL);
	(void)sigaction(SIGHUP, &ignore, NULL);
	(void)sigaction(SIGTERM, &orphan, NULL);
}

static void flush_in_time(uv_timer_t *timer)
{
	(void)timer;
	log_flush();
}

/* Before the loop waits. A busy process would else pay for a write, and the master for reading and writing
 * it, at every line; a line may wait a little for others instead. */
static void consider_log(uv_prepare_t *prepare)
{
	uv_timer_t *timer = prepare->data;
	if (log_pending() >= CHILD_LOG_BATCH)
		log_flush();
	else if (log_pending() && !uv_is_active((uv_handle_t *)timer))
		(void)uv_timer_start(timer, flush_in_time, CHILD_LOG_DELAY_MS, 0);
}

int child_run(enum ipc_kind kind, const struct child_ops *ops, void *owner)
{
	struct child child = {.loop = uv_default_loop(), .kind = kind, .ops = ops, .owner = owner};
	uv_prepare_t prepare;
	uv_timer_t timer;
	if (fcntl(IPC_CONTROL_FD, F_GETFD) < 0 || fcntl(IPC_LOG_FD, F_GETFD) < 0) {
		fprintf(stderr, "This is a helper of restanted, which starts it. See restanted(8).\n");
		return EX_USAGE;
	}
	set_signals();
	log_init(IPC_LOG_FD, LOG_INFO, "");
	if (!child.loop || uv_prepare_init(child.loop, &prepare) != 0 ||
	    uv_timer_init(child.loop, &timer) != 0 ||
	    link_open(&child.control, child.loop, IPC_CONTROL_FD, kind, IPC_MASTER, 0, &control_ops,
	              &child) != 0)
		return EX_OSERR;
	prepare.data = &timer;
	(void)uv_prepare_start(&prepare, consider_log);
	if (!child.ended)
		(void)uv_run(child.loop, UV_RUN_DEFAULT);
	log_flush();
	return child.status;
}

void child_exit(struct child *child, int status)
{
	if (!child->ended)
		child->status = status;
	child->ended = true;
	uv_stop(child->loop);
}

void child_report_fault(struct child *child, enum ipc_kind kind, uint32_t id, const char *reason)
{
	static const char *const kinds[IPC_KINDS] = {"master", "worker", "auth", "keeper"};
	struct ipc_peer_fault fault = {.kind = kind, .id = id};
	(void)snprintf(fault.reason, sizeof fault.reason, "%s", reason);
	struct log_line line;
	log_begin(&line, LOG_ERROR, "peer-fault");
	log_text(&line, "peer", kinds[kind]);
	log_num(&line, "peer-id", id);
	log_text(&line, "reason", reason);
	log_end(&line);
	link_send(&child->control, IPC_PEER_FAULT, 0, &fault, span_of(NULL, 0), NULL, 0);
}
