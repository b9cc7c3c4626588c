/* SPDX-License-Identifier: MIT */
/* mbox behind drop.h: what is a message, sizes, unique-ids, what other programs do meanwhile, removal. */
#include "spool.h"

/* --- what is a message --- */

struct nasty {
	const char *what;
	struct span file;
	unsigned count;
	const char *messages[4];
};

#define NASTY(what, file, ...)                                                                               \
	{                                                                                                    \
		what, SPAN(file), __VA_ARGS__                                                                \
	}
static const struct nasty nasty[] = {
    NASTY("an empty file", "", 0, {0}),
    NASTY("empty lines only", "\n\n\r\n\n", 0, {0}),
    NASTY("one message", FROM "A: b\n\ntext\n\n", 1, {"A: b\n\ntext\n"}),
    NASTY("two", FROM "A: b\n\ntext\n\n" FROM "C: d\n\nmore\n\n", 2, {"A: b\n\ntext\n", "C: d\n\nmore\n"}),
    NASTY("no empty line at the end", FROM "A: b\n\ntext\n", 1, {"A: b\n\ntext\n"}),
    NASTY("no line end at the end", FROM "A: b\n\ntext", 1, {"A: b\n\ntext"}),
    NASTY("empty lines at the beginning", "\n\r\n" FROM "A: b\n\n1\n\n" FROM "\n", 2, {"A: b\n\n1\n", ""}),
    NASTY("several empty lines at the end", FROM "A: b\n\n1\n\n\n\n" FROM "A: c\n\n\n\n", 2,
          {"A: b\n\n1\n\n\n", "A: c\n\n\n"}),
    NASTY("a From_ line without an empty one before it", FROM "A: b\n\n1\n" FROM "2\n\n", 1,
          {"A: b\n\n1\n" FROM "2\n"}),
    NASTY("From without a date", FROM "A: b\n\n1\n\nFrom here on\n\nFrom you Mon\n\n", 1,
          {"A: b\n\n1\n\nFrom here on\n\nFrom you Mon\n"}),
    NASTY("a first line without a date", "From nowhere\nA: b\n\n1\n\n" FROM "\n", 2, {"A: b\n\n1\n", ""}),
    NASTY("only a From_ line", FROM, 1, {""}),
    NASTY("only a From_ line, not ended", "From a@b " DATE, 1, {""}),
    NASTY("only From_ lines", FROM "\n" FROM "\n" FROM, 3, {"", "", ""}),
    NASTY("From_ lines without empty lines", FROM FROM FROM, 1, {FROM FROM}),
    NASTY("a header alone", FROM "A: b\n\n" FROM "C: d\n\n\n", 2, {"A: b\n", "C: d\n\n"}),
    NASTY("a header that is cut", FROM "A", 1, {"A"}),
    NASTY("CRLF", "From a@b " DATE "\r\nA: b\r\n\r\n1\r\n\r\nFrom a@b " DATE "\r\nC: d\r\n\r\n2\r\n\r\n", 2,
          {"A: b\r\n\r\n1\r\n", "C: d\r\n\r\n2\r\n"}),
    NASTY("LF and CRLF", FROM "A: b\r\n\n1\r\n2\n\r\n" FROM "C: d\n\r\n3\n\n", 2,
          {"A: b\r\n\n1\r\n2\n", "C: d\n\r\n3\n"}),
    NASTY("a lone CR", FROM "A: b\n\n1\r\r\n\r" FROM "\n\r", 1, {"A: b\n\n1\r\r\n\r" FROM "\n\r"}),
    NASTY("quoted", FROM "A: b\n\n>From me\n>>From you\n> From\n >From\n>\n>Fro\n>From", 1,
          {"A: b\n\nFrom me\n>From you\n> From\n >From\n>\n>Fro\n>From"}),
    NASTY("quoted in the header", FROM ">From a\nA: b\n\n1\n\n", 1, {"From a\nA: b\n\n1\n"}),
    NASTY("quoted, after an empty line", FROM "\n\n>" FROM "\n\n" FROM, 2, {"\n\n" FROM "\n", ""}),
    NASTY("other dates",
          "From a Mon Feb 28 1:02 1999\n\n\nFrom Mon b c Tue Mar  1 01:02:03 MET DST 2005\n\n\n"
          "From - Wed Apr 30 01:02:03 +0000 2020\n\n\nFrom  Thu May  1 01:02 2000 remote from x\n\n\n",
          4, {"\n", "\n", "\n", "\n"}),
    NASTY("no dates",
          FROM "\nFrom a Mon Foo 28 1:02 1999\n\nFrom a Mon Feb x 1:02 1999\n\nFrom a Mon Feb 1 1 1999\n\n"
               "From a Feb 28 1:02 1999\n\nFrom a Mon Feb 28 1:02 99\n\nfrom a " DATE "\n\nFrom\n\n",
          1,
          {"\nFrom a Mon Foo 28 1:02 1999\n\nFrom a Mon Feb x 1:02 1999\n\nFrom a Mon Feb 1 1 1999\n\n"
           "From a Feb 28 1:02 1999\n\nFrom a Mon Feb 28 1:02 99\n\nfrom a " DATE "\n\nFrom\n"}),
    NASTY("Content-Length, not asked for", FROM "Content-Length: 200\n\n1\n\n" FROM "\n", 2,
          {"Content-Length: 200\n\n1\n", ""}),
};

