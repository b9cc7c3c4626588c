/* SPDX-License-Identifier: MIT */
/* The accounts a run logs in with. Used by restante-bench. */
#ifndef BENCH_ACCOUNT_H
#define BENCH_ACCOUNT_H

#include "base/err.h"

#include <stddef.h>

struct account {
	char *name;
	char *password;
};

struct accounts {
	struct account *rows;
	size_t count, room;
};

/* A zeroed struct accounts is empty. Copies; ERR_NOMEM. */
int accounts_add(struct accounts *accounts, const char *name, const char *password);

/* Adds the lines "name:password" of a file; empty lines and such that begin with # are passed over. With
 * `user`: adds that account, whose password is the first line. ERR_SYNTAX: a line is something else, or there
 * is no account in it; or what is wrong with the file. *error says so. */
int accounts_read(struct accounts *accounts, const char *path, const char *user, struct error *error);

/* Wipes. */
void accounts_finish(struct accounts *accounts);

#endif
