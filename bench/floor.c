/* SPDX-License-Identifier: MIT */
/*
 * pop3-floor: answers POP3 commands by heart, one loop, no file, no account, no check. What it costs is what
 * the kernel and OpenSSL ask for on this machine, and no server can be below. Run by bench/compare; it trusts
 * its command line, and takes any octets from clients for commands.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/uio.h>
#include <sysexits.h>
#include <unistd.h>

enum {
	EVENTS = 256,
	IN_SIZE = 65536,
	PIECES = 128, /* replies that are sent together */
	JOIN_SIZE = 256 * 1024,
	BACKLOG = 4096,
	LINE = 76, /* of a message, without its end */
};

struct session {
	int fd; /* first, as in struct listener */
	SSL *ssl;
	bool greeted, shaking, closing, writing;
	struct iovec *rest; /* replies that found no room */
	int rest_count;
	char *kept; /* commands behind them, or half a command */
	size_t kept_len;
};

struct listener {
	int fd;
	bool tls, listens;
};

static struct iovec greeting, ok, capa, stat_, list, uidl, retr;
static char in[IN_SIZE], join[JOIN_SIZE];
static SSL_CTX *tls;
static int epoll;

/* --- what is known by heart --- */

static struct iovec text(const char *from)
{
	return (struct iovec){strdup(from), strlen(from)};
}

static void make_replies(unsigned messages, unsigned octets)
{
	char line[128];
	char *numbers = malloc(32 * (size_t)messages + 32), *names = malloc(80 * (size_t)messages + 32);
	char *body = malloc((size_t)octets + 32), *at = body;
	greeting = text("+OK ready\r\n");
	ok = text("+OK\r\n");
	capa = text("+OK\r\nTOP\r\nUSER\r\nUIDL\r\nSTLS\r\nPIPELINING\r\nRESP-CODES\r\n.\r\n");
	(void)snprintf(line, sizeof line, "+OK %u %llu\r\n", messages, (unsigned long long)messages * octets);
	stat_ = text(line);
	int listed = sprintf(numbers, "+OK\r\n"), named = sprintf(names, "+OK\r\n");
	for (unsigned i = 1; i <= messages; i++) {
		listed += sprintf(numbers + listed, "%u %u\r\n", i, octets);
		named += sprintf(names + named, "%u %u.Vfd01I%06xM%06u.mail\r\n", i, 1700000000 + i,
		                 i * 2654435761u >> 8, i);
	}
	list = (struct iovec){numbers, (size_t)(listed + sprintf(numbers + listed, ".\r\n"))};
	uidl = (struct iovec){names, (size_t)(named + sprintf(names + named, ".\r\n"))};
	at = stpcpy(at, "+OK\r\n");
	for (unsigned left = octets; left;) {
		unsigned len =
		    left > LINE + 2 + 2 ? LINE : left - 2; /* no room for a line end alone stays behind */
		memset(at, 'x', len);
		at = stpcpy(at + len, "\r\n");
		left -= len + 2;
	}
	at = stpcpy(at, ".\r\n");
	retr = (struct iovec){body, (size_t)(at - body)};
}

static struct iovec reply_to(const char *line)
{
	static const struct {
		char word[5];
		struct iovec *reply;
	} known[] = {
	    {"RETR", &retr },
            {"STAT", &stat_},
            {"LIST", &list },
            {"UIDL", &uidl },
            {"CAPA", &capa }
        };
	for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
		if (memcmp(line, known[i].word, 4) == 0)
			return *known[i].reply;
	return ok;
}

/* --- sessions --- */

static void watch(struct session *session, bool write)
{
	struct epoll_event event = {.events = write ? EPOLLOUT : EPOLLIN, .data.ptr = session};
	if (session->writing != write)
		(void)epoll_ctl(epoll, EPOLL_CTL_MOD, session->fd, &event);
	session->writing = write;
}

static void end(struct session *session)
{
	if (session->ssl)
		(void)SSL_shutdown(session->ssl);
	SSL_free(session->ssl);
	(void)close(session->fd);
	free(session->rest);
	free(session->kept);
	free(session);
}

