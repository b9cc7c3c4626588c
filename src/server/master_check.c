/* SPDX-License-Identifier: MIT */
/* Whether the machine is as the configuration says: users, folders, programs. Runs in the master. */
#include "os/os.h"
#include "server/master.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

unsigned worker_count(const struct conf *conf)
{
	uint64_t count = conf->workers;
	if (count == 0) {
		long online = sysconf(_SC_NPROCESSORS_ONLN);
		count = online > 0 ? (uint64_t)online : 1;
	}
	return count < MASTER_WORKERS_MAX ? (unsigned)count : MASTER_WORKERS_MAX;
}

static void check_user(const struct conf *conf, const char *name, const char *user,
                       struct conf_errors *errors)
{
	uint32_t uid, gid;
	if (geteuid() == 0 && os_find_user(user, &uid, &gid) != ERR_NONE)
		conf_complain(errors, conf_line(conf, name),
		              "%s: there is no user \"%s\"; add one, or name another", name, user);
}

static void check_folder(const struct conf *conf, const char *name, const char *path,
                         struct conf_errors *errors)
{
	struct stat what;
	if (stat(path, &what) != 0)
		conf_complain(errors, conf_line(conf, name), "%s: folder %s: %s", name, path,
		              strerror(errno));
	else if (!S_ISDIR(what.st_mode))
		conf_complain(errors, conf_line(conf, name), "%s: %s is not a folder", name, path);
}

/* A Unix socket needs a folder to be in, and its group. */
static void check_socket(const struct conf_listen *listen, struct conf_errors *errors)
{
	char folder[CONF_ADDRESS_MAX];
	struct stat what;
	uint32_t gid;
	if (strncmp(listen->address, CONF_UNIX, sizeof CONF_UNIX - 1) != 0)
		return;
	(void)snprintf(folder, sizeof folder, "%s", listen->address + sizeof CONF_UNIX - 1);
	char *slash = strrchr(folder, '/');
	slash[slash == folder] = '\0';
	if (stat(folder, &what) != 0 || !S_ISDIR(what.st_mode))
		conf_complain(errors, listen->line, "listen.address: there is no folder %s for the socket",
		              folder);
	if (listen->group[0] && os_find_group(listen->group, &gid) != ERR_NONE)
		conf_complain(errors, listen->line, "listen.group: there is no group \"%s\"", listen->group);
}

void check_surroundings(const struct conf *conf, const char *libexec, struct conf_errors *errors)
{
	static const char *const helpers[] = {"restante-worker", "restante-auth", "restante-keeper"};
	char path[CONF_VALUE_MAX];
	check_user(conf, "worker.user", conf->worker_user, errors);
	check_user(conf, "auth.user", conf->auth_user, errors);
	check_user(conf, "keeper.user", conf->keeper_user, errors);
	for (uint64_t i = 0; i < conf->listen_count; i++)
		check_socket(&conf->listen[i], errors);
	check_folder(conf, "mail.root", conf->mail_root, errors);
	if (conf->empty_root[0])
		check_folder(conf, "worker.empty_root", conf->empty_root, errors);
	if (access(conf->accounts, F_OK) != 0)
		conf_complain(errors, conf_line(conf, "auth.accounts"),
		              "auth.accounts: %s: %s; `restante user add NAME` makes it", conf->accounts,
		              strerror(errno));
	for (size_t i = 0; i < sizeof helpers / sizeof helpers[0]; i++) {
		(void)snprintf(path, sizeof path, "%s/%s", libexec, helpers[i]);
		if (access(path, X_OK) != 0)
			conf_complain(errors, 0, "helper program %s: %s; is Restante installed whole?", path,
			              strerror(errno));
	}
}
