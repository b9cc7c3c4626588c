/* SPDX-License-Identifier: MIT */
/* Progress of administrator's commands, on standard error. */
#include "admin/progress.h"

#include "base/time.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

enum { PAUSE_MS = 200 };

void progress_show(struct progress *progress, const char *what, uint64_t done, uint64_t all)
{
	uint64_t now = time_mono_ms();
	if (now < progress->next_ms || !isatty(STDERR_FILENO))
		return;
	progress->next_ms = now + PAUSE_MS;
	progress->shown = true;
	fprintf(stderr, "\r\033[K%s: %" PRIu64, what, done);
	if (all)
		fprintf(stderr, " of %" PRIu64, all);
	fprintf(stderr, " messages");
}

void progress_clear(struct progress *progress)
{
	if (progress->shown)
		fprintf(stderr, "\r\033[K");
	*progress = (struct progress){0};
}
