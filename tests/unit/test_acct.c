/* SPDX-License-Identifier: MIT */
/* Unit test of src/acct: names, location patterns, hashes and their timing, the store and how it notices
 * changes. Files lie in a temporary folder. */
#include "acct/acct.h"

#include <fcntl.h>
#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[64], path[96];
static struct acct *store;

static struct span str(const char *text)
{
	return span_str(text);
}

static int set_up(void **state)
{
	(void)state;
	(void)snprintf(folder, sizeof folder, "/tmp/restante-acct-XXXXXX");
	if (!mkdtemp(folder))
		return -1;
	(void)snprintf(path, sizeof path, "%s/accounts.db", folder);
	return acct_open(path, ACCT_CREATE, &store, NULL);
}

static int tear_down(void **state)
{
	(void)state;
	acct_close(store);
	store = NULL;
	(void)unlink(path);
	return rmdir(folder); /* a journal left behind shows here */
}

/* --- names --- */

static void names(void **state)
{
	(void)state;
	static const struct {
		struct span name;
		const char *prepared, *folded;
	} good[] = {
	    {SPAN("alice"),             "alice",             "alice"            },
	    {SPAN("Alice@Example.ORG"), "Alice@Example.ORG", "alice@example.org"},
	    {SPAN("a b"),               "a b",               "a b"              },
	    {SPAN("A\xcc\x8a"),         "\xc3\x85",          "\xc3\x85"         },
	    {SPAN("J\xc3\x96RG"),       "J\xc3\x96RG",       "j\xc3\x96rg"      },
	};
	for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
		char to[ACCT_NAME_MAX + 1];
		assert_int_equal(acct_name_prepare(good[i].name, to), ERR_NONE);
		assert_string_equal(to, good[i].prepared);
		assert_int_equal(acct_name_fold(good[i].name, to), ERR_NONE);
		assert_string_equal(to, good[i].folded);
	}
}

static void bad_names(void **state)
{
	(void)state;
	static const struct span bad[] = {
	    {"",               0},
	    {".",              1},
	    {"..",             2},
	    {".hidden",        7},
	    {"-v",             2},
	    {"a/b",            3},
	    {"a%u",            3},
	    {"a\nb",           3},
	    {"a\0b",           3},
	    {"a\x7f",          2},
	    {"a\xff",          2},
	    {"a\xc2\x85",      3},
	    {"\xc2\xad",       2}  /* nothing is left of it */,
	    {"a\xef\xbc\x8f"
	     "b", 5}  /* a full-width slash becomes a slash */,
	};
	char to[ACCT_NAME_MAX + 1] = "untouched";
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		assert_int_equal(acct_name_prepare(bad[i], to), ERR_SYNTAX);
	char longest[ACCT_NAME_MAX + 1];
	memset(longest, 'a', sizeof longest);
	assert_int_equal(acct_name_prepare(span_of(longest, sizeof longest), to), ERR_SYNTAX);
	assert_string_equal(to, "untouched");
	assert_int_equal(acct_name_prepare(span_of(longest, ACCT_NAME_MAX), to), ERR_NONE);
}

/* --- locations --- */

static void locations(void **state)
{
	(void)state;
	static const struct {
		const char *pattern, *name, *location; /* NULL: refused */
	} rows[] = {
	    {"maildir:/srv/mail/%u",    "alice",             "maildir:/srv/mail/alice"       },
	    {"maildir:/srv/%d/%n",      "alice@example.org", "maildir:/srv/example.org/alice"},
	    {"maildir:/srv/%n",         "a@b@c",             "maildir:/srv/a@b"              },
	    {"maildir:/srv/%d",         "a@b@c",             "maildir:/srv/c"                },
	    {"maildir:/srv/%u/Maildir", "a@b",               "maildir:/srv/a@b/Maildir"      },
	    {"maildir:/srv/100%%/%u",   "alice",             "maildir:/srv/100%/alice"       },
	    {"maildir:/srv/x%d",        "alice",             "maildir:/srv/x"                },
	    {"maildir:/srv/%d/%n",      "alice",             NULL                            },
	    {"maildir:/srv/%n/%d",      "alice@",            NULL                            },
	    {"maildir:/srv/%n/%d",      "alice@..",          NULL                            },
	    {"maildir:/srv/%d/%n",      "alice@.",           NULL                            },
	    {"maildir:/srv/.%d",        "alice@.",           NULL                            },
	    {"maildir:/srv/%x",         "alice",             NULL                            },
	    {"maildir:/srv/%",          "alice",             NULL                            },
	    {"maildir:srv/%u",          "alice",             NULL                            },
	    {"/srv/%u",                 "alice",             NULL                            },
	};
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		char to[ACCT_LOCATION_MAX];
		int err = acct_location(rows[i].pattern, str(rows[i].name), to, sizeof to);
		if (rows[i].location) {
			assert_int_equal(err, ERR_NONE);
			assert_string_equal(to, rows[i].location);
		} else {
			assert_int_equal(err, ERR_SYNTAX);
		}
	}
	char small[16];
	assert_int_equal(acct_location("m:/%u", str("abcdefghijkl"), small, sizeof small), ERR_NONE);
	assert_int_equal(acct_location("m:/%u", str("abcdefghijklm"), small, sizeof small), ERR_FULL);
	assert_int_equal(acct_location("m:/%u%u%u", str("abcdefghijkl"), small, sizeof small), ERR_FULL);
}

