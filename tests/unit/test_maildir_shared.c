/* SPDX-License-Identifier: MIT */
/* Unit test of Maildirs that several sessions have open at once (DROP_SHARED). */
#include "box.h"

#include "drop/index.h"

#include <pthread.h>
#include <sys/file.h>

enum { THREADS = 4, ROUNDS = 200, MESSAGES = 3 };

static struct drop *share(struct box *box)
{
	struct drop *drop;
	struct drop_report report;
	int err = drop_open(&box->drop_root, box->location, DROP_SHARED, &drop, &report, &box->error);
	if (err)
		fail_msg("open: %s: %s", err_text(err), box->error.text);
	assert_true(drop_is_shared(drop));
	return drop;
}

static void remove_marked(struct drop *drop, struct span bitmap, uint32_t want)
{
	uint32_t removed;
	assert_int_equal(drop_commit(drop, bitmap, &removed, NULL), ERR_NONE);
	assert_int_equal(removed, want);
	drop_close(drop);
}

static int body_of(struct drop *drop, uint32_t number)
{
	struct drop_body body;
	int err = drop_body(drop, number, 0, &body);
	if (!err)
		(void)close(body.fd);
	return err;
}

static void test_who_may_be_beside_whom(void **state)
{
	struct box *box = *state;
	struct drop *first = share(box), *second = share(box);
	assert_int_equal(box_try_open(box, 0), ERR_BUSY);
	drop_close(first);
	assert_int_equal(box_try_open(box, 0), ERR_BUSY);
	drop_close(second);
	box_open(box);
	assert_false(drop_is_shared(box->drop));
	assert_int_equal(drop_open(&box->drop_root, box->location, DROP_SHARED, &first, &box->report, NULL),
	                 ERR_BUSY);
}

static void test_each_has_its_snapshot(void **state)
{
	struct box *box = *state;
	box_put_text(box, "new/1.a", "1\n");
	box_put_text(box, "new/2.b", "2\n");
	box_put_text(box, "cur/3.c:2,S", "3\n");
	struct drop *first = share(box), *second = share(box);
	assert_int_equal(drop_count(second), 3);
	remove_marked(first, SPAN("\3"), 2);
	box_put_text(box, "new/4.d", "4\n");
	struct drop *third = share(box); /* its index is another than the second's */
	assert_int_equal(drop_count(third), 2);
	assert_int_equal(drop_count(second), 3);
	assert_int_equal(body_of(second, 1), ERR_NOTFOUND);
	assert_int_equal(body_of(second, 3), ERR_NONE);
	assert_int_equal(body_of(third, 1), ERR_NONE);
	/* What somebody else has deleted is deleted. */
	remove_marked(second, SPAN("\7"), 3);
	assert_int_equal(body_of(third, 1), ERR_NOTFOUND);
	assert_int_equal(body_of(third, 2), ERR_NONE);
	drop_close(third);
	box_open(box);
	assert_int_equal(drop_count(box->drop), 1);
	assert_string_equal(box_uid(box, 1), "4.d");
}

/* Whoever may read new/ may lock it, and for ever: that costs a thread some moments and no more. */
static void test_index_lock_that_is_held(void **state)
{
	struct box *box = *state;
	struct drop *drop;
	box_put_text(box, "new/1.a", "1\n");
	int fd = openat(box->fd, "new", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(flock(fd, LOCK_EX), 0);
	assert_int_equal(drop_open(&box->drop_root, box->location, DROP_SHARED, &drop, &box->report, NULL),
	                 ERR_BUSY);
	(void)close(fd);
	drop = share(box);
	assert_int_equal(drop_count(drop), 1);
	drop_close(drop);
}

/* Opens again and again while messages come and go, and the index with them. */
static void *work(void *data)
{
	struct box *box = data;
	uint32_t good = 0;
	for (unsigned round = 0; round < ROUNDS; round++) {
		struct drop *drop;
		struct drop_report report;
		struct drop_listing listing;
		uint32_t removed;
		if (drop_open(&box->drop_root, box->location, DROP_SHARED, &drop, &report, NULL) != ERR_NONE)
			return NULL;
		if (drop_listing(drop, 0, &report, &listing, NULL) == ERR_NONE) {
			bool as_put = !report.unwritten;
			for (uint32_t i = 0; i < drop_count(drop); i++)
				as_put &= listing.octets[i] == 3;
			drop_listing_end(&listing);
			good += as_put;
		}
		char first = drop_count(drop) ? 1 : 0, bitmap[64] = {first};
		(void)body_of(drop, 1);
		if (drop_commit(drop, span_of(bitmap, (drop_count(drop) + 7) / 8), &removed, NULL) !=
		        ERR_NONE ||
		    removed != (unsigned)first)
			good = 0;
		drop_close(drop);
	}
	return good == ROUNDS ? box : NULL;
}

static void test_all_at_once(void **state)
{
	struct box *box = *state;
	pthread_t threads[THREADS];
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, work, box), 0);
	for (unsigned i = 0; i < THREADS * ROUNDS / 2; i++) {
		char path[32];
		(void)snprintf(path, sizeof path, "tmp/%u.x", i);
		box_put_text(box, path, "x\n");
		char to[32];
		(void)snprintf(to, sizeof to, "new/%u.x", i);
		box_rename(box, path, to);
		(void)usleep(500);
	}
	for (unsigned i = 0; i < THREADS; i++) {
		void *good;
		assert_int_equal(pthread_join(threads[i], &good), 0);
		assert_ptr_equal(good, box);
	}
	/* The index that is left is right, and whole: it is not read anew. */
	for (unsigned i = 0; i < MESSAGES; i++) {
		char path[32];
		(void)snprintf(path, sizeof path, "new/last%u.x", i);
		box_put_text(box, path, "x\n");
	}
	box_rest();
	box_open(box);
	uint32_t count = drop_count(box->drop);
	assert_true(count >= MESSAGES);
	for (uint32_t number = 1; number <= count; number++)
		assert_int_equal(body_of(box->drop, number), ERR_NONE);
	assert_false(box_has(box, INDEX_NAME_NEW));
	box_open(box);
	assert_int_equal(box->report.read, 0);
	assert_int_equal(drop_count(box->drop), count);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    BOX_TEST(test_who_may_be_beside_whom),
	    BOX_TEST(test_each_has_its_snapshot),
	    BOX_TEST(test_index_lock_that_is_held),
	    BOX_TEST(test_all_at_once),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
