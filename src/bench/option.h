/* SPDX-License-Identifier: MIT */
/* The command line of restante-bench: rows, and what they give. */
#ifndef BENCH_OPTION_H
#define BENCH_OPTION_H

#include "bench/report.h"

struct options {
	struct run_plan plan;
	struct accounts accounts;
	const char *accounts_file, *user, *password_file;
	const char *svg_file; /* NULL: none */
	const char *host, *port;
	bool json, own_server, delete_mail;
};

/* Reads the command line, the accounts and the addresses. On a mistake it says what is wrong and ends the
 * program with a code of sysexits.h; --help and --version end it too. */
void options_read(struct options *ret, int argc, char **argv);
void options_finish(struct options *options);

#endif