/* --- hashes --- */

static int verify(struct span password, const char *hash)
{
	struct secret secret;
	assert_int_equal(secret_init(&secret, password), ERR_NONE);
	int err = acct_verify(&secret, hash);
	secret_finish(&secret);
	return err;
}

static int make_hash(struct span password, char ret[ACCT_HASH_MAX])
{
	struct secret secret;
	assert_int_equal(secret_init(&secret, password), ERR_NONE);
	int err = acct_hash(&secret, ret);
	secret_finish(&secret);
	return err;
}

static void hashes(void **state)
{
	(void)state;
	char hash[ACCT_HASH_MAX], other[ACCT_HASH_MAX];
	assert_int_equal(make_hash(SPAN("open sesame"), hash), ERR_NONE);
	assert_int_equal(strncmp(hash, "$y$", 3), 0);
	assert_int_equal(make_hash(SPAN("open sesame"), other), ERR_NONE);
	assert_string_not_equal(hash, other); /* a fresh salt */
	assert_int_equal(verify(SPAN("open sesame"), hash), ERR_NONE);
	assert_int_equal(verify(SPAN("open sesame"), other), ERR_NONE);
	assert_int_equal(verify(SPAN("Open sesame"), hash), ERR_CREDENTIALS);
	assert_int_equal(verify(SPAN("open sesame\0x"), hash), ERR_CREDENTIALS);
	assert_int_equal(verify(SPAN(""), hash), ERR_CREDENTIALS);
	/* However the accent was typed; and octets that are no UTF-8 are octets. */
	assert_int_equal(make_hash(SPAN("A\xcc\x8a"), hash), ERR_NONE);
	assert_int_equal(verify(SPAN("\xc3\x85"), hash), ERR_NONE);
	assert_int_equal(make_hash(SPAN("p\xe9"), hash), ERR_NONE);
	assert_int_equal(verify(SPAN("p\xe9"), hash), ERR_NONE);
	assert_int_equal(verify(SPAN("p\xe8"), hash), ERR_CREDENTIALS);
	/* Other methods of crypt(3), for stores filled by hand. */
	assert_int_equal(
	    verify(SPAN("Hello world!"), "$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5"),
	    ERR_NONE);
}

static void passwords_nobody_can_have(void **state)
{
	(void)state;
	char hash[ACCT_HASH_MAX], longest[ACCT_PASSWORD_MAX + 1];
	memset(longest, 'p', sizeof longest);
	assert_int_equal(make_hash(SPAN(""), hash), ERR_SYNTAX);
	assert_int_equal(make_hash(SPAN("a\0b"), hash), ERR_SYNTAX);
	assert_int_equal(make_hash(span_of(longest, sizeof longest), hash), ERR_SYNTAX);
	assert_int_equal(make_hash(span_of(longest, ACCT_PASSWORD_MAX), hash), ERR_NONE);
	assert_int_equal(verify(span_of(longest, ACCT_PASSWORD_MAX), hash), ERR_NONE);
	assert_int_equal(verify(span_of(longest, ACCT_PASSWORD_MAX - 1), hash), ERR_CREDENTIALS);
}

static double cpu_ms(struct span password, const char *hash)
{
	struct timespec from, to;
	double best = 1e9;
	for (int i = 0; i < 3; i++) {
		(void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &from);
		assert_int_equal(verify(password, hash), ERR_CREDENTIALS);
		(void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &to);
		double ms =
		    (double)(to.tv_sec - from.tv_sec) * 1e3 + (double)(to.tv_nsec - from.tv_nsec) / 1e6;
		best = ms < best ? ms : best;
	}
	return best;
}

