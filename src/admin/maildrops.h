/* SPDX-License-Identifier: MIT */
/* Commands that do one thing to the maildrop of an account, or to those of all: their command line, the
 * round, and the result as text or JSON. */
#ifndef ADMIN_MAILDROPS_H
#define ADMIN_MAILDROPS_H

#include "admin/maildrop.h"
#include "admin/progress.h"

#include <jansson.h>

struct maildrops {
	const char *about; /* what the command does, for --help */
	/* Works on one account. 0, or the exit status after complaining; then the others have their turn
	 * still. With `result` (--json) it adds to that object, otherwise it prints. */
	int (*work)(struct maildrops *maildrops, const struct account *account, json_t *result);

	const char *config, *user; /* user NULL: all */
	uint64_t wait_s;
	bool json;
	struct conf conf;
	struct progress progress;
};

/* What main() returns. */
int maildrops_main(int argc, char **argv, struct maildrops *maildrops);

#endif
