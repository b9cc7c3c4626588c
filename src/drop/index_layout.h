/* SPDX-License-Identifier: MIT */
/* Where things lie in an index file, and their sums: for its reader and its writer. */
#ifndef DROP_INDEX_LAYOUT_H
#define DROP_INDEX_LAYOUT_H

#include "drop/index.h"
#include "drop/sum.h"

#define LAYOUT_MAGIC "RESTix2\n" /* another number: another layout */

_Static_assert(sizeof(struct index_head) == 96 && sizeof(struct index_head) % SUM_BLOCK == 0,
               "the head has no holes, and sums begin behind it");
_Static_assert(sizeof(struct index_row) == 64, "a row has no holes");

static inline uint64_t layout_listing_size(const struct index_head *head)
{
	return (uint64_t)head->count * sizeof(uint64_t) + ((uint64_t)head->count + 1) * sizeof(uint32_t) +
	       head->uid_octets;
}

/* Of message `number`, from 1. */
static inline uint64_t layout_row_at(const struct index_head *head, uint32_t number)
{
	uint64_t rows_at = (sizeof *head + layout_listing_size(head) + 7) & ~UINT64_C(7);
	return rows_at + (uint64_t)(number - 1) * sizeof(struct index_row);
}

static inline uint64_t layout_names_at(const struct index_head *head)
{
	return layout_row_at(head, head->count + 1);
}

static inline uint64_t layout_head_sum(const struct index_head *head)
{
	return sum_of(0, span_of((const char *)head, offsetof(struct index_head, sum)));
}

/* The head's sum of octets: made-up sizes of sparse files may add up to more than there is. */
static inline uint64_t layout_add_octets(uint64_t octets, uint64_t more)
{
	return more > INT64_MAX - octets ? INT64_MAX : octets + more;
}

static inline uint32_t layout_row_sum(const struct index_head *head, uint32_t number,
                                      const struct index_row *row, struct span name)
{
	uint64_t sum =
	    sum_of(head->stamp + number, span_of((const char *)row, offsetof(struct index_row, sum)));
	sum = sum_of(sum, name);
	return (uint32_t)(sum ^ sum >> 32);
}

#endif
