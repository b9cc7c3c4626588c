/* SPDX-License-Identifier: MIT */
/* Listings. Made by the keeper of what it has checked; read by workers, whose memory stays safe whatever
 * comes. */
#include "pop/listing.h"

#include "base/err.h"
#include "base/num.h"

#include <string.h>

/* The decimal digits of 1, 2, 3, ...: counting on costs less than printing each. */
struct counter {
	char digits[NUM_TEXT_MAX];
	size_t len;
};

static void count_on(struct counter *counter)
{
	size_t at = counter->len;
	while (at > 0 && counter->digits[at - 1] == '9')
		counter->digits[--at] = '0';
	if (at > 0) {
		counter->digits[at - 1]++;
		return;
	}
	counter->digits[0] = '1'; /* 0, or 99...9, which is 00...0 by now */
	if (counter->len)
		counter->digits[counter->len] = '0';
	counter->len++;
}

static unsigned digits_of(uint64_t value)
{
	unsigned digits = 1;
	for (; value >= 10; value /= 10)
		digits++;
	return digits;
}

static uint64_t fixed_size(uint32_t count)
{
	return (uint64_t)count * sizeof(uint64_t) + 2 * ((uint64_t)count + 1) * sizeof(uint32_t);
}

uint64_t pop_listing_size(const struct pop_source *source)
{
	uint64_t size = fixed_size(source->count) + source->uid_at[source->count];
	struct counter number = {.len = 0};
	for (uint32_t i = 0; i < source->count; i++) {
		count_on(&number);
		size += 2 * (number.len + sizeof " \r\n" - 1) + digits_of(source->octets[i]);
	}
	return size;
}

/* "7 " before, CRLF behind what the caller puts in between. */
static char *begin_line(char *to, const struct counter *number)
{
	memcpy(to, number->digits, sizeof number->digits); /* a constant is quicker than the exact length */
	to[number->len] = ' ';
	return to + number->len + 1;
}

static char *put_uid(const struct pop_source *source, uint32_t i, char *to)
{
	size_t len = source->uid_at[i + 1] - source->uid_at[i];
	memcpy(to, source->uids + source->uid_at[i], len);
	return to + len;
}

static char *put_lines(const struct pop_source *source, bool uidl, uint32_t *at, char *to)
{
	struct counter number = {.len = 0};
	char line[NUM_TEXT_MAX + 1 + UINT8_MAX + 2];
	uint32_t end = 0;
	at[0] = 0;
	for (uint32_t i = 0; i < source->count; i++) {
		count_on(&number);
		char *next = begin_line(line, &number);
		next = uidl ? put_uid(source, i, next) : next + num_print(next, source->octets[i]);
		*next++ = '\r';
		*next++ = '\n';
		size_t len = (size_t)(next - line);
		memcpy(to + end, line, len);
		end += (uint32_t)len;
		at[i + 1] = end;
	}
	return to + end;
}

void pop_listing_make(const struct pop_source *source, char *to)
{
	uint32_t *list_at = (uint32_t *)(void *)(to + (size_t)source->count * sizeof(uint64_t));
	uint32_t *uidl_at = list_at + source->count + 1;
	if (source->count)
		memcpy(to, source->octets, (size_t)source->count * sizeof(uint64_t));
	char *text = put_lines(source, false, list_at, to + fixed_size(source->count));
	(void)put_lines(source, true, uidl_at, text);
}

int pop_listing_open(struct span block, struct pop_listing *ret)
{
	uint32_t count = ret->count;
	uint64_t fixed = fixed_size(count);
	if (block.len < fixed)
		return ERR_PEER;
	const uint32_t *list_at =
	    (const uint32_t *)(const void *)(block.ptr + (size_t)count * sizeof(uint64_t));
	const uint32_t *uidl_at = list_at + count + 1;
	struct span text = span_after(block, (size_t)fixed);
	if ((uint64_t)list_at[count] + uidl_at[count] != text.len)
		return ERR_PEER;
	ret->octets = (const uint64_t *)(const void *)block.ptr;
	ret->list = (struct pop_lines){list_at, span_first(text, list_at[count])};
	ret->uidl = (struct pop_lines){uidl_at, span_after(text, list_at[count])};
	return ERR_NONE;
}

struct span pop_listing_lines(const struct pop_lines *lines, uint32_t from, uint32_t to)
{
	uint32_t begin = lines->at[from - 1], end = lines->at[to];
	bool holds = begin <= end && end <= lines->text.len && (from < to || end - begin <= POP_LINE_MAX);
	return holds ? span_first(span_after(lines->text, begin), end - begin) : SPAN("\r\n");
}
