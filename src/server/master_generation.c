/* SPDX-License-Identifier: MIT */
/*
 * A generation: all the children that serve one configuration, from their set-up to the end
 * of the last session. Runs in the master.
 */
#include "base/time.h"
#include "net/listen.h"
#include "os/os.h"
#include "server/master.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sysexits.h>
#include <unistd.h>

void generation_each(struct generation *generation, void (*call)(struct process *process))
{
	call(&generation->auth);
	call(&generation->keeper);
	for (unsigned i = 0; i < generation->workers; i++)
		call(&generation->worker[i]);
}

/* --- set-up --- */

static void find_user(const char *name, uint32_t *ret_uid, uint32_t *ret_gid)
{
	*ret_uid = *ret_gid = (uint32_t)-1;
	if (geteuid() == 0 && os_find_user(name, ret_uid, ret_gid) != ERR_NONE)
		log_note(LOG_ERROR, "there is no user \"%s\" any more", name); /* it was checked */
}

static void set_up_worker(struct process *process)
{
	const struct conf *conf = &process->generation->conf;
	struct ipc_setup_worker setup = {
	    .id = process->id,
	    .max_sessions = (uint32_t)conf->worker_max_sessions,
	    .login_timeout_ms = (uint32_t)conf->login_timeout_s * 1000,
	    .autologout_ms = (uint32_t)conf->autologout_s * 1000,
	    .dead_peer_ms = (uint32_t)conf->dead_peer_s * 1000,
	    .takeover_ms = (uint32_t)conf->takeover_s * 1000,
	    .bad_commands_max = (uint32_t)conf->bad_commands_max,
	    .strangers_max = (uint32_t)conf->strangers_max,
	    .strangers_of_max = (uint32_t)conf->strangers_of_max,
	    .memory_max = conf->worker_memory,
	    .cleartext_always = conf->cleartext_always,
	    .over_quota_defers = conf->over_quota == CONF_DEFER,
	    .lmtp_remote = conf->lmtp_remote,
	    .lmtp_idle_ms = (uint32_t)conf->lmtp_idle_s * 1000,
	    .message_max = conf->message_max,
	    .log_level = (uint8_t)conf->log_level,
	};
	find_user(conf->worker_user, &setup.uid, &setup.gid);
	(void)snprintf(setup.hostname, sizeof setup.hostname, "%s", conf->lmtp_hostname);
	if (!setup.hostname[0] && gethostname(setup.hostname, sizeof setup.hostname - 1) != 0)
		(void)snprintf(setup.hostname, sizeof setup.hostname, "localhost");
	(void)snprintf(setup.mechanisms, sizeof setup.mechanisms, "%s", conf->mechanisms);
	(void)snprintf(setup.empty_root, sizeof setup.empty_root, "%s", conf->empty_root);
	process_send(process, IPC_SETUP_WORKER, &setup);

	for (uint64_t i = 0; i < conf->listen_count; i++) {
		struct ipc_listener listener = {.tls = conf->listen[i].tls,
		                                .lmtp = conf->listen[i].protocol == CONF_LMTP};
		int fd = listen_copy(conf->listen[i].address, process->slot);
		(void)snprintf(listener.address, sizeof listener.address, "%s", conf->listen[i].address);
		if (fd >= 0)
			net_keep_alive(fd, (unsigned)conf->dead_peer_s);
		if (fd >= 0)
			link_send(process->control, IPC_LISTENER, 0, &listener, span_of(NULL, 0), &fd, 1);
	}
	const struct cert_set *certs = &process->generation->certs;
	for (unsigned i = 0; i < certs->count; i++) {
		struct ipc_cert cert = {.octets = certs->list[i].octets};
		int fd = fcntl(certs->list[i].fd, F_DUPFD_CLOEXEC, 0);
		if (fd >= 0)
			link_send(process->control, IPC_CERT, 0, &cert, span_of(NULL, 0), &fd, 1);
	}
	process_send(process, IPC_TLS_KEYS, &master.tls_keys);
	process_connect(process, &process->generation->auth);
	process_connect(process, &process->generation->keeper);
}

/* Both must have the same one, and what a dead one may have sealed or seen counts no more. */
static void renew_ticket_key(struct generation *generation)
{
	generation->ticket_key.epoch = ++master.last_epoch;
	if (getrandom(generation->ticket_key.key, sizeof generation->ticket_key.key, 0) !=
	    sizeof generation->ticket_key.key)
		abort(); /* never happens: the kernel's pool is ready when the system is up */
	process_send(&generation->auth, IPC_TICKET_KEY, &generation->ticket_key);
	process_send(&generation->keeper, IPC_TICKET_KEY, &generation->ticket_key);
}

