/* SPDX-License-Identifier: MIT */
/* Unit test of base/network.h and server/tally.h: what counts as one client, and counting them. */
#include "server/tally.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct network of_text(const char *text)
{
	union {
		struct sockaddr any;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
	} address = {0};
	address.any.sa_family = strchr(text, ':') ? AF_INET6 : AF_INET;
	void *to = strchr(text, ':') ? (void *)&address.v6.sin6_addr : (void *)&address.v4.sin_addr;
	assert_int_equal(inet_pton(address.any.sa_family, text, to), 1);
	return network_of(&address.any);
}

static void test_networks(void **state)
{
	(void)state;
	static const struct {
		const char *one, *other;
		bool same;
	} rows[] = {
	    {"192.0.2.1",   "192.0.2.1",            true },
	    {"192.0.2.1",   "192.0.2.2",            false},
	    {"192.0.2.1",   "::ffff:192.0.2.1",     true },
	    {"2001:db8::1", "2001:db8::ffff:2:3:4", true },
	    {"2001:db8::1", "2001:db8:0:1::1",      false},
	    {"2001:db8::1", "192.0.2.1",            false},
	    {"127.0.0.1",   "::1",                  true },
	    {"127.0.0.1",   "::ffff:127.9.9.9",     true },
	};
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct network one = of_text(rows[i].one), other = of_text(rows[i].other);
		if ((memcmp(&one, &other, sizeof one) == 0) != rows[i].same)
			fail_msg("%s and %s", rows[i].one, rows[i].other);
	}
	struct network here = of_text("127.0.0.1"), there = of_text("2001:db8::1");
	assert_true(network_is_none(&here));
	assert_false(network_is_none(&there));
	assert_true(network_is_none(&(struct network){{0}}));
}

static void test_none_is_not_counted(void **state)
{
	(void)state;
	struct tally tally = {0};
	struct network here = {{0}};
	for (unsigned i = 0; i < 10; i++)
		assert_int_equal(tally_add(&tally, &here), 1);
	assert_int_equal(tally_count(&tally, &here), 0);
	tally_remove(&tally, &here);
	assert_null(tally.entries);
}

/* Against counters that cannot be wrong. */
static void test_random(void **state)
{
	(void)state;
	enum { NETWORKS = 300, STEPS = 200000 };
	static uint32_t counts[NETWORKS];
	struct tally tally = {0};
	srandom(7);
	for (unsigned step = 0; step < STEPS; step++) {
		unsigned which = (unsigned)random() % NETWORKS;
		struct network network = {
		    {0x20, 1, 0xd, 0xb8, 0, 0, (uint8_t)(which >> 8), (uint8_t)which}
                };
		bool up = random() % 1000 < (step / (STEPS / 4) % 2 ? 400 : 600);
		if (up)
			assert_int_equal(tally_add(&tally, &network), ++counts[which]);
		else if (counts[which]) {
			tally_remove(&tally, &network);
			counts[which]--;
		}
		assert_int_equal(tally_count(&tally, &network), counts[which]);
	}
	uint32_t used = 0;
	for (unsigned which = 0; which < NETWORKS; which++) {
		struct network network = {
		    {0x20, 1, 0xd, 0xb8, 0, 0, (uint8_t)(which >> 8), (uint8_t)which}
                };
		assert_int_equal(tally_count(&tally, &network), counts[which]);
		used += counts[which] > 0;
	}
	assert_int_equal(tally.used, used);
	assert_true(tally.size >= 2 * used);
	tally_finish(&tally);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_networks),
	    cmocka_unit_test(test_none_is_not_counted),
	    cmocka_unit_test(test_random),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
