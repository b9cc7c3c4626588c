/* SPDX-License-Identifier: MIT */
/* Clocks. Used by programs. */
#include "base/time.h"

#include <time.h>

static uint64_t read_ns(clockid_t clock)
{
	struct timespec now;
	(void)clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t time_mono_ms(void)
{
	return read_ns(CLOCK_MONOTONIC) / 1000000u;
}

uint64_t time_real_ns(void)
{
	return read_ns(CLOCK_REALTIME);
}
