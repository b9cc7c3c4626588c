/* SPDX-License-Identifier: MIT */
/*
 * The auth process: set-up by the master, confinement to the folder of the accounts
 * file, an orderly end.
 */
#include "server/auth.h"

#include "log/log.h"
#include "os/os.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

static int take_control(struct child *child, struct ipc_in *in)
{
	struct auth *auth = child->owner;
	if (in->type == IPC_SETUP_AUTH)
		auth->setup = *(const struct ipc_setup_auth *)in->fixed;
	else if (in->type == IPC_TICKET_KEY)
		auth->key = *(const struct ipc_ticket_key *)in->fixed;
	else
		return ERR_PEER;
	return ERR_NONE;
}

/* The account file's folder: SQLite keeps its journal beside the file. */
static int confine(const struct auth *auth, struct error *error)
{
	char folder[IPC_PATH_MAX];
	(void)snprintf(folder, sizeof folder, "%s", auth->setup.accounts);
	char *slash = strrchr(folder, '/');
	if (slash == folder)
		slash[1] = '\0';
	else if (slash)
		*slash = '\0';
	else
		(void)snprintf(folder, sizeof folder, ".");
	const char *const folders[] = {folder, NULL};
	struct os_confine how = {.role = OS_AUTH, .folders = folders};
	int err = os_confine(&how, error);
	if (err == ERR_UNSUPPORTED) { /* the other fences stand */
		log_note(LOG_WARNING, "auth less confined than it should be: %s", error->text);
		err = ERR_NONE;
	}
	return err;
}

/* libuv reads the number of its threads from the environment, once. */
static int set_threads(uint32_t threads)
{
	char number[16];
	(void)snprintf(number, sizeof number, "%u", threads);
	return setenv("UV_THREADPOOL_SIZE", number, 1) == 0 ? ERR_NONE : ERR_NOMEM;
}

static int start(struct child *child)
{
	struct auth *auth = child->owner;
	struct error error = {""};
	auth->child = child;
	int err = os_become(auth->setup.uid, auth->setup.gid, "", &error);
	if (!err)
		err = acct_open(auth->setup.accounts, ACCT_CHANGE, &auth->acct, &error);
	if (!err)
		err = set_threads(auth->setup.hash_threads);
	if (!err)
		err = sasl_init(&auth->sasl);
	if (!err && auth->setup.cache_ms)
		err = auth_cache_new(auth->setup.cache_ms, &auth->cache);
	if (!err)
		err = confine(auth, &error);
	if (!err)
		err = auth_serve(auth);
	if (err) {
		log_note(LOG_ERROR, "auth cannot start: %s", error.text[0] ? error.text : err_text(err));
		child_exit(child, EX_CONFIG);
	}
	return err;
}

static int add_peer(struct child *child, enum ipc_kind kind, uint32_t id, int fd)
{
	if (kind != IPC_WORKER) {
		(void)close(fd);
		return ERR_PEER;
	}
	return auth_add_peer(child->owner, id, fd);
}

/* What is being hashed is nobody's business any more; the threads end with the process. */
static void stop(struct child *child)
{
	auth_drop_peers(child->owner);
	child_exit(child, EX_OK);
}

int main(void)
{
	static const struct child_ops ops = {
	    .control = take_control, .start = start, .peer = add_peer, .stop = stop};
	struct auth auth = {0};
	int status = child_run(IPC_AUTH, &ops, &auth);
	auth_cache_free(auth.cache);
	acct_close(auth.acct);
	sasl_free(auth.sasl);
	secret_wipe(&auth.key, sizeof auth.key);
	return status;
}
