/* SPDX-License-Identifier: MIT */
/*
 * The master's loop: signals, reloads, certificate changes, the end. It reads the
 * configuration and what its children report, and nothing of any client.
 */
#include "server/master.h"

#include "base/secret.h"
#include "base/time.h"
#include "os/os.h"

#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sysexits.h>
#include <unistd.h>

struct master master;

static struct handles {
	uv_signal_t child, reload, terminate, interrupt;
	uv_timer_t due, watch, keys;
	uv_prepare_t flush;
	uint64_t due_at_ms;
} handles;

static void notify_ready(void)
{
	os_notify("READY=1");
}

static void notify_reloading(void)
{
	char text[80];
	(void)snprintf(text, sizeof text, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64, time_mono_ms() * 1000);
	os_notify(text);
}

/* --- what is due --- */

static void forget_ended(void)
{
	struct generation **at = &master.generations;
	while (*at) {
		struct generation *one = *at;
		bool over =
		    one->state == GENERATION_STOPPING_HELPERS && one->auth.pid == 0 && one->keeper.pid == 0;
		if (!over) {
			at = &one->next;
			continue;
		}
		*at = one->next;
		if (master.serving == one)
			master.serving = NULL;
		secret_wipe(&one->ticket_key, sizeof one->ticket_key);
		cert_free(&one->certs);
		free(one);
	}
	if (master.stopping && !master.generations)
		uv_stop(master.loop);
}

static void attend_all(void)
{
	handles.due_at_ms = 0;
	for (struct generation *one = master.generations; one; one = one->next)
		generation_attend(one);
	forget_ended();
}

static void handle_due(uv_timer_t *timer)
{
	(void)timer;
	attend_all();
}

void master_attend_at(uint64_t at_ms)
{
	if (handles.due_at_ms && handles.due_at_ms <= at_ms)
		return;
	uint64_t now = time_mono_ms();
	handles.due_at_ms = at_ms;
	uv_update_time(master.loop);
	(void)uv_timer_start(&handles.due, handle_due, at_ms > now ? at_ms - now : 0, 0);
}

void master_attend(void)
{
	master_attend_at(time_mono_ms());
}

static void handle_child(uv_signal_t *handle, int number)
{
	(void)handle;
	(void)number;
	attend_all();
}

/* --- generations come and go --- */

static void announce(const struct conf *conf)
{
	printf("restanted: serving");
	for (uint64_t i = 0; i < conf->listen_count; i++)
		printf("%s %s on %s", i ? "," : "",
		       conf->listen[i].protocol == CONF_LMTP ? "LMTP"
		       : conf->listen[i].tls                 ? "POP3S"
		                                             : "POP3",
		       conf->listen[i].address);
	printf("\n");
	(void)fflush(stdout);
}

static void stop_oldest(void)
{
	struct generation *oldest = NULL;
	unsigned count = 0;
	for (struct generation *one = master.generations; one; one = one->next) {
		count++;
		oldest = one;
	}
	if (count > MASTER_GENERATIONS_MAX)
		generation_stop(oldest);
}

static void reload(void);

void master_serving(struct generation *generation)
{
	struct generation *old = master.serving;
	struct log_line line;
	master.serving = generation;
	log_begin(&line, LOG_INFO, "serving");
	log_num(&line, "workers", generation->workers);
	log_num(&line, "addresses", generation->conf.listen_count);
	log_end(&line);
	listen_close_others(&generation->conf, generation->workers);
	if (old)
		generation_drain(old);
	else
		announce(&generation->conf);
	stop_oldest();
	notify_ready();
	if (master.reload_wanted)
		reload();
}

static void stop(void)
{
	if (!master.stopping) {
		master.stopping = true;
		os_notify("STOPPING=1");
		log_note(LOG_INFO, "stopping");
	}
	for (struct generation *one = master.generations; one; one = one->next)
		generation_stop(one);
	master_attend();
}

void master_given_up(struct generation *generation, int status, const char *reason)
{
	log_note(LOG_ERROR, "%s", reason);
	if (!master.serving) {
		fprintf(stderr, "restanted: giving up: %s\n", reason);
		master.status = status;
		stop();
		return;
	}
	log_note(LOG_ERROR, "the new children are given up, the old ones go on");
	generation_stop(generation);
	listen_close_others(&master.serving->conf, master.serving->workers);
	notify_ready();
}

/* --- reloading --- */

static bool is_starting(void)
{
	return master.generations && master.generations->state == GENERATION_STARTING;
}

static void log_complaints(const struct conf_errors *errors)
{
	for (unsigned i = 0; i < errors->count; i++) {
		struct log_line line;
		log_begin(&line, errors->list[i].warning ? LOG_WARNING : LOG_ERROR, "config");
		log_text(&line, "file", master.conf_path);
		log_num(&line, "line", errors->list[i].line);
		log_text(&line, "text", errors->list[i].text);
		log_end(&line);
	}
}

/* Loads and checks everything, then starts a generation of it. Whatever is wrong, the old one goes on. */
static int try_reload(struct conf *conf, struct conf_errors *errors)
{
	struct cert_set certs;
	struct error error = {""};
	int err = conf_load(master.conf_path, conf, errors);
	if (err)
		return err;
	check_surroundings(conf, master.libexec, errors);
	err = cert_load(conf, &certs, errors);
	if (err || errors->errors)
		return cert_free(&certs), ERR_CONFIG;
	err = listen_open(conf, worker_count(conf), &error);
	if (!err)
		err = log_open(conf, &error);
	if (err) {
		conf_complain(errors, 0, "%s", error.text);
		listen_close_others(&master.serving->conf, master.serving->workers);
		return cert_free(&certs), err;
	}
	return generation_start(conf, &certs);
}