static void time_tells_nothing(void **state)
{
	(void)state;
	char hash[ACCT_HASH_MAX];
	assert_int_equal(make_hash(SPAN("open sesame"), hash), ERR_NONE);
	double known = cpu_ms(SPAN("wrong"), hash);
	const double others[] = {
	    cpu_ms(SPAN("wrong"), NULL), cpu_ms(SPAN("wrong"), ""),  cpu_ms(SPAN("wrong"), "!"),
	    cpu_ms(SPAN("wrong"), "*0"), cpu_ms(SPAN("a\0b"), hash), cpu_ms(SPAN(""), NULL),
	};
	for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
		assert_true(others[i] > known * 0.6);
		assert_true(others[i] < known * 1.6);
	}
}

/* --- the store --- */

static void add_and_find(void **state)
{
	(void)state;
	struct acct_row row;
	assert_int_equal(acct_find(store, str("alice"), &row), ERR_NOTFOUND);
	assert_int_equal(acct_add(store, str("Alice"), "hash-a", ""), ERR_NONE);
	assert_int_equal(acct_add(store, str("ALICE"), "hash-b", ""), ERR_EXISTS);
	assert_int_equal(acct_add(store, str("bob"), "hash-b", "maildir:/srv/bob"), ERR_NONE);
	assert_int_equal(acct_add(store, str("../bob"), "hash-b", ""), ERR_SYNTAX);
	assert_int_equal(acct_add(store, str("carol"), "hash-c", "maildir:/srv/../etc"), ERR_SYNTAX);
	assert_int_equal(acct_find(store, str("aLICE"), &row), ERR_NONE);
	assert_string_equal(row.name, "Alice");
	assert_string_equal(row.hash, "hash-a");
	assert_string_equal(row.location, "");
	assert_false(row.disabled);
	assert_int_equal(acct_find(store, str("bob"), &row), ERR_NONE);
	assert_string_equal(row.location, "maildir:/srv/bob");
	assert_int_equal(acct_find(store, str("' OR 1=1 --"), &row), ERR_NOTFOUND);
	assert_int_equal(acct_find(store, str("a%"), &row), ERR_NOTFOUND);

	struct stat stat_buf;
	assert_int_equal(stat(path, &stat_buf), 0);
	assert_int_equal(stat_buf.st_mode & 07777, 0600);
}

static void change_and_delete(void **state)
{
	(void)state;
	struct acct_row row;
	assert_int_equal(acct_add(store, str("alice"), "old", ""), ERR_NONE);
	assert_int_equal(acct_set_hash(store, str("ALICE"), "new"), ERR_NONE);
	assert_int_equal(acct_set_disabled(store, str("Alice"), true), ERR_NONE);
	assert_int_equal(acct_find(store, str("alice"), &row), ERR_NONE);
	assert_string_equal(row.hash, "new");
	assert_true(row.disabled);
	assert_int_equal(acct_set_disabled(store, str("alice"), false), ERR_NONE);
	assert_int_equal(acct_find(store, str("alice"), &row), ERR_NONE);
	assert_false(row.disabled);
	assert_int_equal(acct_del(store, str("aliCe")), ERR_NONE);
	assert_int_equal(acct_find(store, str("alice"), &row), ERR_NOTFOUND);
	assert_int_equal(acct_del(store, str("alice")), ERR_NOTFOUND);
	assert_int_equal(acct_set_hash(store, str("alice"), "x"), ERR_NOTFOUND);
	assert_int_equal(acct_set_disabled(store, str("alice"), true), ERR_NOTFOUND);
}

static void quota(void **state)
{
	(void)state;
	struct acct_row row;
	assert_int_equal(acct_add(store, str("alice"), "h", ""), ERR_NONE);
	assert_int_equal(acct_find(store, str("alice"), &row), ERR_NONE);
	assert_true(row.quota_octets == ACCT_QUOTA_DEFAULT && row.quota_messages == ACCT_QUOTA_DEFAULT);
	assert_int_equal(acct_set_quota(store, str("ALICE"), ACCT_QUOTA_MAX, 0), ERR_NONE);
	assert_int_equal(acct_find(store, str("alice"), &row), ERR_NONE);
	assert_true(row.quota_octets == ACCT_QUOTA_MAX && row.quota_messages == 0);
	assert_int_equal(acct_set_quota(store, str("alice"), ACCT_QUOTA_DEFAULT, 7), ERR_NONE);
	assert_int_equal(acct_find(store, str("alice"), &row), ERR_NONE);
	assert_true(row.quota_octets == ACCT_QUOTA_DEFAULT && row.quota_messages == 7);
	assert_int_equal(acct_set_quota(store, str("alice"), ACCT_QUOTA_MAX + 1, 0), ERR_RANGE);
	assert_int_equal(acct_set_quota(store, str("bob"), 0, 0), ERR_NOTFOUND);
}

