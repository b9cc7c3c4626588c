/* SPDX-License-Identifier: MIT */
/* Clocks, for programs; libraries below them are handed the time. */
#ifndef BASE_TIME_H
#define BASE_TIME_H

#include <stdint.h>

/* Milliseconds of CLOCK_MONOTONIC: the same in every process of this machine. */
uint64_t time_mono_ms(void);

/* Nanoseconds since 1970 (CLOCK_REALTIME). */
uint64_t time_real_ns(void);

#endif
