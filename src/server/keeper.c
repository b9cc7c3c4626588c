/* SPDX-License-Identifier: MIT */
/*
 * restante-keeper: the process that holds maildrops, their locks, indexes and files. Takes its settings from
 * the master, which is trusted, and confines itself to the folder of the maildrops.
 */
#include "server/keeper.h"

#include "drop/ring.h"
#include "log/log.h"
#include "os/os.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

static int on_peer(struct child *child, enum ipc_kind kind, uint32_t id, int fd)
{
	struct keeper *keeper = child->owner;
	keeper->child = child;
	return keeper_link(keeper, kind, id, fd);
}

static int on_control(struct child *child, struct ipc_in *in)
{
	struct keeper *keeper = child->owner;
	char threads[16];
	switch (in->type) {
	case IPC_SETUP_KEEPER:
		keeper->setup = *(const struct ipc_setup_keeper *)in->fixed;
		/* libuv reads it when the first job is queued. */
		(void)snprintf(threads, sizeof threads, "%u", keeper->setup.threads);
		return setenv("UV_THREADPOOL_SIZE", threads, 1) == 0 ? ERR_NONE : ERR_NOMEM;
	case IPC_RECALL:
		keeper_recall(keeper, in->fixed);
		return ERR_NONE;
	case IPC_TICKET_KEY:
		keeper_tickets_rekey(&keeper->tickets, in->fixed);
		return ERR_NONE;
	default:
		return ERR_PEER;
	}
}

static int confine(struct keeper *keeper, struct error *error)
{
	const char *const folders[] = {keeper->setup.mail_root, NULL};
	struct os_confine how = {.role = OS_KEEPER, .folders = folders};
	int err = os_become(keeper->setup.uid, keeper->setup.gid, "", error);
	if (err == ERR_NONE)
		err = drop_root_open(keeper->setup.mail_root, &keeper->root, error);
	if (err)
		return err;
	keeper->root.mbox.keep_quotes = keeper->setup.mbox_keep_quotes;
	keeper->root.mbox.content_length = keeper->setup.mbox_content_length;
	if (rings_init(1 + keeper->setup.threads) != ERR_NONE)
		log_note(LOG_INFO, "no io_uring here: messages are opened one by one, which costs more");
	err = os_confine(&how, error);
	if (err == ERR_UNSUPPORTED) { /* the other fences stand */
		log_note(LOG_WARNING, "keeper less confined than it should be: %s", error->text);
		err = ERR_NONE;
	}
	return err;
}

/* Maildrops take at most three quarters of the descriptors: what workers send and ask for needs the others,
 * and a message whose descriptors the kernel had to drop would look like the worker's offence. */
static void limit_maildrops(struct keeper *keeper)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return;
	keeper->listings.max =
	    limit.rlim_cur / 16 < KEEPER_LISTINGS_MAX ? (unsigned)limit.rlim_cur / 16 : KEEPER_LISTINGS_MAX;
	if (keeper->setup.max_open <= limit.rlim_cur * 3 / 4 / KEEPER_FDS_PER_DROP)
		return;
	uint32_t most = (uint32_t)(limit.rlim_cur * 3 / 4 / KEEPER_FDS_PER_DROP);
	log_note(LOG_WARNING,
	         "the limit on open files allows %u open maildrops, not %u: raise it (ulimit -n)", most,
	         keeper->setup.max_open);
	keeper->setup.max_open = most;
}

/* Deliveries take at most half of what maildrops leave. */
static void limit_deliveries(struct keeper *keeper)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) != 0 ||
	    keeper->setup.max_deliveries <= limit.rlim_cur / 8 / KEEPER_FDS_PER_DELIVERY)
		return;
	keeper->setup.max_deliveries = (uint32_t)(limit.rlim_cur / 8 / KEEPER_FDS_PER_DELIVERY);
}

static int on_start(struct child *child)
{
	struct keeper *keeper = child->owner;
	struct error error = {""};
	keeper->child = child;
	int err = confine(keeper, &error);
	if (err) {
		log_note(LOG_ERROR, "keeper not started: %s", error.text);
		return err;
	}
	limit_maildrops(keeper);
	limit_deliveries(keeper);
	return ERR_NONE;
}

static void on_stop(struct child *child)
{
	struct keeper *keeper = child->owner;
	keeper->child = child;
	keeper_stop(keeper);
}

int main(void)
{
	static const struct child_ops ops = {
	    .control = on_control, .start = on_start, .peer = on_peer, .stop = on_stop};
	static struct keeper keeper = {.root.fd = -1};
	int status = child_run(IPC_KEEPER, &ops, &keeper);
	keeper_tickets_finish(&keeper.tickets);
	tally_finish(&keeper.sessions_of);
	keeper_listings_finish(&keeper.listings);
	rings_finish();
	return status;
}