/* As the first version left it: no quotas. */
static void older_store(void **state)
{
	(void)state;
	char old[128];
	sqlite3 *db = NULL;
	struct acct *opened = NULL;
	struct acct_row row;
	struct error error;
	(void)snprintf(old, sizeof old, "%s/old.db", folder);
	assert_int_equal(sqlite3_open(old, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db,
	                              "CREATE TABLE account (name TEXT PRIMARY KEY COLLATE NOCASE, "
	                              "hash TEXT NOT NULL, location TEXT NOT NULL DEFAULT '', "
	                              "disabled INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID; "
	                              "PRAGMA user_version = 1; "
	                              "INSERT INTO account VALUES ('Alice', 'hash-a', 'maildir:/srv/a', 1)",
	                              NULL, NULL, NULL),
	                 SQLITE_OK);
	assert_int_equal(sqlite3_close(db), SQLITE_OK);
	/* Who only reads does not alter it. */
	assert_int_equal(acct_open(old, ACCT_READ, &opened, &error), ERR_CORRUPT);
	assert_non_null(strstr(error.text, "older"));
	for (int twice = 0; twice < 2; twice++) {
		assert_int_equal(acct_open(old, twice ? ACCT_READ : ACCT_CHANGE, &opened, NULL), ERR_NONE);
		assert_int_equal(acct_find(opened, str("alice"), &row), ERR_NONE);
		assert_string_equal(row.hash, "hash-a");
		assert_string_equal(row.location, "maildir:/srv/a");
		assert_true(row.disabled);
		assert_true(row.quota_octets == ACCT_QUOTA_DEFAULT);
		assert_int_equal(acct_set_quota(opened, str("alice"), 1, 2), twice ? ERR_READONLY : ERR_NONE);
		assert_int_equal(acct_set_quota(opened, str("alice"), ACCT_QUOTA_DEFAULT, ACCT_QUOTA_DEFAULT),
		                 twice ? ERR_READONLY : ERR_NONE);
		acct_close(opened);
	}
	assert_int_equal(unlink(old), 0);
}

static int add_name(void *user, const struct acct_row *row)
{
	char *text = user;
	strcat(text, row->name);
	strcat(text, " ");
	return strcmp(row->name, "carol") == 0 ? ERR_RANGE : ERR_NONE;
}

static void list(void **state)
{
	(void)state;
	char text[100] = "";
	assert_int_equal(acct_list(store, add_name, text), ERR_NONE);
	assert_int_equal(acct_add(store, str("bob"), "h", ""), ERR_NONE);
	assert_int_equal(acct_add(store, str("Alice"), "h", ""), ERR_NONE);
	assert_int_equal(acct_list(store, add_name, text), ERR_NONE);
	assert_string_equal(text, "Alice bob ");
	assert_int_equal(acct_add(store, str("dave"), "h", ""), ERR_NONE);
	assert_int_equal(acct_add(store, str("carol"), "h", ""), ERR_NONE);
	text[0] = '\0';
	assert_int_equal(acct_list(store, add_name, text), ERR_RANGE);
	assert_string_equal(text, "Alice bob carol ");
}

static uint64_t version(void)
{
	uint64_t ret = 0;
	assert_int_equal(acct_version(store, &ret), ERR_NONE);
	return ret;
}

static struct acct *open_other(void)
{
	struct acct *other = NULL;
	assert_int_equal(acct_open(path, ACCT_CHANGE, &other, NULL), ERR_NONE);
	return other;
}

