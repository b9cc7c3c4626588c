/* SPDX-License-Identifier: MIT */
/*
 * One list of errors for the whole project. Functions return 0 or a negative
 * `enum err`; what more there is to say goes into an optional `struct error`.
 */
#ifndef BASE_ERR_H
#define BASE_ERR_H

enum err {
	ERR_NONE = 0,
	ERR_NOMEM = -1,        /* no memory */
	ERR_FULL = -2,         /* a named limit is reached */
	ERR_SYNTAX = -3,       /* not of the grammar */
	ERR_RANGE = -4,        /* a number outside its range */
	ERR_AGAIN = -5,        /* would block; ask again when ready */
	ERR_IO = -6,           /* the disk or the network failed */
	ERR_DENIED = -7,       /* permission denied */
	ERR_NOTFOUND = -8,     /* no such thing (any more) */
	ERR_EXISTS = -9,       /* already there */
	ERR_BUSY = -10,        /* somebody else holds the lock */
	ERR_NOSPACE = -11,     /* the disk is full, or its owner's share of it */
	ERR_READONLY = -12,    /* read-only file system */
	ERR_CORRUPT = -13,     /* a file does not hold what it should */
	ERR_CHANGED = -14,     /* replaced or altered since it was looked at */
	ERR_NOTREGULAR = -15,  /* not a regular file: directory, symlink, FIFO, device */
	ERR_PEER = -16,        /* the peer broke the rules */
	ERR_CLOSED = -17,      /* the peer has closed */
	ERR_UNSUPPORTED = -18, /* not supported here */
	ERR_TIMEOUT = -19,     /* took too long */
	ERR_CREDENTIALS = -20, /* wrong user name or password, or account disabled */
	ERR_TLS = -21,         /* TLS failed */
	ERR_CONFIG = -22,      /* the configuration is wrong */
	ERR_QUOTA = -23,       /* the account may have no more mail */
	ERR_CROWDED = -24,     /* too many at once from one place */
	ERR_LAST = -24,
};

/* The English text of an error, without a full stop; never NULL. */
const char *err_text(int err);

/* The `enum err` nearest to an errno value. */
int err_from_errno(int errnum);

/* Context for people: what happened, to what. Written on failure only. */
struct error {
	char text[512];
};

/* Sets the context; `to` may be NULL. Always NUL-terminated, cut at its size. */
void error_set(struct error *to, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
