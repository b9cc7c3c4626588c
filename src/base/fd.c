/* SPDX-License-Identifier: MIT */
/* Descriptors. Used by every process on its own ones. */
#include "base/fd.h"

#include <unistd.h>

void fd_close_all(const int *fds, unsigned count)
{
	for (unsigned i = 0, end; i < count; i = end) {
		end = i + 1;
		if (fds[i] < 0)
			continue;
		while (end < count && fds[end] == fds[end - 1] + 1)
			end++;
		(void)close_range((unsigned)fds[i], (unsigned)fds[end - 1], 0);
	}
}
