/* SPDX-License-Identifier: MIT */
/* Decimal numbers. Used by every process on bytes from anywhere. */
#include "base/num.h"

#include "base/err.h"

#include <string.h>

static const char units[] = "KMGT";

int num_parse(struct span text, uint64_t max, uint64_t *ret_value)
{
	if (text.len == 0)
		return ERR_SYNTAX;
	uint64_t value = 0;
	bool over = false;
	for (size_t i = 0; i < text.len; i++) {
		if (text.ptr[i] < '0' || text.ptr[i] > '9')
			return ERR_SYNTAX;
		uint64_t digit = (uint64_t)(text.ptr[i] - '0');
		over = over || value > (UINT64_MAX - digit) / 10;
		value = over ? value : value * 10 + digit;
	}
	if (over || value > max)
		return ERR_RANGE;
	*ret_value = value;
	return ERR_NONE;
}

size_t num_print(char *to, uint64_t value)
{
	char back[NUM_TEXT_MAX];
	size_t len = 0;
	do {
		back[len++] = (char)('0' + value % 10);
		value /= 10;
	} while (value);
	for (size_t i = 0; i < len; i++)
		to[i] = back[len - 1 - i];
	return len;
}

int num_parse_octets(struct span text, uint64_t max, uint64_t *ret_value)
{
	const char *unit = text.len ? memchr(units, text.ptr[text.len - 1], sizeof units - 1) : NULL;
	unsigned shift = unit ? 10 * (unsigned)(unit - units + 1) : 0;
	uint64_t value;
	int err = num_parse(unit ? span_first(text, text.len - 1) : text, max >> shift, &value);
	if (err == ERR_NONE)
		*ret_value = value << shift;
	return err;
}

void num_print_octets(char to[NUM_TEXT_MAX + 1], uint64_t octets)
{
	size_t unit = 0;
	for (; units[unit] && octets && octets % 1024 == 0; unit++)
		octets /= 1024;
	size_t len = num_print(to, octets);
	if (unit)
		to[len++] = units[unit - 1];
	to[len] = '\0';
}
