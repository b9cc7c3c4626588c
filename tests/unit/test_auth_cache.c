/* SPDX-License-Identifier: MIT */
/* Unit test of server/auth_cache.c: what is found again, and what is forgotten when. */
#include "base/err.h"
#include "server/auth_cache.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { LIFE = 1000, VERSION = 7 };

static struct auth_cache *cache;

static int set_up(void **state)
{
	(void)state;
	return auth_cache_new(LIFE, &cache);
}

static int tear_down(void **state)
{
	(void)state;
	auth_cache_free(cache);
	return 0;
}

static const uint8_t *mac_of(const char *name, struct span password)
{
	static uint8_t mac[AUTH_CACHE_MAC_SIZE];
	assert_int_equal(auth_cache_compute(cache, name, password, mac), ERR_NONE);
	return mac;
}

static const struct auth_cache_entry *find(const char *name, struct span password, uint64_t now)
{
	return auth_cache_find(cache, VERSION, now, mac_of(name, password));
}

static void add(const char *name, struct span password, uint64_t now)
{
	char location[64];
	(void)snprintf(location, sizeof location, "maildir:/srv/%s", name);
	auth_cache_add(cache, VERSION, now, mac_of(name, password), name, location);
}

static void found_with_the_same_password_only(void **state)
{
	(void)state;
	assert_null(find("alice", SPAN("sesame"), 0));
	add("alice", SPAN("sesame"), 0);
	const struct auth_cache_entry *entry = find("alice", SPAN("sesame"), 1);
	assert_non_null(entry);
	assert_string_equal(entry->account, "alice");
	assert_string_equal(entry->location, "maildir:/srv/alice");
	assert_null(find("alice", SPAN("Sesame"), 1));
	assert_null(find("alice", SPAN(""), 1));
	assert_null(find("alic", SPAN("esesame"), 1)); /* the same octets, cut elsewhere */
	assert_null(find("bob", SPAN("sesame"), 1));
}

static void forgotten_when_its_time_is_over(void **state)
{
	(void)state;
	add("alice", SPAN("sesame"), 5);
	assert_non_null(find("alice", SPAN("sesame"), 5 + LIFE - 1));
	assert_null(find("alice", SPAN("sesame"), 5 + LIFE));
	/* Found too late it is gone; verified again it lives anew. */
	assert_null(find("alice", SPAN("sesame"), 5));
	add("alice", SPAN("sesame"), 100);
	add("alice", SPAN("sesame"), 200);
	assert_non_null(find("alice", SPAN("sesame"), 200 + LIFE - 1));
}

static void forgotten_when_accounts_change(void **state)
{
	(void)state;
	assert_null(find("alice", SPAN("sesame"), 0));
	add("alice", SPAN("sesame"), 0);
	add("bob", SPAN("other"), 0);
	const uint8_t *mac = mac_of("alice", SPAN("sesame"));
	assert_null(auth_cache_find(cache, VERSION + 1, 0, mac));
	/* Nor do they come back with the old number, or arrive late with it. */
	auth_cache_add(cache, VERSION, 0, mac, "alice", "maildir:/srv/alice");
	assert_null(auth_cache_find(cache, VERSION + 1, 0, mac));
	assert_null(find("alice", SPAN("sesame"), 0));
	assert_null(find("bob", SPAN("other"), 0));
	/* One verified by newer accounts than any question yet is as good a sign of a change. */
	auth_cache_add(cache, VERSION + 1, 0, mac_of("bob", SPAN("other")), "bob", "maildir:/srv/bob");
	auth_cache_add(cache, VERSION + 2, 0, mac_of("alice", SPAN("new")), "alice", "maildir:/srv/alice");
	assert_non_null(auth_cache_find(cache, VERSION + 2, 0, mac_of("alice", SPAN("new"))));
	assert_null(auth_cache_find(cache, VERSION + 2, 0, mac_of("bob", SPAN("other"))));
}

static void bounded(void **state)
{
	(void)state;
	enum { MANY = AUTH_CACHE_MAX + AUTH_CACHE_MAX / 2 };
	char name[32];
	unsigned known = 0;
	for (unsigned i = 0; i < MANY; i++) {
		(void)snprintf(name, sizeof name, "user%u", i);
		add(name, SPAN("sesame"), i / 1024);
		assert_non_null(find(name, SPAN("sesame"), i / 1024));
	}
	for (unsigned i = 0; i < MANY; i++) {
		(void)snprintf(name, sizeof name, "user%u", i);
		const struct auth_cache_entry *entry = find(name, SPAN("sesame"), LIFE - 1);
		if (entry)
			assert_string_equal(entry->account, name);
		known += entry != NULL;
	}
	assert_true(known <= AUTH_CACHE_MAX);
	assert_true(known > AUTH_CACHE_MAX * 3 / 4);
}

static void keys_differ(void **state)
{
	(void)state;
	uint8_t mac[AUTH_CACHE_MAC_SIZE];
	struct auth_cache *other = NULL;
	memcpy(mac, mac_of("alice", SPAN("sesame")), sizeof mac);
	assert_memory_equal(mac, mac_of("alice", SPAN("sesame")), sizeof mac);
	assert_int_equal(auth_cache_new(LIFE, &other), ERR_NONE);
	assert_int_equal(auth_cache_compute(other, "alice", SPAN("sesame"), mac), ERR_NONE);
	assert_memory_not_equal(mac, mac_of("alice", SPAN("sesame")), sizeof mac);
	auth_cache_free(other);
	auth_cache_free(NULL);
}

int main(void)
{
#define CACHE_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
	    CACHE_TEST(found_with_the_same_password_only),
	    CACHE_TEST(forgotten_when_its_time_is_over),
	    CACHE_TEST(forgotten_when_accounts_change),
	    CACHE_TEST(bounded),
	    CACHE_TEST(keys_differ),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
