/* SPDX-License-Identifier: MIT */
/* Between sandbox.c and syscalls.c: the second half of os_confine(). */
#ifndef OS_SANDBOX_H
#define OS_SANDBOX_H

#include "os/os.h"

/* Allows the role's system calls and answers all others with EPERM, in every thread, for good.
 * ERR_UNSUPPORTED: no seccomp here. */
int sandbox_restrict_calls(enum os_role role, struct error *error);

#endif
