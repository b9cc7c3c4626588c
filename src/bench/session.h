/* SPDX-License-Identifier: MIT */
/*
 * One session of a run: a socket, perhaps TLS, the client machine, and the times of what happens. It feeds
 * the machine when the socket is ready and tells its owner when it is over. Used by restante-bench.
 */
#ifndef BENCH_SESSION_H
#define BENCH_SESSION_H

#include "bench/client.h"
#include "bench/tally.h"
#include "net/conn.h"

#include <openssl/ssl.h>
#include <sys/socket.h>
#include <uv.h>

enum security { SECURITY_PLAIN, SECURITY_STLS, SECURITY_TLS };

enum { SESSION_READ_SIZE = 256 * 1024 }; /* one buffer for all; it stays in the second-level cache */

struct session;

/* What the sessions of a run share. */
struct session_host {
	uv_loop_t *loop;
	struct tally *tally;
	SSL_CTX *tls;
	enum security security;
	bool resume; /* resume TLS sessions */
	struct sockaddr_storage address;
	socklen_t address_len;
	char *buffer; /* SESSION_READ_SIZE */
	/* The client machine holds: logged in and silent. */
	void (*holds)(struct session_host *host);
	/* The session is over and its memory may be used again. Called from the loop, never from
	 * session_begin(). */
	void (*over)(struct session_host *host, struct session *session);
};

struct session {
	struct session_host *host;
	struct conn conn;
	union {
		uv_handle_t any;
		uv_poll_t poll;
		uv_timer_t none; /* there is no socket to poll */
	} handle;
	int events; /* polled for; 0: not polled */
	bool open;  /* between session_begin() and `over` */
	bool connected, shaking, held, ended;
	bool greeted, logged_in;   /* told to the tally */
	uint64_t messages, octets; /* told to the tally */
	size_t account;            /* the owner's business */
	uint64_t due_ns, heard_ns; /* when it should begin; when the server last said something */
	SSL_SESSION *resumable;
	struct client client;
};

/* Begins a session that was due at `due_ns` (of uv_hrtime()). From `source` if not NULL. When that fails the
 * session is over at once. `plan` and `account` must outlive it. */
void session_begin(struct session *session, struct session_host *host, const struct client_plan *plan,
                   const struct account *account, const struct sockaddr *source, uint64_t due_ns);

/* The hold is over: QUIT. */
void session_release(struct session *session);

/* Ends it at once and counts nothing. */
void session_drop(struct session *session);

/* Ends it as failed. */
void session_fail(struct session *session, int err, const struct error *error);

#endif
