/* SPDX-License-Identifier: MIT */
/* Base64 as RFC 4648 section 4 and RFC 5034 section 4 want it: strict. */
#ifndef BASE_BASE64_H
#define BASE_BASE64_H

#include "base/span.h"

/* Octets that encoding `len` octets gives. */
#define BASE64_ENCODED(len) (((len) + 2) / 3 * 4)

/* Decodes into `to` (room for text.len / 4 * 3 octets; may be text.ptr itself).
 * ERR_SYNTAX for any octet outside the alphabet, a length that is no multiple
 * of four, padding anywhere but at the end, or non-zero padding bits.
 * *ret_len is written on success only. */
int base64_decode(struct span text, char *to, size_t *ret_len);

/* Encodes into `to` (room for BASE64_ENCODED(octets.len)); returns its length. */
size_t base64_encode(struct span octets, char *to);

#endif
