/* SPDX-License-Identifier: MIT */
/*
 * The configuration file: one table of option rows (option.c) drives the loader
 * (libconfuse), -t, -T and the check of the manual page. Used by the master and by
 * `restante`.
 */
#ifndef CONF_CONF_H
#define CONF_CONF_H

#include "base/buf.h"
#include "base/err.h"

#include <stdint.h>
#include <stdio.h>

enum {
	CONF_LISTEN_MAX = 16,
	CONF_CERT_MAX = 32,
	CONF_ERRORS_MAX = 50, /* errors reported in one go */
	CONF_VALUE_MAX = 1024,
};

struct conf_listen {
	char address[64]; /* "127.0.0.1:1110", "[::1]:995", "*:110" */
	bool tls;         /* implicit TLS */
};

struct conf_cert {
	char chain[CONF_VALUE_MAX]; /* PEM: certificate, then intermediates */
	char key[CONF_VALUE_MAX];   /* PEM */
};

struct conf {
	struct conf_listen listen[CONF_LISTEN_MAX];
	unsigned listen_count;
	struct conf_cert cert[CONF_CERT_MAX];
	unsigned cert_count;
	uint64_t workers; /* 0: one per core */
	uint64_t worker_max_sessions;
	uint64_t login_timeout_s;
	uint64_t autologout_s;
	uint64_t bad_commands_max;
	bool cleartext_always;
	uint64_t auth_cache_s;
	uint64_t hash_threads;
	uint64_t hash_queue_max;
	uint64_t keeper_threads;
	uint64_t max_open;
	char worker_user[CONF_VALUE_MAX], auth_user[CONF_VALUE_MAX], keeper_user[CONF_VALUE_MAX];
	char accounts[CONF_VALUE_MAX]; /* SQLite file */
	char mail_root[CONF_VALUE_MAX];
	char mail_location[CONF_VALUE_MAX]; /* pattern */
	char empty_root[CONF_VALUE_MAX];
	char log_file[CONF_VALUE_MAX]; /* "" or "-": standard error */
	char log_level[16];
};

#endif
