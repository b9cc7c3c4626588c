/* SPDX-License-Identifier: MIT */
/* Unit test of src/drop/index.c: a file that was altered, cut, or made up. */
#include "box.h"

#include "drop/index_layout.h"

enum { MESSAGES = 5 };
static const char *const texts[MESSAGES] = {"a\n", "bb\r\n", ".cc\n", "A: x\n\ndd", "ee\n"};

static char image[65536];
static size_t image_len;

static void put_messages(struct box *box)
{
	for (unsigned i = 0; i < MESSAGES; i++) {
		char path[32];
		(void)snprintf(path, sizeof path, i % 2 ? "cur/%u.x:2,S" : "new/%u.x", i);
		box_put_text(box, path, texts[i]);
	}
}

static void take_image(struct box *box)
{
	int fd = openat(box->fd, INDEX_NAME, O_RDONLY | O_CLOEXEC);
	ssize_t len = read(fd, image, sizeof image);
	(void)close(fd);
	assert_true(len > 0 && (size_t)len < sizeof image);
	image_len = (size_t)len;
}

/* Everything the maildrop says is right, or it says that it cannot say; then the next session can. */
static void expect_right(struct box *box)
{
	for (unsigned turn = 0;; turn++) {
		unsigned bad = 0;
		assert_in_range(turn, 0, 1);
		box_open(box);
		assert_int_equal(drop_count(box->drop), MESSAGES);
		for (uint32_t number = 1; number <= MESSAGES; number++) {
			char uid[8];
			int err;
			(void)snprintf(uid, sizeof uid, "%u.x", number - 1);
			assert_string_equal(box_uid(box, number), uid);
			const char *text = box_body(box, number, &err);
			if (text)
				assert_string_equal(text, texts[number - 1]);
			else
				assert_int_equal(err, ERR_CORRUPT);
			bad += text == NULL;
		}
		if (!bad)
			return;
	}
}

/* Puts an altered index in place, as a file of its own each time. */
static void put_image(struct box *box, size_t len)
{
	box_put(box, "tmp/image", span_of(image, len));
	(void)unlinkat(box->fd, INDEX_NAME, 0);
	box_rename(box, "tmp/image", INDEX_NAME);
}

static void make_trusted(struct box *box)
{
	put_messages(box);
	box_rest();
	box_open(box);
	box_open(box);
	assert_false(box->report.rescanned);
	take_image(box);
}

static void test_every_octet_changed(void **state)
{
	struct box *box = *state;
	static const char changes[] = {1, (char)0x80, (char)0xff};
	make_trusted(box);
	for (size_t at = 0; at < image_len; at++) {
		char was = image[at];
		image[at] = (char)(was ^ changes[at % sizeof changes]);
		put_image(box, image_len);
		image[at] = was;
		expect_right(box);
	}
}

static void test_cut_at_every_octet(void **state)
{
	struct box *box = *state;
	make_trusted(box);
	for (size_t len = 0; len < image_len; len++) {
		put_image(box, len);
		expect_right(box);
	}
	image_len += 100; /* what follows it does not matter */
	put_image(box, image_len);
	expect_right(box);
}

static void reseal(struct index_head *head)
{
	uint64_t size = layout_listing_size(head);
	if (sizeof *head + size <= sizeof image)
		head->listing_sum = sum_of(head->stamp, span_of(image + sizeof *head, size));
	head->sum = layout_head_sum(head);
	memcpy(image, head, sizeof *head);
}

/* Somebody who knows the sums can only harm his own maildrop, and no memory of ours. */
static void test_made_up_heads(void **state)
{
	struct box *box = *state;
	make_trusted(box);
	struct index_head good, bad;
	memcpy(&good, image, sizeof good);
	static const uint32_t counts[] = {0,         4, 6, 1000, DROP_MESSAGES_MAX, DROP_MESSAGES_MAX + 1,
	                                  UINT32_MAX};
	for (unsigned i = 0; i < sizeof counts / sizeof counts[0]; i++)
		for (unsigned field = 0; field < 3; field++) {
			bad = good;
			if (field == 0)
				bad.count = counts[i];
			else if (field == 1)
				bad.uid_octets = counts[i];
			else
				bad.names_octets = counts[i] == UINT32_MAX ? UINT64_MAX : counts[i];
			reseal(&bad);
			put_image(box, image_len);
			/* Opened as it says, or made anew: never out of bounds. */
			int err = box_try_open(box, 0);
			assert_int_equal(err, ERR_NONE);
			assert_true(drop_count(box->drop) <= DROP_MESSAGES_MAX);
			for (uint32_t number = 1; number <= drop_count(box->drop) && number < 9; number++) {
				struct drop_body body;
				if (drop_body(box->drop, number, 0, &body) == ERR_NONE)
					(void)close(body.fd);
			}
			box_close(box);
			(void)unlinkat(box->fd, INDEX_NAME, 0);
		}
}

