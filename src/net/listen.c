/* SPDX-License-Identifier: MIT */
/* Listening sockets and addresses. Runs in master and worker; addresses come from the configuration and the
 * kernel. */
#include "net/listen.h"

#include "base/num.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

union address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

/* Splits at the last colon; takes the brackets off an IPv6 address. */
static int parse_address(const char *text, union address *ret, socklen_t *ret_len)
{
	const char *colon = strrchr(text, ':');
	uint64_t port;
	if (!colon || num_parse(span_str(colon + 1), UINT16_MAX, &port) != ERR_NONE || port == 0)
		return ERR_SYNTAX;
	struct span host = span_of(text, (size_t)(colon - text));
	char plain[NET_ADDRESS_MAX];
	memset(ret, 0, sizeof *ret);
	if (host.len > 2 && host.ptr[0] == '[' && host.ptr[host.len - 1] == ']')
		host = span_of(host.ptr + 1, host.len - 2);
	if (!span_to_text(host, plain, sizeof plain))
		return ERR_SYNTAX;
	if (inet_pton(AF_INET, plain, &ret->v4.sin_addr) == 1) {
		ret->v4.sin_family = AF_INET;
		ret->v4.sin_port = htons((uint16_t)port);
		*ret_len = sizeof ret->v4;
		return ERR_NONE;
	}
	if (strcmp(plain, "*") != 0 && inet_pton(AF_INET6, plain, &ret->v6.sin6_addr) != 1)
		return ERR_SYNTAX;
	ret->v6.sin6_family = AF_INET6; /* "*" is ::, which takes IPv4 too */
	ret->v6.sin6_port = htons((uint16_t)port);
	*ret_len = sizeof ret->v6;
	return ERR_NONE;
}

static bool set(int fd, int level, int option, int value)
{
	return setsockopt(fd, level, option, &value, sizeof value) == 0;
}

/* Closes `fd` and says what went wrong just now. */
static int failed(int fd, const char *address, struct error *error)
{
	int errnum = errno;
	if (fd >= 0)
		(void)close(fd);
	error_set(error, "cannot listen on %s: %s", address, strerror(errnum));
	return errnum == EADDRINUSE ? ERR_BUSY : err_from_errno(errnum);
}

/* A socket bound to `address`; `shared` lets others of ours be bound to it too. */
static int bind_to(const char *address, bool shared, int *ret_fd, struct error *error)
{
	union address to;
	socklen_t len;
	if (parse_address(address, &to, &len) != ERR_NONE) {
		error_set(error, "%s: not an address and port like 127.0.0.1:110, [::1]:110 or *:110",
		          address);
		return ERR_SYNTAX;
	}
	bool both = to.any.sa_family == AF_INET6 && strncmp(address, "*:", 2) == 0;
	int fd = socket(to.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd >= 0 && set(fd, SOL_SOCKET, SO_REUSEADDR, 1) && set(fd, SOL_SOCKET, SO_REUSEPORT, shared) &&
	    (to.any.sa_family != AF_INET6 || set(fd, IPPROTO_IPV6, IPV6_V6ONLY, !both)) &&
	    bind(fd, &to.any, len) == 0) {
		*ret_fd = fd;
		return ERR_NONE;
	}
	return failed(fd, address, error);
}

int net_check_free(const char *address, struct error *error)
{
	int fd = -1;
	int err = bind_to(address, false, &fd, error);
	if (!err)
		(void)close(fd);
	return err;
}

int net_listen(const char *address, int *ret_fd, struct error *error)
{
	int fd = -1;
	int err = bind_to(address, true, &fd, error);
	if (err)
		return err;
	if (!set(fd, SOL_SOCKET, SO_KEEPALIVE, 1) || !set(fd, IPPROTO_TCP, TCP_NODELAY, 1) ||
	    listen(fd, NET_BACKLOG) != 0)
		return failed(fd, address, error);
	*ret_fd = fd;
	return ERR_NONE;
}

void net_keep_alive(int fd, unsigned seconds)
{
	enum { PROBES = 4 }; /* in the second half of the time */
	(void)set(fd, IPPROTO_TCP, TCP_KEEPIDLE, (int)seconds / 2);
	(void)set(fd, IPPROTO_TCP, TCP_KEEPINTVL, (int)seconds / 2 / PROBES);
	(void)set(fd, IPPROTO_TCP, TCP_KEEPCNT, PROBES);
}

