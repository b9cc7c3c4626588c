/* SPDX-License-Identifier: MIT */
/*
 * One child of the master: started, spoken to, ended. A child may have been taken over;
 * all it can say is READY, which peer broke the rules and, for a keeper, which maildrop is wanted.
 */
#include "base/time.h"
#include "os/os.h"
#include "server/master.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

static const char *const kind_names[IPC_KINDS] = {"master", "worker", "auth", "keeper"};

void process_name(const struct process *process, char *to, size_t size)
{
	(void)snprintf(to, size, "%s.%" PRIu32, kind_names[process->kind], process->id);
}

static void begin_line(struct log_line *line, enum log_level level, const char *event,
                       const struct process *process)
{
	char name[32];
	process_name(process, name, sizeof name);
	log_begin(line, level, event);
	log_text(line, "child", name);
}

static struct process *find_peer(struct generation *generation, uint32_t kind, uint32_t id)
{
	if (kind == IPC_AUTH && generation->auth.id == id)
		return &generation->auth;
	if (kind == IPC_KEEPER && generation->keeper.id == id)
		return &generation->keeper;
	for (unsigned i = 0; kind == IPC_WORKER && i < generation->workers; i++)
		if (generation->worker[i].id == id)
			return &generation->worker[i];
	return NULL;
}

/* Of two that cannot get along the worker ends, whoever complains: it is the one that talks to
 * strangers, and its word alone must not stop auth or the keeper for everybody. */
static void take_fault(struct process *process, const struct ipc_peer_fault *fault)
{
	struct process *peer = find_peer(process->generation, fault->kind, fault->id);
	char name[32] = "unknown";
	if (peer)
		process_name(peer, name, sizeof name);
	struct log_line line;
	begin_line(&line, LOG_ERROR, "peer-fault", process);
	log_text(&line, "peer", name);
	log_text(&line, "reason", fault->reason);
	log_end(&line);
	if (process->kind == IPC_WORKER)
		process_kill(process, "lost a peer");
	else if (peer && peer->kind == IPC_WORKER && peer->pid)
		process_kill(peer, fault->reason);
}

static int handle_message(struct link *link, struct ipc_in *in)
{
	struct process *process = link->owner;
	if (in->type == IPC_PEER_FAULT) {
		take_fault(process, in->fixed);
		return ERR_NONE;
	}
	if (in->type == IPC_WANTED) {
		generation_pass_on(process->generation, in->fixed);
		return ERR_NONE;
	}
	if (in->type != IPC_READY || process->ready)
		return ERR_PEER;
	process->ready = true;
	if (!process->told)
		process->kill_at_ms = 0;
	generation_ready(process);
	return ERR_NONE;
}

/* A child closes its channel by ending; one that only stops to speak is ended. */
static void handle_gone(struct link *link, int err, const char *why)
{
	struct process *process = link->owner;
	process->control = NULL;
	link_free(link);
	if (err == ERR_CLOSED) {
		process->kill_at_ms = time_mono_ms() + 1000;
		master_attend_at(process->kill_at_ms);
	} else {
		process_kill(process, why ? why : err_text(err));
	}
}

static const struct link_ops control_ops = {.message = handle_message, .gone = handle_gone};

/* Opens the child's channel and log, and runs it with the other ends. */
static int spawn(struct process *process, struct error *error)
{
	char path[CONF_VALUE_MAX], program[32], name[32];
	int control[2], log[2];
	process_name(process, name, sizeof name);
	(void)snprintf(program, sizeof program, "restante-%s", kind_names[process->kind]);
	if (snprintf(path, sizeof path, "%s/%s", master.libexec, program) >= (int)sizeof path)
		return ERR_RANGE;
	if (pipe2(log, O_CLOEXEC) != 0) {
		error_set(error, "%s", strerror(errno));
		return err_from_errno(errno);
	}
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, control) != 0) {
		error_set(error, "%s", strerror(errno));
		(void)close(log[0]);
		(void)close(log[1]);
		return err_from_errno(errno);
	}
	int err = os_spawn(path, program, control[1], log[1], &process->pid, error);
	(void)close(control[1]);
	(void)close(log[1]);
	(void)fcntl(log[0], F_SETFL, O_NONBLOCK);
	process->log = log_pipe_open(master.loop, log[0], name);
	process->control = malloc(sizeof *process->control);
	if (!err && process->log && process->control)
		return link_open(process->control, master.loop, control[0], IPC_MASTER, process->kind,
		                 process->id, &control_ops, process);
	free(process->control);
	process->control = NULL;
	log_pipe_close(process->log);
	process->log = NULL;
	(void)close(control[0]); /* a child that was started ends by this */
	return err ? err : ERR_NOMEM;
}

