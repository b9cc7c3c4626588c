/* SPDX-License-Identifier: MIT */
/*
 * Identities and limits that only root can give. Used by the master to look users up
 * and by its children to become them; no input but the configuration's names.
 */
#include "os/os.h"

#include "base/num.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { PASSWD_MAX = 16384 }; /* octets of a passwd or group entry */

static int fail(struct error *error, const char *what)
{
	error_set(error, "%s: %s", what, strerror(errno));
	return errno == EPERM ? ERR_DENIED : ERR_IO;
}

/* Root cannot be asked whether it gave itself up: the kernel is. */
static int verify(uint32_t uid, uint32_t gid, struct error *error)
{
	uid_t u[3];
	gid_t g[3];
	if (getresuid(&u[0], &u[1], &u[2]) != 0 || getresgid(&g[0], &g[1], &g[2]) != 0)
		return fail(error, "reading back the user id");
	bool same = u[0] == uid && u[1] == uid && u[2] == uid && g[0] == gid && g[1] == gid && g[2] == gid;
	bool back = uid != 0 && (setuid(0) == 0 || seteuid(0) == 0 || (gid != 0 && setegid(0) == 0));
	if (same && !back && getgroups(0, NULL) == 0)
		return ERR_NONE;
	error_set(error, "could not give up root for uid %u, gid %u", uid, gid);
	return ERR_DENIED;
}

int os_become(uint32_t uid, uint32_t gid, const char *root, struct error *error)
{
	if (geteuid() != 0)
		return ERR_NONE;
	if (root[0] && (chroot(root) != 0 || chdir("/") != 0)) {
		error_set(error, "changing the root directory to \"%s\": %s", root, strerror(errno));
		return errno == EPERM || errno == EACCES ? ERR_DENIED : ERR_IO;
	}
	if (uid == (uint32_t)-1 || gid == (uint32_t)-1)
		return ERR_NONE;
	if (setgroups(0, NULL) != 0)
		return fail(error, "giving up supplementary groups");
	if (setresgid(gid, gid, gid) != 0)
		return fail(error, "changing the group id");
	if (setresuid(uid, uid, uid) != 0)
		return fail(error, "changing the user id");
	return verify(uid, gid, error);
}

int os_find_user(const char *name, uint32_t *ret_uid, uint32_t *ret_gid)
{
	struct passwd entry, *found = NULL;
	char room[PASSWD_MAX];
	uint64_t number;
	bool numeric = num_parse(span_str(name), UINT32_MAX - 1, &number) == ERR_NONE;
	if (numeric)
		(void)getpwuid_r((uid_t)number, &entry, room, sizeof room, &found);
	else
		(void)getpwnam_r(name, &entry, room, sizeof room, &found);
	if (!found && !numeric)
		return ERR_NOTFOUND;
	*ret_uid = found ? found->pw_uid : (uint32_t)number;
	*ret_gid = found ? found->pw_gid : (uint32_t)number;
	return ERR_NONE;
}

int os_find_group(const char *name, uint32_t *ret_gid)
{
	struct group entry, *found = NULL;
	char room[PASSWD_MAX];
	uint64_t number;
	if (num_parse(span_str(name), UINT32_MAX - 1, &number) == ERR_NONE) {
		*ret_gid = (uint32_t)number;
		return ERR_NONE;
	}
	(void)getgrnam_r(name, &entry, room, sizeof room, &found);
	if (!found)
		return ERR_NOTFOUND;
	*ret_gid = found->gr_gid;
	return ERR_NONE;
}

uint64_t os_raise_files(uint64_t want)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return 0;
	struct rlimit more = {.rlim_cur = want, .rlim_max = want};
	if (limit.rlim_max < want && geteuid() == 0 && setrlimit(RLIMIT_NOFILE, &more) == 0)
		return want;
	limit.rlim_cur = limit.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &limit);
	return limit.rlim_cur;
}