static void test_made_up_unique_ids(void **state)
{
	struct box *box = *state;
	static const char *const bad[] = {"\r\n.\r\n", "1.x\n", "a b", "\x7f\x7f"};
	make_trusted(box);
	for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		struct index_head head;
		char saved[sizeof image];
		memcpy(saved, image, image_len);
		memcpy(&head, image, sizeof head);
		size_t uids = sizeof head + layout_listing_size(&head) - head.uid_octets;
		memcpy(image + uids, bad[i], strlen(bad[i]));
		reseal(&head);
		put_image(box, image_len);
		box_open(box);
		assert_true(box->report.rescanned); /* when it was listed */
		expect_right(box);
		memcpy(image, saved, image_len);
	}
}

/* Rows with good sums that lead out of the folder. */
static void test_made_up_names(void **state)
{
	struct box *box = *state;
	static const char *const bad[] = {"../x", ".x.x", "a/.x"};
	make_trusted(box);
	box_put_text(box, "x", "a\n");
	for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		struct index_head head;
		struct index_row row;
		memcpy(&head, image, sizeof head);
		memcpy(&row, image + layout_row_at(&head, 1), sizeof row);
		memcpy(image + layout_names_at(&head) + row.name_at, bad[i], 3);
		row.sum = layout_row_sum(&head, 1, &row,
		                         span_of(image + layout_names_at(&head) + row.name_at, row.name_len));
		memcpy(image + layout_row_at(&head, 1), &row, sizeof row);
		put_image(box, image_len);
		box_open(box);
		box_expect_no_body(box, 1, ERR_CORRUPT);
		expect_right(box);
	}
}

static void test_no_file_in_its_place(void **state)
{
	struct box *box = *state;
	put_messages(box);
	assert_int_equal(symlinkat("tmp/nothing", box->fd, INDEX_NAME), 0);
	expect_right(box);
	assert_false(box_has(box, "tmp/nothing"));
	box_delete(box, INDEX_NAME);
	assert_int_equal(mkfifoat(box->fd, INDEX_NAME, 0600), 0);
	expect_right(box);
	box_delete(box, INDEX_NAME);
	assert_int_equal(mkdirat(box->fd, INDEX_NAME, 0700), 0);
	expect_right(box);
	expect_right(box); /* it cannot be replaced: in memory each time */
	assert_int_equal(symlinkat("new/0.x", box->fd, INDEX_NAME_NEW), 0);
	assert_int_equal(unlinkat(box->fd, INDEX_NAME, AT_REMOVEDIR), 0);
	expect_right(box);
}

static void test_from_before_the_machine_was_started(void **state)
{
	struct box *box = *state;
	struct index_head head;
	make_trusted(box);
	memcpy(&head, image, sizeof head);
	head.written_ns = UINT64_C(1000000000);
	reseal(&head);
	image[layout_row_at(&head, 3)] ^= 1; /* octets that were never written out */
	put_image(box, image_len);
	box_open(box);
	assert_true(box->report.rescanned);
	assert_int_equal(box->report.read, MESSAGES);
	for (uint32_t number = 1; number <= MESSAGES; number++)
		box_expect_body(box, number, texts[number - 1]);
}

static void test_many_messages(void **state)
{
	struct box *box = *state;
	enum { MANY = 3000 }; /* more rows, unique-ids and names than any buffer holds at once */
	for (unsigned i = 0; i < MANY; i++) {
		char path[64];
		(void)snprintf(path, sizeof path, "new/%u.M%uP1.some-long-host-name.example", 1000000 + i, i);
		box_put_text(box, path, i % 3 ? "x\n" : "x\r\ny\r\n");
	}
	box_rest();
	for (unsigned turn = 0; turn < 3; turn++) {
		box_open(box);
		assert_int_equal(box->report.read, turn == 0 ? MANY : 0);
		assert_int_equal(drop_count(box->drop), MANY);
		for (uint32_t number = 1; number <= MANY; number++) {
			char uid[64];
			(void)snprintf(uid, sizeof uid, "%u.M%uP1.some-long-host-name.example",
			               1000000 + number - 1, number - 1);
			assert_string_equal(box_uid(box, number), uid);
			assert_int_equal(box_size(box, number), (number - 1) % 3 ? 3 : 6);
			if (number % 97 == 0)
				box_expect_body(box, number, (number - 1) % 3 ? "x\n" : "x\r\ny\r\n");
		}
		box_close(box);
		if (turn == 0)
			box_put_text(box, "new/.forces-a-scan", "");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    BOX_TEST(test_every_octet_changed),
	    BOX_TEST(test_cut_at_every_octet),
	    BOX_TEST(test_made_up_heads),
	    BOX_TEST(test_made_up_unique_ids),
	    BOX_TEST(test_made_up_names),
	    BOX_TEST(test_no_file_in_its_place),
	    BOX_TEST(test_from_before_the_machine_was_started),
	    BOX_TEST(test_many_messages),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