static void connect_workers(struct process *helper)
{
	for (unsigned i = 0; i < helper->generation->workers; i++)
		process_connect(&helper->generation->worker[i], helper);
}

static bool takes_mail(const struct conf *conf)
{
	for (uint64_t i = 0; i < conf->listen_count; i++)
		if (conf->listen[i].protocol == CONF_LMTP)
			return true;
	return false;
}

static void set_up_auth(struct process *process)
{
	const struct conf *conf = &process->generation->conf;
	struct ipc_setup_auth setup = {
	    .id = process->id,
	    .hash_threads = (uint32_t)conf->hash_threads,
	    .hash_queue_max = (uint32_t)conf->hash_queue_max,
	    .cache_ms = (uint32_t)conf->auth_cache_s * 1000,
	    .lmtp = takes_mail(conf),
	    .quota_octets = conf->quota_octets,
	    .quota_messages = conf->quota_messages,
	    .log_level = (uint8_t)conf->log_level,
	};
	find_user(conf->auth_user, &setup.uid, &setup.gid);
	(void)snprintf(setup.delimiter, sizeof setup.delimiter, "%s", conf->delimiter);
	(void)snprintf(setup.domains, sizeof setup.domains, "%s", conf->lmtp_domains);
	(void)snprintf(setup.accounts, sizeof setup.accounts, "%s", conf->accounts);
	(void)snprintf(setup.location, sizeof setup.location, "%s", conf->mail_location);
	process_send(process, IPC_SETUP_AUTH, &setup);
	renew_ticket_key(process->generation);
}

static void set_up_keeper(struct process *process)
{
	const struct conf *conf = &process->generation->conf;
	struct ipc_setup_keeper setup = {
	    .id = process->id,
	    .threads = (uint32_t)conf->keeper_threads,
	    .max_open = (uint32_t)conf->max_open,
	    .max_deliveries = (uint32_t)conf->max_deliveries,
	    .message_max = conf->message_max,
	    .per_account = (uint32_t)conf->per_account,
	    .per_network = (uint32_t)conf->per_address,
	    .elders = process->generation->next != NULL,
	    .log_level = (uint8_t)conf->log_level,
	    .shared = conf->sharing == CONF_SNAPSHOT,
	    .mbox_keep_quotes = conf->mbox_quoting == CONF_MBOXO,
	    .mbox_content_length = conf->mbox_content_length,
	};
	find_user(conf->keeper_user, &setup.uid, &setup.gid);
	(void)snprintf(setup.mail_root, sizeof setup.mail_root, "%s", conf->mail_root);
	process_send(process, IPC_SETUP_KEEPER, &setup);
	renew_ticket_key(process->generation);
}

void generation_set_up(struct process *process)
{
	static void (*const set_up[IPC_KINDS])(struct process *) = {
	    [IPC_WORKER] = set_up_worker, [IPC_AUTH] = set_up_auth, [IPC_KEEPER] = set_up_keeper};
	set_up[process->kind](process);
	process_send(process, IPC_START, NULL);
	if (process->kind != IPC_WORKER) /* they hear no worker before they are confined */
		connect_workers(process);
}

/* --- life --- */

int generation_start(const struct conf *conf, struct cert_set *certs)
{
	unsigned workers = worker_count(conf);
	struct generation *generation =
	    calloc(1, sizeof *generation + workers * sizeof generation->worker[0]);
	if (!generation) {
		cert_free(certs);
		return ERR_NOMEM;
	}
	generation->conf = *conf;
	generation->certs = *certs;
	generation->workers = workers;
	generation->auth.kind = IPC_AUTH;
	generation->keeper.kind = IPC_KEEPER;
	generation->auth.generation = generation->keeper.generation = generation;
	for (unsigned i = 0; i < workers; i++)
		generation->worker[i] =
		    (struct process){.generation = generation, .kind = IPC_WORKER, .slot = i};
	generation->next = master.generations;
	master.generations = generation;
	generation_each(generation, process_start);
	return ERR_NONE;
}

void generation_pass_on(const struct generation *generation, const struct ipc_wanted *wanted)
{
	for (struct generation *elder = generation->next; elder; elder = elder->next)
		process_send(&elder->keeper, IPC_RECALL, wanted);
}

