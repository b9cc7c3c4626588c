/* SPDX-License-Identifier: MIT */
/*
 * Listening sockets: one with SO_REUSEPORT for each address and worker slot, kept as long
 * as the configuration names the address. What waits in a socket of a worker that
 * died is served by its successor. Of a Unix socket there is one, which all workers accept from. Runs in the
 * master; nothing is read from them here.
 */
#include "net/listen.h"
#include "os/os.h"
#include "server/master.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LISTEN_ROWS = 2 * CONF_LISTEN_MAX }; /* of the old configuration and the new one */

static struct row {
	char address[CONF_ADDRESS_MAX];
	bool local; /* a Unix socket: */
	dev_t device;
	ino_t inode;
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

static bool is_local(const char *address)
{
	return strncmp(address, CONF_UNIX, sizeof CONF_UNIX - 1) == 0;
}

static const char *path_of(const char *address)
{
	return address + sizeof CONF_UNIX - 1;
}

/* Our own sockets at this port need not be free: "127.0.0.1:110" may become "*:110". */
static bool port_is_ours(const char *address)
{
	const char *port = strrchr(address, ':');
	for (unsigned i = 0; i < LISTEN_ROWS && port; i++) {
		const char *other = strrchr(rows[i].address, ':');
		if (!rows[i].local && other && strcmp(other, port) == 0)
			return true;
	}
	return false;
}

static int open_ports(struct row *row, const char *address, unsigned workers, struct error *error)
{
	/* The kernel would let a second restanted of the same user share the port, and each get some clients.
	 */
	int err = port_is_ours(address) ? ERR_NONE : net_check_free(address, error);
	while (!err && row->count < workers) {
		err = net_listen(address, &row->fds[row->count], error);
		if (err)
			break;
		row->count++;
		(void)snprintf(row->address, sizeof row->address, "%s", address);
	}
	return err;
}

/* One that is open already keeps its socket, with the permissions it should have now. */
static int open_local(struct row *row, const struct conf_listen *listen, struct error *error)
{
	const char *path = path_of(listen->address);
	uint32_t gid = UINT32_MAX, mode = (uint32_t)strtoul(listen->mode, NULL, 8);
	if (listen->group[0] && os_find_group(listen->group, &gid) != ERR_NONE) {
		error_set(error, "listen.group: there is no group \"%s\"", listen->group);
		return ERR_CONFIG;
	}
	if (row->count) {
		if ((gid != UINT32_MAX && chown(path, (uid_t)-1, gid) != 0) || chmod(path, mode) != 0) {
			error_set(error, "%s: its permissions cannot be set: %m", path);
			return ERR_DENIED;
		}
		return ERR_NONE;
	}
	struct stat what = {0};
	int err = net_listen_unix(path, mode, gid, &row->fds[0], error);
	if (err)
		return err;
	(void)lstat(path, &what);
	row->count = 1;
	row->local = true;
	row->device = what.st_dev;
	row->inode = what.st_ino;
	(void)snprintf(row->address, sizeof row->address, "%s", listen->address);
	return ERR_NONE;
}

static int open_row(const struct conf_listen *listen, unsigned workers, struct error *error)
{
	struct row *row = find(listen->address);
	if (!row)
		row = find(""); /* an unused one */
	if (!row) {
		error_set(error, "%s: too many addresses at once", listen->address);
		return ERR_FULL;
	}
	return is_local(listen->address) ? open_local(row, listen, error)
	                                 : open_ports(row, listen->address, workers, error);
}

int listen_open(const struct conf *conf, unsigned workers, struct error *error)
{
	int err = ERR_NONE;
	for (uint64_t i = 0; i < conf->listen_count && !err; i++)
		err = open_row(&conf->listen[i], workers, error);
	return err;
}

int listen_copy(const char *address, unsigned slot)
{
	const struct row *row = find(address);
	if (row && row->local)
		slot = 0;
	return row && slot < row->count ? fcntl(row->fds[slot], F_DUPFD_CLOEXEC, 0) : -1;
}

static bool is_named(const struct conf *conf, const char *address)
{
	for (uint64_t i = 0; conf && i < conf->listen_count; i++)
		if (strcmp(conf->listen[i].address, address) == 0)
			return true;
	return false;
}

/* Unless somebody has put something else there meanwhile. */
static void remove_socket(const struct row *row)
{
	struct stat what;
	const char *path = path_of(row->address);
	if (lstat(path, &what) == 0 && what.st_dev == row->device && what.st_ino == row->inode)
		(void)unlink(path);
}

void listen_close_others(const struct conf *conf, unsigned workers)
{
	for (unsigned i = 0; i < LISTEN_ROWS; i++) {
		struct row *row = &rows[i];
		unsigned keep = !is_named(conf, row->address) ? 0 : row->local ? 1 : workers;
		if (row->local && row->count > keep)
			remove_socket(row);
		while (row->count > keep)
			(void)close(row->fds[--row->count]);
		if (row->count == 0)
			*row = (struct row){.count = 0};
	}
}
