/* SPDX-License-Identifier: MIT */
/*
 * Listening sockets: one with SO_REUSEPORT for each address and worker slot, kept as long
 * as the configuration names the address. What waits in a socket of a worker that
 * died is served by its successor. Runs in the master; nothing is read from them here.
 */
#include "net/listen.h"
#include "server/master.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

enum { LISTEN_ROWS = 2 * CONF_LISTEN_MAX }; /* of the old configuration and the new one */

static struct row {
	char address[64];
	unsigned count;
	int fds[MASTER_WORKERS_MAX];
} rows[LISTEN_ROWS];

static struct row *find(const char *address)
{
	for (unsigned i = 0; i < LISTEN_ROWS; i++)
		if (strcmp(rows[i].address, address) == 0)
			return &rows[i];
	return NULL;
}

/* Our own sockets at this port need not be free: "127.0.0.1:110" may become "*:110". */
static bool port_is_ours(const char *address)
{
	const char *port = strrchr(address, ':');
	for (unsigned i = 0; i < LISTEN_ROWS && port; i++) {
		const char *other = strrchr(rows[i].address, ':');
		if (other && strcmp(other, port) == 0)
			return true;
	}
	return false;
}

static int open_row(const char *address, unsigned workers, struct error *error)
{
	struct row *row = find(address);
	if (!row)
		row = find(""); /* an unused one */
	if (!row) {
		error_set(error, "%s: too many addresses at once", address);
		return ERR_FULL;
	}
	/* The kernel would let a second restanted of the same user share the port, and each get some clients.
	 */
	int err = port_is_ours(address) ? ERR_NONE : net_check_free(address, error);
	if (err)
		return err;
	while (row->count < workers) {
		err = net_listen(address, &row->fds[row->count], error);
		if (err)
			return err;
		row->count++;
		(void)snprintf(row->address, sizeof row->address, "%s", address);
	}
	return ERR_NONE;
}

int listen_open(const struct conf *conf, unsigned workers, struct error *error)
{
	int err = ERR_NONE;
	for (uint64_t i = 0; i < conf->listen_count && !err; i++)
		err = open_row(conf->listen[i].address, workers, error);
	return err;
}

int listen_copy(const char *address, unsigned slot)
{
	const struct row *row = find(address);
	return row && slot < row->count ? fcntl(row->fds[slot], F_DUPFD_CLOEXEC, 0) : -1;
}

static bool is_named(const struct conf *conf, const char *address)
{
	for (uint64_t i = 0; conf && i < conf->listen_count; i++)
		if (strcmp(conf->listen[i].address, address) == 0)
			return true;
	return false;
}

void listen_close_others(const struct conf *conf, unsigned workers)
{
	for (unsigned i = 0; i < LISTEN_ROWS; i++) {
		struct row *row = &rows[i];
		unsigned keep = is_named(conf, row->address) ? workers : 0;
		while (row->count > keep)
			(void)close(row->fds[--row->count]);
		if (row->count == 0)
			row->address[0] = '\0';
	}
}