static void reload(void)
{
	master.reload_wanted = is_starting();
	if (master.stopping || master.reload_wanted || !master.serving)
		return;
	struct error error = {""};
	struct conf *conf = malloc(sizeof *conf);
	struct conf_errors *errors = malloc(sizeof *errors);
	notify_reloading();
	if (log_open(&master.serving->conf, &error) != ERR_NONE)
		log_note(LOG_ERROR, "%s", error.text);
	if (conf && errors) {
		int err = try_reload(conf, errors);
		log_complaints(errors);
		if (err) {
			log_note(LOG_ERROR, "not reloaded: %s; the old configuration stays", err_text(err));
			notify_ready();
		} else {
			log_note(LOG_INFO, "reloading");
		}
	}
	free(conf);
	free(errors);
}

static void handle_reload(uv_signal_t *handle, int number)
{
	(void)handle;
	(void)number;
	reload();
}

/* --- certificates and keys --- */

static void handle_watch(uv_timer_t *timer)
{
	(void)timer;
	struct generation *serving = master.serving;
	if (master.stopping || !serving || is_starting() || !cert_changed(&serving->conf, &serving->certs))
		return;
	struct cert_set fresh;
	struct conf_errors *errors = calloc(1, sizeof *errors);
	if (!errors)
		return;
	if (cert_load(&serving->conf, &fresh, errors) == ERR_NONE) {
		log_note(LOG_INFO, "certificate files have changed: new children get them");
		(void)generation_start(&serving->conf, &fresh);
	} else {
		log_complaints(errors);
		log_note(LOG_ERROR, "changed certificate files do not fit (yet); the old ones stay");
		for (unsigned i = 0; i < serving->certs.count; i++) { /* say it once for this change */
			serving->certs.list[i].chain = fresh.list[i].chain;
			serving->certs.list[i].key = fresh.list[i].key;
		}
		cert_free(&fresh);
	}
	free(errors);
}

static void make_key(uint8_t key[IPC_TLS_KEY_SIZE])
{
	if (getrandom(key, IPC_TLS_KEY_SIZE, 0) != IPC_TLS_KEY_SIZE)
		abort(); /* never happens: the kernel's pool is ready when the system is up */
}

static void send_keys(struct process *process)
{
	if (process->kind == IPC_WORKER)
		process_send(process, IPC_TLS_KEYS, &master.tls_keys);
}

static void handle_keys(uv_timer_t *timer)
{
	(void)timer;
	memcpy(master.tls_keys.previous, master.tls_keys.current, IPC_TLS_KEY_SIZE);
	make_key(master.tls_keys.current);
	for (struct generation *one = master.generations; one; one = one->next)
		generation_each(one, send_keys);
}

/* --- the end --- */

static void kill_now(struct process *process)
{
	process_kill(process, "told twice to stop");
}

static void handle_stop(uv_signal_t *handle, int number)
{
	(void)handle;
	(void)number;
	bool again = master.stopping;
	stop();
	for (struct generation *one = master.generations; one && again; one = one->next)
		generation_each(one, kill_now);
}

static void handle_flush(uv_prepare_t *prepare)
{
	(void)prepare;
	log_flush();
}

static int watch_everything(void)
{
	uv_loop_t *loop = master.loop;
	struct sigaction ignore = {.sa_handler = SIG_IGN};
	(void)sigaction(SIGPIPE, &ignore, NULL);
	int err = uv_signal_init(loop, &handles.child) | uv_signal_init(loop, &handles.reload) |
	          uv_signal_init(loop, &handles.terminate) | uv_signal_init(loop, &handles.interrupt) |
	          uv_timer_init(loop, &handles.due) | uv_timer_init(loop, &handles.watch) |
	          uv_timer_init(loop, &handles.keys) | uv_prepare_init(loop, &handles.flush);
	if (!err)
		err = uv_signal_start(&handles.child, handle_child, SIGCHLD) |
		      uv_signal_start(&handles.reload, handle_reload, SIGHUP) |
		      uv_signal_start(&handles.terminate, handle_stop, SIGTERM) |
		      uv_signal_start(&handles.interrupt, handle_stop, SIGINT) |
		      uv_timer_start(&handles.watch, handle_watch, MASTER_WATCH_MS, MASTER_WATCH_MS) |
		      uv_timer_start(&handles.keys, handle_keys, MASTER_KEY_MS, MASTER_KEY_MS) |
		      uv_prepare_start(&handles.flush, handle_flush);
	return err ? ERR_NOMEM : ERR_NONE;
}

int master_run(const struct conf *conf, struct cert_set *certs)
{
	master.loop = uv_default_loop();
	if (!master.loop || watch_everything() != ERR_NONE)
		return EX_OSERR;
	uint64_t files = os_raise_files(MASTER_FILES);
	if (files < conf->worker_max_sessions)
		log_note(LOG_WARNING,
		         "the limit on open files, %" PRIu64
		         ", is below worker.max_sessions: raise it (ulimit -n)",
		         files);
	make_key(master.tls_keys.current);
	make_key(master.tls_keys.previous);
	if (generation_start(conf, certs) != ERR_NONE)
		return EX_OSERR;
	(void)uv_run(master.loop, UV_RUN_DEFAULT);
	listen_close_others(NULL, 0);
	secret_wipe(&master.tls_keys, sizeof master.tls_keys);
	log_note(LOG_INFO, "stopped");
	log_flush();
	return master.status;
}