/* Octets sent, 0: no room, -1: the end. */
static ssize_t send_some(struct session *session, const struct iovec *pieces, int count)
{
	if (!session->ssl) {
		ssize_t sent = writev(session->fd, pieces, count);
		return sent < 0 && errno == EAGAIN ? 0 : sent;
	}
	/* One record for many small replies, and no copy of a large one. */
	struct iovec whole = pieces[0];
	if (count > 1 && pieces[0].iov_len < JOIN_SIZE) {
		whole = (struct iovec){join, 0};
		for (int i = 0; i < count && whole.iov_len + pieces[i].iov_len <= JOIN_SIZE; i++) {
			memcpy(join + whole.iov_len, pieces[i].iov_base, pieces[i].iov_len);
			whole.iov_len += pieces[i].iov_len;
		}
	}
	size_t sent;
	int result = SSL_write_ex(session->ssl, whole.iov_base, whole.iov_len, &sent);
	if (result == 1)
		return (ssize_t)sent;
	return SSL_get_error(session->ssl, result) == SSL_ERROR_WANT_WRITE ? 0 : -1;
}

/* Sends; what finds no room is kept. False: the session has ended. */
static bool send_all(struct session *session, struct iovec *pieces, int count)
{
	while (count) {
		ssize_t sent = send_some(session, pieces, count);
		if (sent < 0) {
			end(session);
			return false;
		}
		if (sent == 0)
			break;
		for (; count && (size_t)sent >= pieces->iov_len; count--)
			sent -= (ssize_t)pieces++->iov_len;
		if (count) {
			pieces->iov_base = (char *)pieces->iov_base + sent;
			pieces->iov_len -= (size_t)sent;
		}
	}
	struct iovec *rest = count ? malloc((size_t)count * sizeof *rest) : NULL;
	if (rest)
		memcpy(rest, pieces, (size_t)count * sizeof *rest);
	free(session->rest);
	session->rest = rest;
	session->rest_count = count;
	if (!count && session->closing) {
		end(session);
		return false;
	}
	watch(session, count > 0);
	return true;
}

/* Answers what there is of whole lines; what is left is kept. False: the session has ended. */
static bool answer(struct session *session, const char *from, size_t len)
{
	const char *to = from + len, *lf;
	while (!session->rest_count && (lf = memchr(from, '\n', (size_t)(to - from)))) {
		struct iovec pieces[PIECES];
		int count = 0;
		for (; lf && count < PIECES && !session->closing && !session->shaking;
		     lf = memchr(from, '\n', (size_t)(to - from))) {
			pieces[count++] = lf - from >= 4 ? reply_to(from) : ok;
			session->closing = lf - from >= 4 && memcmp(from, "QUIT", 4) == 0;
			session->shaking = lf - from >= 4 && memcmp(from, "STLS", 4) == 0;
			from = lf + 1;
		}
		bool alive = send_all(session, pieces, count);
		if (!alive || session->shaking)
			return alive;
	}
	char *kept = to > from ? malloc((size_t)(to - from)) : NULL;
	if (kept)
		memcpy(kept, from, (size_t)(to - from));
	free(session->kept);
	session->kept = kept;
	session->kept_len = (size_t)(to - from);
	return true;
}

/* Octets read, 0: none now, -1: the end. */
static ssize_t receive(struct session *session)
{
	memcpy(in, session->kept ? session->kept : "", session->kept_len);
	char *to = in + session->kept_len;
	size_t room = IN_SIZE - session->kept_len, count;
	if (!session->ssl) {
		ssize_t got = recv(session->fd, to, room, 0);
		return got < 0 && errno == EAGAIN ? 0 : got == 0 ? -1 : got;
	}
	int result = SSL_read_ex(session->ssl, to, room, &count);
	if (result == 1)
		return (ssize_t)count;
	return SSL_get_error(session->ssl, result) == SSL_ERROR_WANT_READ ? 0 : -1;
}