static void test_nasty_mboxes(void **state)
{
	struct box *box = *state;
	for (size_t i = 0; i < sizeof nasty / sizeof nasty[0]; i++) {
		const struct nasty *one = &nasty[i];
		put_mbox(box, one->file);
		box_open(box);
		if (drop_count(box->drop) != one->count)
			fail_msg("%s: %u messages", one->what, drop_count(box->drop));
		for (unsigned number = 1; number <= one->count; number++) {
			int err;
			const char *got = box_body(box, number, &err);
			if (!got || strcmp(got, one->messages[number - 1]) != 0)
				fail_msg("%s: message %u is \"%s\"", one->what, number,
				         got ? got : err_text(err));
		}
	}
}

static void test_nul_octets(void **state)
{
	struct box *box = *state;
	put_mbox(box, SPAN(FROM "A: b\n\n1\0002\n\0\n\n" FROM "\n"));
	box_open(box);
	assert_int_equal(drop_count(box->drop), 2);
	assert_int_equal(box_size(box, 1), 6 + 2 + 5 + 3);
}

static void test_long_lines(void **state)
{
	struct box *box = *state;
	enum { LONG = 3000000 };
	char *file = malloc(LONG + 200);
	assert_non_null(file);
	int head = sprintf(file, FROM "A: b\n\n");
	memset(file + head, 'x', LONG);
	memcpy(file + head + LONG / 2, ">>>>", 4);
	int tail = sprintf(file + head + LONG, "\n\n" FROM "\n>");
	memset(file + head + LONG + tail, '>', 40);
	put_mbox(box, span_of(file, (size_t)(head + LONG + tail + 40)));
	box_open(box);
	assert_int_equal(drop_count(box->drop), 2);
	assert_int_equal(box_size(box, 1), 6 + 2 + LONG + 2);
	assert_int_equal(box_size(box, 2), 2 + 41 + 2);
	free(file);
}

static void test_not_an_mbox(void **state)
{
	struct box *box = *state;
	static const char *const bad[] = {"Dear all,\n", " From a@b " DATE "\n", "\n\nX", "From",
	                                  "\r\r\n" FROM};
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		put_mbox(box, span_str(bad[i]));
		assert_int_equal(box_try_open(box, 0), ERR_CORRUPT);
		assert_non_null(strstr(box->error.text, "no mbox"));
		expect_mbox(box, span_str(bad[i]));
	}
}

static void test_sizes_are_of_the_wire(void **state)
{
	struct box *box = *state;
	put_mbox(box, SPAN(FROM "A: b\n\n>From\n>From x\n.\n\n" FROM "A: b\r\n\r\n>From x\r\n\r\n"));
	box_open(box);
	assert_int_equal(box_size(box, 1), 6 + 2 + 7 + 8 + 3);
	assert_int_equal(box_size(box, 2), 6 + 2 + 8);
	struct drop_body body;
	assert_int_equal(drop_body(box->drop, 2, 0, &body), ERR_NONE);
	assert_true(body.crlf && body.no_dots);
	assert_int_equal(body.header, 8);
	(void)close(body.fd);
}

static void test_mboxo_keeps_quotes(void **state)
{
	struct box *box = *state;
	put_mbox(box, SPAN(FROM "A: b\n\n>From x\n\n"));
	box_open(box);
	box_expect_body(box, 1, "A: b\n\nFrom x\n");
	box->drop_root.mbox.keep_quotes = true; /* the index of other rules is of no use */
	box_open(box);
	box_expect_body(box, 1, "A: b\n\n>From x\n");
	assert_int_equal(box->report.rescanned, 1);
}

