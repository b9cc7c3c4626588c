/* SPDX-License-Identifier: MIT */
/*
 * A buffer owns octets and is born with a maximum it never passes. It takes
 * memory when something is added and gives all of it back in buf_finish() or,
 * when it is empty, in buf_release().
 */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include "base/span.h"

struct buf {
	char *ptr;  /* octets, NULL while nothing was added */
	size_t len; /* octets in use */
	size_t cap; /* octets allocated */
	size_t max; /* the most it may ever hold */
};

void buf_init(struct buf *buf, size_t max);
void buf_finish(struct buf *buf);

/* Makes room for `more` further octets. ERR_FULL past the maximum, ERR_NOMEM. */
int buf_reserve(struct buf *buf, size_t more);

/* Appends; ERR_FULL or ERR_NOMEM and nothing appended. buf_addf() wants room for one octet more. */
int buf_add(struct buf *buf, struct span octets);
int buf_addf(struct buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Drops `count` octets from the front (count <= len). */
void buf_consume(struct buf *buf, size_t count);

/* Gives the memory back if the buffer is empty. */
void buf_release(struct buf *buf);

static inline struct span buf_span(const struct buf *buf)
{
	return (struct span){buf->ptr, buf->len};
}

#endif
