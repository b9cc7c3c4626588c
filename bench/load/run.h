/* SPDX-License-Identifier: MIT */
/* A run: many sessions at once against one server, on one thread and one epoll. */
#ifndef LOAD_RUN_H
#define LOAD_RUN_H

#include "load/client.h"

#include <sys/socket.h>

enum {
	RUN_LOGINS_MAX = 64,  /* sessions that log in at the same time while the idle profile fills up */
	RUN_STALL_MS = 60000, /* nothing comes from the server for so long: give up */
	RUN_ERRORS_MAX = 100, /* sessions that fail before the run is given up */
	RUN_CONNECTIONS_MAX = 200000,
};

enum security { SECURITY_PLAIN, SECURITY_STLS, SECURITY_TLS };

struct run_plan {
	struct client_plan client;
	enum security security;
	bool resume; /* resume TLS sessions */
	struct sockaddr_storage address;
	socklen_t address_len;
	unsigned connections;
	uint64_t sessions;    /* end after so many; 0: no such end */
	uint64_t duration_ms; /* begin no session after so long, or hold so long; 0: no such end */
	struct account *accounts;
	size_t accounts_count;
};

struct run_result {
	uint64_t sessions; /* that went to their end and found everything right */
	uint64_t messages;
	uint64_t octets;
	uint64_t resumed; /* TLS sessions */
	uint64_t held;    /* most sessions that were held at once */
	uint64_t errors;  /* sessions that failed */
	uint64_t nanoseconds;
	struct error first_error;
};

/* Runs until the plan's end, or until *stop is set (by a signal handler) and the sessions that
 * have begun are through. *ret is written in any case. A negative `enum err`: the run could not be set up. */
int run_load(const struct run_plan *plan, const volatile int *stop, struct run_result *ret,
             struct error *error);

#endif
