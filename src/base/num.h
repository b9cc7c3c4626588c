/* SPDX-License-Identifier: MIT */
/* Decimal numbers: parsed in one function, printed in one function. With units where people write them. */
#ifndef BASE_NUM_H
#define BASE_NUM_H

#include "base/span.h"

#include <stdint.h>

enum { NUM_TEXT_MAX = 20 }; /* octets of the longest uint64_t in decimal */

/* Parses one or more digits and nothing else. ERR_SYNTAX for anything else,
 * ERR_RANGE when it is more than `max`; *ret_value is written on success only. */
int num_parse(struct span text, uint64_t max, uint64_t *ret_value);

/* Writes 1 to NUM_TEXT_MAX digits to `to` and returns how many; no NUL. */
size_t num_print(char *to, uint64_t value);

/* The same of a number of octets, which may end in K, M, G or T: 1024, 1024 * 1024, ... octets. */
int num_parse_octets(struct span text, uint64_t max, uint64_t *ret_value);

/* Writes it the shortest way that says it exactly ("10G"): at most NUM_TEXT_MAX octets and a NUL. */
void num_print_octets(char to[NUM_TEXT_MAX + 1], uint64_t octets);

#endif