/* False: not done, or over. */
static bool shake_hands(struct session *session)
{
	if (!session->ssl) {
		session->ssl = SSL_new(tls);
		(void)SSL_set_fd(session->ssl, session->fd);
		SSL_set_accept_state(session->ssl);
	}
	int result = SSL_do_handshake(session->ssl);
	session->shaking = result != 1;
	if (result != 1 && SSL_get_error(session->ssl, result) != SSL_ERROR_WANT_READ)
		end(session);
	return result == 1;
}

/* False: the session has ended. */
static bool greet(struct session *session)
{
	struct iovec piece = greeting;
	if (session->greeted)
		return true; /* before STLS */
	session->greeted = true;
	return send_all(session, &piece, 1);
}

static void run(struct session *session)
{
	if (session->shaking && (!shake_hands(session) || !greet(session)))
		return;
	if (session->rest_count) {
		if (!send_all(session, session->rest, session->rest_count) || session->rest_count)
			return;
	}
	for (;;) {
		ssize_t got = receive(session);
		if (got < 0)
			end(session);
		if (got <= 0 && !session->kept_len)
			return;
		size_t len = session->kept_len + (size_t)(got > 0 ? got : 0);
		if (got < 0 || !answer(session, in, len) || got == 0 || session->rest_count ||
		    !(session->ssl && SSL_has_pending(session->ssl)))
			return;
	}
}

static void take(const struct listener *listener)
{
	int on = 1;
	int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	struct session *session = fd >= 0 ? calloc(1, sizeof *session) : NULL;
	if (!session)
		return;
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	session->fd = fd;
	session->shaking = listener->tls;
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = session};
	(void)epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
	if (listener->tls)
		run(session); /* its first octets may be here */
	else
		(void)greet(session);
}

/* --- the program --- */

static void listen_on(struct listener *listener, const char *port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
	int on = 1;
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	listener->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	(void)setsockopt(listener->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = listener};
	if (bind(listener->fd, (struct sockaddr *)&address, sizeof address) ||
	    listen(listener->fd, BACKLOG) || epoll_ctl(epoll, EPOLL_CTL_ADD, listener->fd, &event)) {
		fprintf(stderr, "pop3-floor: port %s: %s\n", port, strerror(errno));
		exit(EX_UNAVAILABLE);
	}
}

static void make_tls(const char *cert, const char *key)
{
	tls = SSL_CTX_new(TLS_server_method());
	if (!tls || SSL_CTX_use_certificate_chain_file(tls, cert) != 1 ||
	    SSL_CTX_use_PrivateKey_file(tls, key, SSL_FILETYPE_PEM) != 1) {
		fprintf(stderr, "pop3-floor: %s and %s are no certificate and its key\n", cert, key);
		exit(EX_NOINPUT);
	}
	SSL_CTX_set_options(tls, SSL_OP_IGNORE_UNEXPECTED_EOF);
	SSL_CTX_set_num_tickets(tls, 1);
	SSL_CTX_set_session_cache_mode(tls, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_read_ahead(tls, 1);
	SSL_CTX_set_mode(tls, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
	                          SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
}

int main(int argc, char **argv)
{
	if (argc != 7) {
		fputs("usage: pop3-floor PORT TLS-PORT CERTIFICATE KEY MESSAGES OCTETS\n", stderr);
		return EX_USAGE;
	}
	(void)signal(SIGPIPE, SIG_IGN);
	static struct listener listeners[2] = {
	    {.listens = true },
            { .tls = true, .listens = true}
        };
	epoll = epoll_create1(EPOLL_CLOEXEC);
	make_tls(argv[3], argv[4]);
	make_replies((unsigned)atoi(argv[5]), (unsigned)atoi(argv[6]));
	listen_on(&listeners[0], argv[1]);
	listen_on(&listeners[1], argv[2]);
	for (;;) {
		struct epoll_event events[EVENTS];
		int count = epoll_wait(epoll, events, EVENTS, -1);
		for (int i = 0; i < count; i++) {
			void *what = events[i].data.ptr;
			if (what == &listeners[0] || what == &listeners[1])
				take(what);
			else
				run(what);
		}
	}
}
