/* SPDX-License-Identifier: MIT */
/* Bounded buffers. Used by every process on bytes from anywhere. */
#include "base/buf.h"

#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BUF_FIRST = 256 }; /* octets of the first allocation */

void buf_init(struct buf *buf, size_t max)
{
	*buf = (struct buf){.max = max};
}

void buf_finish(struct buf *buf)
{
	free(buf->ptr);
	buf->ptr = NULL;
	buf->len = buf->cap = 0;
}

int buf_reserve(struct buf *buf, size_t more)
{
	if (more > buf->max - buf->len)
		return ERR_FULL;
	size_t need = buf->len + more;
	if (need <= buf->cap)
		return ERR_NONE;
	size_t cap = buf->cap ? buf->cap : BUF_FIRST;
	while (cap < need)
		cap = cap > buf->max / 2 ? buf->max : cap * 2;
	if (cap > buf->max)
		cap = buf->max;
	char *ptr = realloc(buf->ptr, cap);
	if (!ptr)
		return ERR_NOMEM;
	buf->ptr = ptr;
	buf->cap = cap;
	return ERR_NONE;
}

int buf_add(struct buf *buf, struct span octets)
{
	int err = buf_reserve(buf, octets.len);
	if (err)
		return err;
	if (octets.len)
		memcpy(buf->ptr + buf->len, octets.ptr, octets.len);
	buf->len += octets.len;
	return ERR_NONE;
}

int buf_addf(struct buf *buf, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	int len = vsnprintf(NULL, 0, format, args);
	va_end(args);
	if (len < 0)
		return ERR_SYNTAX;
	int err = buf_reserve(buf, (size_t)len + 1); /* vsnprintf wants room for its NUL */
	if (err)
		return err;
	va_start(args, format);
	(void)vsnprintf(buf->ptr + buf->len, (size_t)len + 1, format, args);
	va_end(args);
	buf->len += (size_t)len;
	return ERR_NONE;
}

void buf_consume(struct buf *buf, size_t count)
{
	buf->len -= count;
	if (buf->len)
		memmove(buf->ptr, buf->ptr + count, buf->len);
}

void buf_release(struct buf *buf)
{
	if (buf->len == 0)
		buf_finish(buf);
}
