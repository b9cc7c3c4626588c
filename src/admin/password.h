/* SPDX-License-Identifier: MIT */
/* A new password from a person or a script; never from the command line, which every
 * process can read. Used by `restante user`. */
#ifndef ADMIN_PASSWORD_H
#define ADMIN_PASSWORD_H

#include "base/err.h"
#include "base/secret.h"

/* Asks twice at the terminal that is standard input, without echo. ERR_CHANGED: the two differ; ERR_CLOSED:
 * end of input; ERR_FULL: too long; ERR_NOMEM, ERR_IO. A signal meanwhile ends the process as usual, with the
 * terminal as it was. */
int password_ask(const char *name, struct secret *ret);

/* The first line of what `fd` gives, without its line end. Errors as above. */
int password_read(int fd, struct secret *ret);

#endif