static void test_content_length(void **state)
{
	static const char inner[] = "1\n\n" FROM "not a message\n";
	char file[512];
	struct box *box = *state;
	box->drop_root.mbox.content_length = true;
	(void)snprintf(file, sizeof file,
	               FROM "content-length:  %zu\n\n%s\n" FROM "Content-Length: 3\n\n1\n\n",
	               sizeof inner - 1, inner);
	put_mbox(box, span_str(file));
	box_open(box);
	assert_int_equal(drop_count(box->drop), 2);
	(void)snprintf(file, sizeof file, "content-length:  %zu\n\n%s", sizeof inner - 1, inner);
	box_expect_body(box, 1, file);
	/* What does not fit is not believed. */
	(void)snprintf(file, sizeof file, FROM "Content-Length: %zu\n\n%s\n", sizeof inner - 2, inner);
	put_mbox(box, span_str(file));
	box_open(box);
	assert_int_equal(drop_count(box->drop), 2);
}

/* --- where it lies --- */

static void test_missing_is_empty(void **state)
{
	struct box *box = *state;
	use_mbox(box);
	box_open(box);
	assert_int_equal(drop_count(box->drop), 0);
	struct stat what;
	assert_int_equal(fstatat(box->drop_root.fd, "inbox", &what, 0), -1);
	assert_int_equal(box_try_open(box, DROP_NOWAIT), ERR_NONE);
}

static void test_bad_names(void **state)
{
	struct box *box = *state;
	static const char *const bad[] = {".inbox", "inbox.lock", ".lock", "no/folder"};
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		(void)snprintf(box->location, sizeof box->location, "mbox:%s/%s", box->root, bad[i]);
		assert_int_equal(box_try_open(box, 0), i < 3 ? ERR_SYNTAX : ERR_NOTFOUND);
	}
	(void)snprintf(box->location, sizeof box->location, "mbox:%s/m", box->root);
	assert_int_equal(box_try_open(box, 0), ERR_CORRUPT); /* a folder */
	use_mbox(box);
	assert_int_equal(symlinkat("m/other", box->drop_root.fd, "inbox"), 0);
	assert_int_equal(box_try_open(box, 0), ERR_CORRUPT);
}

/* --- unique-ids --- */

static void copy_uid(const struct box *box, uint32_t number, char to[DROP_UID_MAX + 1])
{
	(void)snprintf(to, DROP_UID_MAX + 1, "%s", box_uid(box, number));
}

static void delete_index(const struct box *box)
{
	assert_int_equal(unlinkat(box->drop_root.fd, ".inbox.restante-index", 0), 0);
}

static void test_unique_ids_stay(void **state)
{
	struct box *box = *state;
	char two[DROP_UID_MAX + 1], three[DROP_UID_MAX + 1];
	put_mbox(box, SPAN(ONE TWO THREE));
	box_open(box);
	copy_uid(box, 2, two);
	copy_uid(box, 3, three);
	assert_int_equal(strlen(two), 32);
	remove_marked(box, "x");
	expect_mbox(box, SPAN(TWO THREE));
	box_open(box);
	assert_string_equal(box_uid(box, 1), two);
	assert_string_equal(box_uid(box, 2), three);
	delete_index(box);
	box_open(box);
	assert_string_equal(box_uid(box, 1), two);
	append(box, ONE);
	box_open(box);
	assert_string_equal(box_uid(box, 2), three);
	/* A mail reader notes what was read, and moves everything by that. */
	put_mbox(box, SPAN(FROM "A: 2\nStatus: RO\nX-Status: A\n\n2\n\n" FROM
	                        "A: 3\nX-Keywords: a\n  b\nStatus: O\n\n3\n\n" ONE));
	box_open(box);
	assert_int_equal(box->report.read, 3);
	assert_string_equal(box_uid(box, 1), two);
	assert_string_equal(box_uid(box, 2), three);
}

static void test_same_messages(void **state)
{
	struct box *box = *state;
	char first[DROP_UID_MAX + 1], second[DROP_UID_MAX + 1], third[DROP_UID_MAX + 1];
	put_mbox(box, SPAN(ONE ONE TWO ONE));
	box_open(box);
	copy_uid(box, 1, first);
	copy_uid(box, 2, second);
	copy_uid(box, 4, third);
	assert_string_not_equal(first, second);
	assert_string_equal(second + 32, "-2");
	assert_string_equal(third + 32, "-3");
	remove_marked(box, "x");
	append(box, ONE);
	box_open(box);
	assert_string_equal(box_uid(box, 1), second);
	assert_string_equal(box_uid(box, 3), third);
	assert_string_equal(box_uid(box, 4) + 32, "-4");
	put_mbox(box, SPAN(TWO ONE ONE)); /* rewritten: one of them is gone */
	box_open(box);
	assert_string_equal(box_uid(box, 2), second);
	assert_string_equal(box_uid(box, 3), third);
}

