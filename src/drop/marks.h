/* SPDX-License-Identifier: MIT */
/* Deletion marks: one bit for each message, as drop_commit() takes them. */
#ifndef DROP_MARKS_H
#define DROP_MARKS_H

#include "base/err.h"
#include "base/span.h"

#include <stdint.h>

static inline bool marks_has(struct span marks, uint32_t number)
{
	return (unsigned char)marks.ptr[(number - 1) / 8] >> (number - 1) % 8 & 1;
}

/* Whether they are marks of `count` messages and of no others: ERR_SYNTAX. */
static inline int marks_check(struct span marks, uint32_t count)
{
	if (marks.len != ((size_t)count + 7) / 8)
		return ERR_SYNTAX;
	for (uint32_t number = count + 1; number <= marks.len * 8; number++)
		if (marks_has(marks, number))
			return ERR_SYNTAX;
	return ERR_NONE;
}

#endif