/* As if the file had not been touched for long, which is when its time stamp is trusted. */
static void age_file(void)
{
	const struct timespec times[2] = {
	    {1000000000, 5},
            {1000000000, 5}
        };
	assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

static void changes_of_others_are_noticed(void **state)
{
	(void)state;
	struct acct *other = open_other();
	assert_int_equal(acct_add(other, str("alice"), "h", ""), ERR_NONE);
	for (int old = 0; old < 2; old++) {
		if (old)
			age_file();
		uint64_t before = version();
		assert_int_equal(version(), before);
		assert_int_equal(acct_set_hash(other, str("alice"), old ? "x" : "w"), ERR_NONE);
		uint64_t after = version();
		assert_int_not_equal(after, before);
		assert_int_equal(version(), after);
	}
	/* Every one of a quick series, though stamps are coarser than that. */
	for (int i = 0; i < 20; i++) {
		uint64_t before = version();
		assert_int_equal(acct_set_disabled(other, str("alice"), i % 2 == 0), ERR_NONE);
		assert_int_not_equal(version(), before);
	}
	/* Our own as well. */
	uint64_t before = version();
	assert_int_equal(acct_set_hash(store, str("alice"), "y"), ERR_NONE);
	assert_int_not_equal(version(), before);
	acct_close(other);
}

static void replaced_file_is_noticed(void **state)
{
	(void)state;
	struct acct *other = NULL;
	struct acct_row row;
	char next[128];
	uint64_t before = version();
	(void)snprintf(next, sizeof next, "%s/next.db", folder);
	assert_int_equal(acct_open(next, ACCT_CREATE, &other, NULL), ERR_NONE);
	assert_int_equal(acct_add(other, str("zoe"), "h", ""), ERR_NONE);
	acct_close(other);
	assert_int_equal(rename(next, path), 0);
	assert_int_not_equal(version(), before);
	assert_int_equal(acct_find(store, str("zoe"), &row), ERR_NONE);

	/* By nothing, by rubbish, and by a good one again. */
	uint64_t ret;
	assert_int_equal(rename(path, next), 0);
	assert_int_equal(acct_version(store, &ret), ERR_NOTFOUND);
	FILE *file = fopen(path, "w");
	assert_non_null(file);
	for (int i = 0; i < 1000; i++)
		(void)fputs("no database\n", file);
	(void)fclose(file);
	assert_int_equal(acct_version(store, &ret), ERR_CORRUPT);
	assert_int_equal(acct_find(store, str("zoe"), &row), ERR_CORRUPT);
	assert_int_equal(rename(next, path), 0);
	before = version();
	assert_int_equal(acct_find(store, str("zoe"), &row), ERR_NONE);
	assert_int_equal(version(), before);
}

static void wal_mode_is_survived(void **state)
{
	(void)state;
	sqlite3 *db = NULL;
	assert_int_equal(acct_add(store, str("alice"), "h", ""), ERR_NONE);
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, "PRAGMA journal_mode = WAL", NULL, NULL, NULL), SQLITE_OK);
	(void)version();
	age_file();
	(void)version();
	for (int i = 0; i < 3; i++) {
		uint64_t before = version();
		assert_int_equal(
		    sqlite3_exec(db, "UPDATE account SET disabled = NOT disabled", NULL, NULL, NULL),
		    SQLITE_OK);
		assert_int_not_equal(version(), before);
	}
	assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static void files_that_are_no_store(void **state)
{
	(void)state;
	struct acct *other = NULL;
	struct error error;
	char name[128];
	(void)snprintf(name, sizeof name, "%s/none.db", folder);
	assert_int_equal(acct_open(name, ACCT_CHANGE, &other, &error), ERR_NOTFOUND);
	assert_non_null(strstr(error.text, name));
	(void)snprintf(name, sizeof name, "%s/none/accounts.db", folder);
	assert_int_equal(acct_open(name, ACCT_CREATE, &other, &error), ERR_NOTFOUND);
	/* An empty file holds no accounts, but may become a store. */
	(void)snprintf(name, sizeof name, "%s/empty.db", folder);
	int fd = open(name, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	(void)close(fd);
	assert_int_equal(acct_open(name, ACCT_CHANGE, &other, &error), ERR_CORRUPT);
	assert_int_equal(acct_open(name, ACCT_CREATE, &other, &error), ERR_NONE);
	acct_close(other);
	assert_int_equal(unlink(name), 0);
}

int main(void)
{
#define STORE_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(names),
	    cmocka_unit_test(bad_names),
	    cmocka_unit_test(locations),
	    cmocka_unit_test(hashes),
	    cmocka_unit_test(passwords_nobody_can_have),
	    cmocka_unit_test(time_tells_nothing),
	    STORE_TEST(add_and_find),
	    STORE_TEST(change_and_delete),
	    STORE_TEST(list),
	    STORE_TEST(quota),
	    STORE_TEST(older_store),
	    STORE_TEST(changes_of_others_are_noticed),
	    STORE_TEST(replaced_file_is_noticed),
	    STORE_TEST(wal_mode_is_survived),
	    STORE_TEST(files_that_are_no_store),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
