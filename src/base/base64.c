/* SPDX-License-Identifier: MIT */
/* Strict base64. Used by workers on bytes from the network. */
#include "base/base64.h"

#include "base/err.h"

#include <stdint.h>

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static int sextet(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

int base64_decode(struct span text, char *to, size_t *ret_len)
{
	if (text.len % 4)
		return ERR_SYNTAX;
	size_t pad = 0;
	while (pad < 2 && pad < text.len && text.ptr[text.len - 1 - pad] == '=')
		pad++;
	size_t digits = text.len - pad;
	size_t len = 0;
	uint32_t bits = 0;
	for (size_t i = 0; i < digits; i++) {
		int value = sextet(text.ptr[i]);
		if (value < 0)
			return ERR_SYNTAX;
		bits = bits << 6 | (uint32_t)value;
		if (i % 4 == 0)
			continue; /* six bits are no octet yet */
		unsigned spare = 6 - 2 * (unsigned)(i % 4);
		to[len++] = (char)(uint8_t)(bits >> spare);
		bits &= (1u << spare) - 1;
	}
	if (bits)
		return ERR_SYNTAX; /* two spellings of one string */
	*ret_len = len;
	return ERR_NONE;
}

size_t base64_encode(struct span octets, char *to)
{
	size_t len = 0;
	for (size_t i = 0; i < octets.len; i += 3) {
		size_t have = octets.len - i < 3 ? octets.len - i : 3;
		uint32_t bits = 0;
		for (size_t k = 0; k < 3; k++)
			bits = bits << 8 | (k < have ? (uint8_t)octets.ptr[i + k] : 0u);
		for (size_t k = 0; k < 4; k++)
			to[len++] = k <= have ? alphabet[bits >> (18 - 6 * k) & 63] : '=';
	}
	return len;
}