void process_start(struct process *process)
{
	struct error error = {""};
	struct log_line line;
	process->id = ++master.last_id;
	process->ready = process->told = process->hopeless = false;
	process->restart_at_ms = 0;
	process->started_ms = time_mono_ms();
	process->kill_at_ms = process->started_ms + MASTER_START_MS;
	master_attend_at(process->kill_at_ms);
	int err = spawn(process, &error);
	begin_line(&line, err ? LOG_ERROR : LOG_INFO, err ? "start-failed" : "started", process);
	if (err)
		log_text(&line, "error", error.text[0] ? error.text : err_text(err));
	else
		log_num(&line, "pid", (uint64_t)process->pid);
	log_end(&line);
	if (process->pid == 0)
		generation_ended(process);
	else
		generation_set_up(process);
}

void process_send(struct process *process, enum ipc_type type, const void *fixed)
{
	if (process->control)
		link_send(process->control, type, 0, fixed, span_of(NULL, 0), NULL, 0);
}

void process_tell(struct process *process, enum ipc_type type, uint64_t limit_ms)
{
	process->told = true;
	process->restart_at_ms = 0;
	if (!process->pid)
		return;
	process->kill_at_ms = limit_ms ? time_mono_ms() + limit_ms : 0;
	if (limit_ms)
		master_attend_at(process->kill_at_ms);
	process_send(process, type, NULL);
}

void process_kill(struct process *process, const char *reason)
{
	if (!process->pid)
		return;
	struct log_line line;
	begin_line(&line, LOG_ERROR, "killed", process);
	log_text(&line, "reason", reason);
	log_end(&line);
	process->kill_at_ms = 0;
	(void)kill(process->pid, SIGKILL);
}

static void log_end_of(const struct process *process, int status)
{
	struct log_line line;
	bool clean = process->told && WIFEXITED(status) && WEXITSTATUS(status) == 0;
	begin_line(&line, clean ? LOG_INFO : LOG_ERROR, "ended", process);
	log_num(&line, "pid", (uint64_t)process->pid);
	if (WIFSIGNALED(status))
		log_num(&line, "signal", (uint64_t)WTERMSIG(status));
	else
		log_num(&line, "status", (uint64_t)WEXITSTATUS(status));
	log_end(&line);
}

bool process_reap(struct process *process)
{
	int status;
	if (!process->pid || waitpid(process->pid, &status, WNOHANG) != process->pid)
		return false;
	log_pipe_close(process->log); /* its last words come first */
	process->log = NULL;
	log_end_of(process, status);
	link_free(process->control);
	process->control = NULL;
	process->pid = 0;
	process->kill_at_ms = 0;
	/* Its configuration is constant for its life: another try would end the same way. */
	process->hopeless = !process->ready && WIFEXITED(status) && WEXITSTATUS(status) == EX_CONFIG;
	return true;
}

void process_connect(struct process *worker, struct process *helper)
{
	int fds[2];
	if (!worker->pid || !helper->pid || !worker->control || !helper->control)
		return;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) != 0) {
		log_note(LOG_ERROR, "no socket pair between children: %s", strerror(errno));
		process_kill(worker, "cannot be connected"); /* and tried again with its successor */
		return;
	}
	const struct ipc_peer to_worker = {.kind = helper->kind, .id = helper->id};
	const struct ipc_peer to_helper = {.kind = worker->kind, .id = worker->id};
	link_send(helper->control, IPC_PEER, 0, &to_helper, span_of(NULL, 0), &fds[0], 1);
	link_send(worker->control, IPC_PEER, 0, &to_worker, span_of(NULL, 0), &fds[1], 1);
}