/* --- the index --- */

static void test_index_is_incremental(void **state)
{
	struct box *box = *state;
	put_mbox(box, SPAN(ONE TWO));
	box_open(box);
	assert_int_equal(box->report.read, 2);
	assert_int_equal(box_try_open(box, DROP_NOWAIT), ERR_NONE);
	assert_int_equal(box->report.rescanned, 0);
	append(box, THREE);
	assert_int_equal(box_try_open(box, DROP_NOWAIT), ERR_AGAIN);
	box_open(box);
	assert_int_equal(box->report.read, 1);
	assert_int_equal(drop_count(box->drop), 3);
	box_expect_body(box, 3, "A: 3\n\n3\n");
	remove_marked(box, "-x-");
	box_open(box);
	assert_int_equal(box->report.rescanned, 0);
	box_expect_body(box, 2, "A: 3\n\n3\n");
}

static void test_last_message_grows(void **state)
{
	struct box *box = *state;
	put_mbox(box, SPAN(ONE FROM "A: 2\n\n2"));
	box_open(box);
	append(box, " and more\n\n" THREE);
	box_open(box);
	assert_int_equal(drop_count(box->drop), 3);
	box_expect_body(box, 2, "A: 2\n\n2 and more\n");
	box_expect_body(box, 1, "A: 1\n\n1\n");
}

static void test_damaged_index(void **state)
{
	struct box *box = *state;
	put_mbox(box, SPAN(ONE TWO));
	box_open(box);
	box_close(box);
	write_at_root(box, ".inbox.restante-index", O_TRUNC, SPAN("nonsense"));
	box_open(box);
	assert_int_equal(box->report.read, 2);
	assert_int_equal(drop_count(box->drop), 2);
}

/* --- other programs --- */

static void test_second_session(void **state)
{
	struct box *box = *state;
	struct drop *second;
	put_mbox(box, SPAN(ONE));
	box_open(box);
	assert_int_equal(drop_open(&box->drop_root, box->location, 0, &second, &box->report, &box->error),
	                 ERR_BUSY);
	append(box, TWO); /* deliveries are not kept out */
	box_expect_body(box, 1, "A: 1\n\n1\n");
}

static void test_rewritten_in_a_session(void **state)
{
	struct box *box = *state;
	uint32_t removed;
	put_mbox(box, SPAN(ONE TWO THREE));
	box_open(box);
	write_at_root(box, "inbox", O_TRUNC, SPAN(ONE THREE));
	box_expect_body(box, 1, "A: 1\n\n1\n");
	box_expect_no_body(box, 2, ERR_CHANGED);
	box_expect_no_body(box, 3, ERR_CHANGED);
	assert_int_equal(commit(box, "xxx", &removed), ERR_CHANGED);
	assert_int_equal(removed, 1); /* what moved may not be what the client has got */
	expect_mbox(box, SPAN(THREE));
}

static void test_replaced_in_a_session(void **state)
{
	struct box *box = *state;
	uint32_t removed;
	put_mbox(box, SPAN(ONE TWO));
	box_open(box);
	write_at_root(box, "fresh", 0, SPAN(ONE TWO));
	assert_int_equal(renameat(box->drop_root.fd, "fresh", box->drop_root.fd, "inbox"), 0);
	box_expect_no_body(box, 1, ERR_CHANGED);
	assert_int_equal(commit(box, "xx", &removed), ERR_CHANGED);
	assert_int_equal(removed, 0);
	expect_mbox(box, SPAN(ONE TWO));
}

/* --- removal --- */

