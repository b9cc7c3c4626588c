/* SPDX-License-Identifier: MIT */
/* How far a long command is, on a terminal; nothing elsewhere. */
#ifndef ADMIN_PROGRESS_H
#define ADMIN_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
	bool shown;       /* something stands in the terminal's line */
	uint64_t next_ms; /* when it is due again */
};

/* Shows "WHAT: DONE of ALL messages" (ALL 0: not known), now and then. */
void progress_show(struct progress *progress, const char *what, uint64_t done, uint64_t all);

/* Clears the line, for other output and at the end. */
void progress_clear(struct progress *progress);

#endif
