/* SPDX-License-Identifier: MIT */
/* Unit test of src/drop: quotas, with deliveries, sessions and other programs that change a maildrop. */
#include "box.h"

#include "drop/deliver.h"

#include <sys/file.h>
#include <sys/wait.h>

#define USAGE "restante.usage"

static const char text[] = "a\nbc\n"; /* 7 octets on the wire */
enum { WIRE = 7 };

static int deliver(struct box *box, uint64_t octets, uint64_t messages)
{
	const struct drop_quota quota = {octets, messages};
	struct drop_incoming *incoming;
	struct drop_delivered delivered;
	int err = drop_incoming_begin(&box->drop_root, box->location, &incoming, &box->error);
	assert_int_equal(err, ERR_NONE);
	assert_int_equal(write(drop_incoming_fd(incoming), text, sizeof text - 1), sizeof text - 1);
	err = drop_deliver(&box->drop_root, incoming, box->location, &quota, &delivered, &box->error);
	drop_incoming_end(incoming);
	return err;
}

static void expect_count(struct box *box, uint32_t want)
{
	box_open(box);
	assert_int_equal(drop_count(box->drop), want);
	box_close(box);
}

/* Deletes messages 1 to 3, as a session does. */
static void delete_three(struct box *box)
{
	static const char marks[] = {7, 0, 0};
	uint32_t removed;
	box_open(box);
	assert_int_equal(
	    drop_commit(box->drop, span_of(marks, (drop_count(box->drop) + 7) / 8), &removed, NULL),
	    ERR_NONE);
	assert_int_equal(removed, 3);
	box_close(box);
}

static void test_none(void **state)
{
	struct box *box = *state;
	assert_int_equal(deliver(box, 0, 0), ERR_NONE);
	assert_false(box_has(box, USAGE)); /* it costs nothing */
}

static void test_octets(void **state)
{
	struct box *box = *state;
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(deliver(box, 5 * WIRE, 0), ERR_NONE);
	assert_int_equal(deliver(box, 6 * WIRE - 1, 0), ERR_QUOTA);
	assert_non_null(strstr(box->error.text, "35 octets in 5 messages"));
	expect_count(box, 5);
	assert_int_equal(deliver(box, 6 * WIRE, 0), ERR_NONE);
	assert_int_equal(deliver(box, WIRE - 1, 0), ERR_QUOTA); /* more than the quota by itself */
	expect_count(box, 6);
}

static void test_messages(void **state)
{
	struct box *box = *state;
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(deliver(box, 0, 3), ERR_NONE);
	assert_int_equal(deliver(box, 0, 3), ERR_QUOTA);
	/* What a session deletes makes room at once. */
	delete_three(box);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(deliver(box, 0, 3), ERR_NONE);
	assert_int_equal(deliver(box, 0, 3), ERR_QUOTA);
	/* So does what another program deletes. */
	delete_three(box);
	assert_int_equal(deliver(box, 0, 1), ERR_NONE);
	expect_count(box, 1);
}

static void test_others_deliver(void **state)
{
	struct box *box = *state;
	box_put_text(box, "new/1.other", "x\n");
	box_put_text(box, "cur/2.other:2,S", "x\n");
	box_put_text(box, "tmp/3.other", "no message yet\n");
	box_put_text(box, "new/.hidden", "no message at all\n");
	assert_int_equal(deliver(box, 0, 2), ERR_QUOTA);
	/* Nobody has listed them: they count with the octets of their files. */
	assert_int_equal(deliver(box, 4 + WIRE - 1, 0), ERR_QUOTA);
	assert_int_equal(deliver(box, 4 + WIRE, 0), ERR_NONE);
	/* The index knows better. */
	expect_count(box, 3);
	box_rest();
	expect_count(box, 3); /* and is believed now */
	box_put_text(box, "new/4.other", "x\n");
	assert_int_equal(deliver(box, 6 + WIRE + 2 + WIRE - 1, 0), ERR_QUOTA);
	assert_int_equal(deliver(box, 6 + WIRE + 2 + WIRE, 0), ERR_NONE);
	expect_count(box, 5);
	/* Flags are nothing to count. */
	box_rename(box, "new/1.other", "cur/1.other:2,RS");
	assert_int_equal(deliver(box, 0, 6), ERR_NONE);
	assert_int_equal(deliver(box, 0, 6), ERR_QUOTA);
}

static void test_warm_index(void **state)
{
	struct box *box = *state;
	box_put_text(box, "new/1.other", "a\n\n");
	box_rest();
	expect_count(box, 1);
	/* Without a look into the folders: the index says that they are as it knows them. */
	assert_int_equal(deliver(box, 5 + WIRE - 1, 0), ERR_QUOTA);
	assert_int_equal(deliver(box, 5 + WIRE, 0), ERR_NONE);
}

static void test_record_that_does_not_hold(void **state)
{
	struct box *box = *state;
	static const char *const rubbish[] = {"", "x",
	                                      ("RESTus1\n and what would be longer than the whole of such a "
	                                       "record is, with a wrong sum at its end")};
	assert_int_equal(deliver(box, 0, 9), ERR_NONE);
	for (unsigned i = 0; i < 3; i++) {
		box_put_text(box, USAGE, rubbish[i]);
		assert_int_equal(deliver(box, 0, 1 + i), ERR_QUOTA);
		box_put_text(box, USAGE, rubbish[i]);
		assert_int_equal(deliver(box, 0, 2 + i), ERR_NONE);
	}
	/* A link leads nowhere. */
	box_delete(box, USAGE);
	assert_int_equal(symlinkat("../away", box->fd, USAGE), 0);
	assert_int_not_equal(deliver(box, 0, 100), ERR_NONE);
	assert_int_equal(faccessat(box->drop_root.fd, "away", F_OK, 0), -1);
}

static void test_lost_sight_of(void **state)
{
	/* Changes by others between our deliveries are not counted for each of those, but soon after. */
	struct box *box = *state;
	assert_int_equal(deliver(box, 0, 100), ERR_NONE);
	for (unsigned i = 0; i < 20; i++) {
		char path[32];
		(void)snprintf(path, sizeof path, "new/%u.other", i);
		box_put_text(box, path, "x\n");
		assert_int_equal(deliver(box, 0, 100), ERR_NONE);
	}
	box_rest();
	assert_int_equal(deliver(box, 0, 41), ERR_QUOTA);
	assert_int_equal(deliver(box, 0, 42), ERR_NONE);
}

static void test_race(void **state)
{
	enum { CHILDREN = 8, EACH = 10, LIMIT = 31 };
	struct box *box = *state;
	unsigned taken = 0;
	for (unsigned i = 0; i < CHILDREN; i++) {
		pid_t child = fork();
		assert_true(child >= 0);
		if (child)
			continue;
		int done = 0;
		for (unsigned j = 0; j < EACH; j++)
			done += deliver(box, 0, LIMIT) == ERR_NONE;
		_exit(done);
	}
	for (unsigned i = 0; i < CHILDREN; i++) {
		int status;
		assert_true(wait(&status) > 0 && WIFEXITED(status));
		taken += (unsigned)WEXITSTATUS(status);
	}
	assert_int_equal(taken, LIMIT);
	expect_count(box, LIMIT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    BOX_TEST(test_none),          BOX_TEST(test_octets),
	    BOX_TEST(test_messages),      BOX_TEST(test_others_deliver),
	    BOX_TEST(test_warm_index),    BOX_TEST(test_record_that_does_not_hold),
	    BOX_TEST(test_lost_sight_of), BOX_TEST(test_race),
	};
	return cmocka_run_group_tests_name("quota", tests, NULL, NULL);
}