static unsigned count_running(struct generation *generation, bool workers)
{
	unsigned count = 0;
	for (unsigned i = 0; workers && i < generation->workers; i++)
		count += generation->worker[i].pid ? 1 : 0;
	if (!workers)
		count = (generation->auth.pid ? 1u : 0u) + (generation->keeper.pid ? 1u : 0u);
	return count;
}

static void tell_workers(struct generation *generation, enum ipc_type type, uint64_t limit_ms)
{
	for (unsigned i = 0; i < generation->workers; i++)
		process_tell(&generation->worker[i], type, limit_ms);
}

/* A step further towards the end, as soon as those are gone who come first. */
static void wind_up(struct generation *generation)
{
	if (generation->state < GENERATION_DRAINING || count_running(generation, true) > 0)
		return;
	if (generation->state != GENERATION_STOPPING_HELPERS) {
		generation->state = GENERATION_STOPPING_HELPERS;
		process_tell(&generation->auth, IPC_STOP, MASTER_STOP_HELPER_MS);
		process_tell(&generation->keeper, IPC_STOP, MASTER_STOP_HELPER_MS);
	}
	master_attend(); /* when all are gone, it is forgotten */
}

void generation_drain(struct generation *generation)
{
	generation->state = GENERATION_DRAINING;
	tell_workers(generation, IPC_DRAIN, 0);
	wind_up(generation);
}

void generation_stop(struct generation *generation)
{
	if (generation->state >= GENERATION_STOPPING_WORKERS)
		return;
	generation->state = GENERATION_STOPPING_WORKERS;
	tell_workers(generation, IPC_STOP, MASTER_STOP_WORKER_MS);
	wind_up(generation);
}

static bool is_ready(const struct generation *generation)
{
	bool ready = generation->auth.ready && generation->keeper.ready;
	for (unsigned i = 0; i < generation->workers; i++)
		ready = ready && generation->worker[i].ready;
	return ready;
}

void generation_ready(struct process *process)
{
	struct generation *generation = process->generation;
	process->early = 0;
	if (generation->state != GENERATION_STARTING || !is_ready(generation))
		return;
	generation->state = GENERATION_SERVING;
	master_serving(generation);
}

static void give_up(struct process *process)
{
	char name[32], reason[128];
	process_name(process, name, sizeof name);
	if (process->hopeless)
		(void)snprintf(reason, sizeof reason,
		               "%s cannot work with this configuration; the log says why", name);
	else
		(void)snprintf(reason, sizeof reason,
		               "%s ended %u times before it was ready; the log says why", name,
		               process->early);
	master_given_up(process->generation, process->hopeless ? EX_CONFIG : EX_UNAVAILABLE, reason);
}

void generation_ended(struct process *process)
{
	struct generation *generation = process->generation;
	uint64_t now = time_mono_ms();
	bool early = !process->ready;
	process->ready = false;
	if (process->told || generation->state >= GENERATION_STOPPING_WORKERS) {
		wind_up(generation);
		return;
	}
	if (now - process->started_ms > MASTER_STEADY_MS)
		process->failures = 0;
	process->failures++;
	process->early += early;
	if (generation->state == GENERATION_STARTING &&
	    (process->hopeless || process->early >= MASTER_FAILURES_MAX)) {
		give_up(process);
		return;
	}
	uint64_t delay = process->failures < 2 ? 0 : MASTER_BACKOFF_MS;
	for (unsigned i = 2; i < process->failures && delay < MASTER_BACKOFF_MAX_MS; i++)
		delay *= 2;
	process->restart_at_ms = now + (delay < MASTER_BACKOFF_MAX_MS ? delay : MASTER_BACKOFF_MAX_MS);
	master_attend_at(process->restart_at_ms);
}

static void attend_process(struct process *process)
{
	uint64_t now = time_mono_ms();
	if (process_reap(process))
		generation_ended(process);
	if (process->kill_at_ms && process->kill_at_ms <= now)
		process_kill(process, process->told    ? "did not stop in time"
		                      : process->ready ? "closed its channel"
		                                       : "was not ready in time");
	if (process->restart_at_ms && process->restart_at_ms <= now)
		process_start(process);
	if (process->kill_at_ms)
		master_attend_at(process->kill_at_ms);
	if (process->restart_at_ms)
		master_attend_at(process->restart_at_ms);
}

void generation_attend(struct generation *generation)
{
	generation_each(generation, attend_process);
}
