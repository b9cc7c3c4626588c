/* SPDX-License-Identifier: MIT */
/*
 * Fuzzes src/drop/name.c and measure.c: names that any program may give a message, and the octets of one.
 * The input is two names and a message, with LFs between.
 */
#include "drop/measure.h"
#include "drop/name.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void demand(bool holds)
{
	if (!holds)
		abort();
}

static int sign(int order)
{
	return (order > 0) - (order < 0);
}

static void check_name(struct span name)
{
	char uid[DROP_UID_MAX], again[DROP_UID_MAX];
	size_t len, again_len;
	struct span base = name_base(name);
	demand(base.len <= name.len && base.ptr == name.ptr);
	demand(name_base(base).len == base.len);
	demand(name_unique_id(base, uid, &len) == ERR_NONE);
	demand(name_is_unique_id(span_of(uid, len)));
	demand(name_unique_id(base, again, &again_len) == ERR_NONE);
	demand(span_equal(span_of(uid, len), span_of(again, again_len)));
	demand(name_second_unique_id(base, name.len, again, &again_len) == ERR_NONE);
	demand(name_is_unique_id(span_of(again, again_len)));
	demand(!span_equal(span_of(uid, len), span_of(again, again_len)));
	demand(name_compare(name, name) == 0);
}

static void check_pair(struct span a, struct span b)
{
	demand(sign(name_compare(a, b)) == -sign(name_compare(b, a)));
	demand((name_compare(a, b) == 0) == span_equal(a, b));
	char uid_a[DROP_UID_MAX], uid_b[DROP_UID_MAX];
	size_t len_a, len_b;
	demand(name_unique_id(name_base(a), uid_a, &len_a) == ERR_NONE);
	demand(name_unique_id(name_base(b), uid_b, &len_b) == ERR_NONE);
	demand(span_equal(name_base(a), name_base(b)) ==
	       span_equal(span_of(uid_a, len_a), span_of(uid_b, len_b)));
}

static void check_message(struct span message)
{
	struct measure whole = {0}, bytes = {0};
	measure_add(&whole, message);
	for (size_t i = 0; i < message.len; i++)
		measure_add(&bytes, span_of(message.ptr + i, 1));
	struct facts one = measure_end(&whole), other = measure_end(&bytes);
	demand(one.raw == message.len && other.raw == message.len);
	demand(one.wire == other.wire && one.header == other.header);
	demand(one.crlf == other.crlf && one.no_dots == other.no_dots);
	demand(one.wire >= one.raw && one.wire <= 2 * one.raw + 2 && one.header <= one.raw);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span rest = span_of((const char *)data, size);
	struct span a = span_cut(&rest, '\n'), b = span_cut(&rest, '\n');
	if (name_is_message(a))
		check_name(a);
	if (name_is_message(a) && name_is_message(b))
		check_pair(a, b);
	check_message(rest);
	return 0;
}