static void test_removal(void **state)
{
	static const struct {
		const char *marks;
		struct span left;
	} cases[] = {
	    {"---", SPAN(ONE TWO THREE)},
            {"x--", SPAN(TWO THREE)    },
            {"-x-", SPAN(ONE THREE)    },
	    {"--x", SPAN(ONE TWO)      },
            {"xx-", SPAN(THREE)        },
            {"x-x", SPAN(TWO)          },
	    {"-xx", SPAN(ONE)          },
            {"xxx", SPAN("")           },
	};
	struct box *box = *state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
		for (unsigned appended = 0; appended < 2; appended++) {
			struct stat before, after;
			char want[512];
			put_mbox(box, SPAN(ONE TWO THREE));
			box_open(box);
			assert_int_equal(fstatat(box->drop_root.fd, "inbox", &before, 0), 0);
			if (appended)
				append(box, TWO);
			remove_marked(box, cases[i].marks);
			assert_int_equal(fstatat(box->drop_root.fd, "inbox", &after, 0), 0);
			assert_int_equal(after.st_ino, before.st_ino);
			(void)snprintf(want, sizeof want, "%.*s%s", (int)cases[i].left.len, cases[i].left.ptr,
			               appended ? TWO : "");
			expect_mbox(box, span_str(want));
			box_open(box);
			assert_int_equal(drop_count(box->drop), strlen(want) / strlen(ONE));
			assert_int_equal(faccessat(box->drop_root.fd, "inbox.lock", F_OK, 0), -1);
		}
}

static void test_removal_of_the_last_not_ended(void **state)
{
	struct box *box = *state;
	put_mbox(box, SPAN(ONE FROM "A: 2\n\n2\n"));
	box_open(box);
	append(box, "\n" THREE);
	remove_marked(box, "-x");
	expect_mbox(box, SPAN(ONE THREE));
}

static void test_bad_marks(void **state)
{
	struct box *box = *state;
	uint32_t removed;
	put_mbox(box, SPAN(ONE TWO));
	box_open(box);
	assert_int_equal(drop_commit(box->drop, SPAN("\x04"), &removed, &box->error), ERR_SYNTAX);
	assert_int_equal(drop_commit(box->drop, SPAN("\x01\x00"), &removed, &box->error), ERR_SYNTAX);
	expect_mbox(box, SPAN(ONE TWO));
}

static void test_folder_that_can_not_be_written(void **state)
{
	struct box *box = *state;
	uint32_t removed;
	put_mbox(box, SPAN(ONE TWO));
	box_become_other(box);
	if (getuid() == 0) {
		box_become_self();
		assert_int_equal(fchownat(box->drop_root.fd, "inbox", BOX_OTHER_UID, BOX_OTHER_UID, 0), 0);
		box_become_other(box);
	}
	assert_int_equal(chmod(box->root, 0500), 0);
	box_open(box);
	assert_int_equal(box->report.unwritten, 1);
	box_expect_body(box, 2, "A: 2\n\n2\n");
	int first = commit(box, "x", &removed);
	int last = commit(box, "-x", &removed);
	(void)chmod(box->root, 0700);
	box_become_self();
	assert_int_equal(first, ERR_DENIED);
	assert_int_equal(last, ERR_NONE);
	expect_mbox(box, SPAN(ONE));
}

static void test_file_that_can_not_be_written(void **state)
{
	struct box *box = *state;
	uint32_t removed;
	put_mbox(box, SPAN(ONE TWO));
	assert_int_equal(fchmodat(box->drop_root.fd, "inbox", 0444, 0), 0);
	box_become_other(box);
	box_open(box);
	box_expect_body(box, 2, "A: 2\n\n2\n");
	int err = commit(box, "xx", &removed);
	box_become_self();
	assert_int_equal(err, ERR_DENIED);
	expect_mbox(box, SPAN(ONE TWO));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    BOX_TEST(test_nasty_mboxes),
	    BOX_TEST(test_nul_octets),
	    BOX_TEST(test_long_lines),
	    BOX_TEST(test_not_an_mbox),
	    BOX_TEST(test_sizes_are_of_the_wire),
	    BOX_TEST(test_mboxo_keeps_quotes),
	    BOX_TEST(test_content_length),
	    BOX_TEST(test_missing_is_empty),
	    BOX_TEST(test_bad_names),
	    BOX_TEST(test_unique_ids_stay),
	    BOX_TEST(test_same_messages),
	    BOX_TEST(test_index_is_incremental),
	    BOX_TEST(test_last_message_grows),
	    BOX_TEST(test_damaged_index),
	    BOX_TEST(test_second_session),
	    BOX_TEST(test_rewritten_in_a_session),
	    BOX_TEST(test_replaced_in_a_session),
	    BOX_TEST(test_removal),
	    BOX_TEST(test_removal_of_the_last_not_ended),
	    BOX_TEST(test_bad_marks),
	    BOX_TEST(test_folder_that_can_not_be_written),
	    BOX_TEST(test_file_that_can_not_be_written),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
