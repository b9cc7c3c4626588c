/* SPDX-License-Identifier: MIT */
/* The error texts. Used by every process; no input is trusted or needed. */
#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

static const char *const texts[] = {
    [-ERR_NONE] = "no error",
    [-ERR_NOMEM] = "out of memory",
    [-ERR_FULL] = "a limit is reached",
    [-ERR_SYNTAX] = "syntax error",
    [-ERR_RANGE] = "number out of range",
    [-ERR_AGAIN] = "would block",
    [-ERR_IO] = "input/output error",
    [-ERR_DENIED] = "permission denied",
    [-ERR_NOTFOUND] = "not found",
    [-ERR_EXISTS] = "exists already",
    [-ERR_BUSY] = "in use",
    [-ERR_NOSPACE] = "no space left",
    [-ERR_READONLY] = "read-only file system",
    [-ERR_CORRUPT] = "corrupt",
    [-ERR_CHANGED] = "changed meanwhile",
    [-ERR_NOTREGULAR] = "not a regular file",
    [-ERR_PEER] = "the peer broke the rules",
    [-ERR_CLOSED] = "closed by the peer",
    [-ERR_UNSUPPORTED] = "not supported",
    [-ERR_TIMEOUT] = "timed out",
    [-ERR_CREDENTIALS] = "wrong credentials",
    [-ERR_TLS] = "TLS error",
    [-ERR_CONFIG] = "configuration error",
    [-ERR_QUOTA] = "over quota",
    [-ERR_CROWDED] = "too many at once from one place",
};
_Static_assert(sizeof(texts) / sizeof(texts[0]) == 1 - ERR_LAST, "every error has a text");

const char *err_text(int err)
{
	return err <= 0 && err >= ERR_LAST ? texts[-err] : "unknown error";
}

int err_from_errno(int errnum)
{
	switch (errnum) {
	case 0:
		return ERR_NONE;
	case ENOMEM:
		return ERR_NOMEM;
	case EAGAIN:
		return ERR_AGAIN;
	case EACCES:
	case EPERM:
		return ERR_DENIED;
	case ENOENT:
	case ESTALE:
		return ERR_NOTFOUND;
	case EEXIST:
		return ERR_EXISTS;
	case ENOSPC:
	case EDQUOT:
		return ERR_NOSPACE;
	case EROFS:
		return ERR_READONLY;
	case ELOOP:
	case EISDIR:
	case ENOTDIR:
	case ENXIO:
		return ERR_NOTREGULAR;
	case EPIPE:
	case ECONNRESET:
		return ERR_CLOSED;
	case ENOSYS:
	case EOPNOTSUPP:
		return ERR_UNSUPPORTED;
	case EMFILE:
	case ENFILE:
		return ERR_FULL;
	case ETIMEDOUT:
		return ERR_TIMEOUT;
	default:
		return ERR_IO;
	}
}

void error_set(struct error *to, const char *format, ...)
{
	if (!to)
		return;
	va_list args;
	va_start(args, format);
	(void)vsnprintf(to->text, sizeof to->text, format, args);
	va_end(args);
}
