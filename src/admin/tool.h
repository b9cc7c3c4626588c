/* SPDX-License-Identifier: MIT */
/* What the subcommands of `restante` have in common: how they complain, exit, and read the configuration. */
#ifndef ADMIN_TOOL_H
#define ADMIN_TOOL_H

#include "conf/conf.h"

/* "user": the subcommand; each program defines its own. */
extern const char tool_name[];

/* Where the configuration is when nobody says otherwise. */
extern const char tool_default_config[];

/* Says "restante SUB: ..." on standard error and returns `status`. */
int tool_complain(int status, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The exit status (sysexits.h) nearest to an enum err. */
int tool_status_of(int err);

/* What every command begins with: a file that may not grow any more (RLIMIT_FSIZE, which mail programs set)
 * is an error from then on and no end, and the configuration file is loaded; NULL is the default one. 0, or
 * the exit status after complaining. */
int tool_begin(const char *path, struct conf *ret);

/* Writes out what is buffered for standard output. 0, or the exit status after complaining. */
int tool_flush(void);

#endif