/* Whether what is at the path may go: a socket that nobody listens at. */
static int check_stale(const struct sockaddr_un *to, struct error *error)
{
	struct stat what;
	if (lstat(to->sun_path, &what) != 0)
		return errno == ENOENT ? ERR_NONE : failed(-1, to->sun_path, error);
	if (!S_ISSOCK(what.st_mode)) {
		error_set(error, "cannot listen on %s: it is there already, and is no socket", to->sun_path);
		return ERR_EXISTS;
	}
	int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int result = probe < 0 ? -1 : connect(probe, (const struct sockaddr *)to, sizeof *to);
	bool stale = probe >= 0 && result != 0 && errno == ECONNREFUSED;
	if (probe >= 0)
		(void)close(probe);
	if (stale)
		return unlink(to->sun_path) == 0 ? ERR_NONE : failed(-1, to->sun_path, error);
	error_set(error, "cannot listen on %s: another program does", to->sun_path);
	return ERR_BUSY;
}

int net_listen_unix(const char *path, uint32_t mode, uint32_t gid, int *ret_fd, struct error *error)
{
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	_Static_assert(sizeof to.sun_path == NET_PATH_MAX, "the path's length");
	if (strlen(path) >= sizeof to.sun_path) {
		error_set(error, "%s: the path of a socket has at most %zu octets", path,
		          sizeof to.sun_path - 1);
		return ERR_RANGE;
	}
	memcpy(to.sun_path, path, strlen(path));
	int err = check_stale(&to, error);
	if (err)
		return err;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	mode_t before = umask(0777); /* nobody connects before the permissions are as they should be */
	bool bound = fd >= 0 && bind(fd, (const struct sockaddr *)&to, sizeof to) == 0;
	(void)umask(before);
	if (!bound)
		return failed(fd, path, error);
	/* Listening at once: a socket that nobody listens at may be replaced. */
	if (listen(fd, NET_BACKLOG) != 0 || (gid != UINT32_MAX && chown(path, (uid_t)-1, gid) != 0) ||
	    chmod(path, mode) != 0) {
		err = failed(fd, path, error);
		(void)unlink(path);
		return err;
	}
	*ret_fd = fd;
	return ERR_NONE;
}

void net_address_text(const struct sockaddr *address, char to[NET_ADDRESS_MAX])
{
	const union address *from = (const union address *)(const void *)address;
	char host[INET6_ADDRSTRLEN] = "?";
	if (address->sa_family == AF_INET) {
		(void)inet_ntop(AF_INET, &from->v4.sin_addr, host, sizeof host);
		(void)snprintf(to, NET_ADDRESS_MAX, "%s:%u", host, ntohs(from->v4.sin_port));
		return;
	}
	if (address->sa_family != AF_INET6) {
		(void)snprintf(to, NET_ADDRESS_MAX, address->sa_family == AF_UNIX ? "unix" : "?");
		return;
	}
	bool mapped = IN6_IS_ADDR_V4MAPPED(&from->v6.sin6_addr);
	if (mapped)
		(void)inet_ntop(AF_INET, from->v6.sin6_addr.s6_addr + 12, host, sizeof host);
	else
		(void)inet_ntop(AF_INET6, &from->v6.sin6_addr, host, sizeof host);
	(void)snprintf(to, NET_ADDRESS_MAX, mapped ? "%s:%u" : "[%s]:%u", host, ntohs(from->v6.sin6_port));
}

bool net_is_loopback(const struct sockaddr *address)
{
	const union address *from = (const union address *)(const void *)address;
	if (address->sa_family == AF_UNIX)
		return true;
	if (address->sa_family == AF_INET)
		return ntohl(from->v4.sin_addr.s_addr) >> 24 == 127;
	if (address->sa_family != AF_INET6)
		return false;
	const struct in6_addr *v6 = &from->v6.sin6_addr;
	return IN6_IS_ADDR_LOOPBACK(v6) || (IN6_IS_ADDR_V4MAPPED(v6) && v6->s6_addr[12] == 127);
}
