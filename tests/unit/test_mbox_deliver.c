/* SPDX-License-Identifier: MIT */
/*
 * Unit test of src/drop: deliveries into an mbox that are killed at every system call, disks that fail,
 * quotas. Afterwards there is no message or a whole one, and not an octet of the others differs.
 */
#include "spool.h"

#include "drop/deliver.h"
#include "killed.h"

#include <sys/resource.h>

enum { LONG = 100000 }; /* octets of a message that is written in several pieces */

#define HEAD "Subject: x\n\n"

/* What the daemon writes, but for the date. */
static const char from_line[] = "From MAILER-DAEMON " DATE "\n";

/* A message and how it is stored. */
struct sample {
	const char *text, *stored;
};

static const struct sample samples[] = {
    {HEAD "1\n",                    HEAD "1\n\n"                          },
    {HEAD FROM "\n>" FROM "no end", HEAD ">" FROM "\n>>" FROM "no end\n\n"},
};

/* `stop`: before the maildrop is touched. */
static int deliver_or_stop(struct box *box, struct span text, const struct drop_quota *quota, bool stop)
{
	struct drop_incoming *incoming = NULL;
	struct drop_delivered delivered;
	int err = drop_incoming_begin(&box->drop_root, box->location, &incoming, &box->error);
	if (err == ERR_NONE)
		err = write(drop_incoming_fd(incoming), text.ptr, text.len) == (ssize_t)text.len ? ERR_NONE
		                                                                                 : ERR_IO;
	if (stop)
		(void)raise(SIGSTOP);
	if (err == ERR_NONE)
		err = drop_deliver(&box->drop_root, incoming, box->location, quota, &delivered, &box->error);
	drop_incoming_end(incoming);
	return err;
}

static int deliver(struct box *box, struct span text, const struct drop_quota *quota)
{
	return deliver_or_stop(box, text, quota, false);
}

/* --- the file --- */

struct file {
	size_t len;
	char octets[4 * LONG];
};

static void add(struct file *file, const char *text)
{
	size_t len = strlen(text);
	assert_true(file->len + len <= sizeof file->octets);
	memcpy(file->octets + file->len, text, len);
	file->len += len;
}

static void read_mbox(const struct box *box, struct file *ret)
{
	ret->len = 0;
	int fd = openat(box->drop_root.fd, "inbox", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return; /* is an empty one */
	ssize_t len = read(fd, ret->octets, sizeof ret->octets);
	(void)close(fd);
	assert_in_range(len, 0, sizeof ret->octets - 1);
	ret->len = (size_t)len;
	static const size_t date_at = sizeof from_line - 1 - sizeof DATE;
	for (size_t at = 0; at + sizeof from_line - 1 <= ret->len; at++)
		if (memcmp(ret->octets + at, from_line, date_at) == 0)
			memcpy(ret->octets + at + date_at, DATE, sizeof DATE - 1);
}

static bool is_same(const struct file *a, const struct file *b)
{
	return a->len == b->len && memcmp(a->octets, b->octets, a->len) == 0;
}

static void set_mbox(struct box *box, const char *text)
{
	static const char *const files[] = {"inbox", "inbox.lock", ".inbox.restante-journal",
	                                    ".inbox.restante-index", ".inbox.restante-usage"};
	box_close(box);
	use_mbox(box);
	for (unsigned i = 0; i < sizeof files / sizeof files[0]; i++)
		(void)unlinkat(box->drop_root.fd, files[i], 0);
	if (text)
		append(box, text);
}

/* --- killed --- */

struct crash {
	struct box *box;
	const char *before; /* NULL: no file */
	const char *gap;    /* what a delivery puts behind that first */
	struct sample sample;
	const char *appended; /* by others, behind what is left by the kill */
};

static int deliver_sample(void *user)
{
	const struct crash *crash = user;
	return deliver_or_stop(crash->box, span_str(crash->sample.text), NULL, true);
}

static int open_again(void *user)
{
	const struct crash *crash = user;
	(void)raise(SIGSTOP);
	return box_try_open(crash->box, 0);
}

/* What comes after the crash, and looks at the mbox first. */
enum then { THEN_OPEN, THEN_DELIVER };

static void check(struct crash *crash, enum then then, unsigned at, unsigned appended)
{
	static struct file none, whole, got;
	struct box *box = crash->box;
	none.len = whole.len = 0;
	add(&none, crash->before ? crash->before : "");
	whole = none;
	add(&whole, crash->gap);
	add(&whole, from_line);
	add(&whole, crash->sample.stored);
	for (unsigned i = 0; i < appended; i++) {
		add(&none, crash->appended);
		add(&whole, crash->appended);
	}
	if (then == THEN_OPEN)
		box_open(box);
	if (then == THEN_DELIVER) {
		assert_int_equal(deliver(box, span_str(samples[0].text), NULL), ERR_NONE);
		struct file *const files[] = {&none, &whole};
		for (unsigned i = 0; i < 2; i++) {
			add(files[i], i == 0 && !appended ? crash->gap : "");
			add(files[i], from_line);
			add(files[i], samples[0].stored);
		}
	}
	read_mbox(box, &got);
	if (!is_same(&got, &none) && !is_same(&got, &whole))
		fail_msg("killed at %u, then %d: neither as before nor with the message", at, then);
	assert_int_equal(faccessat(box->drop_root.fd, "inbox.lock", F_OK, 0), -1);
}

/* Kills the delivery at each call; `twice`: and the next open at each of its calls, where it has
 * something to undo. */
static void kill_everywhere(struct crash *crash, enum then then, bool twice)
{
	unsigned at = 1;
	for (bool killed = true; killed; at++) {
		unsigned again = 1;
		for (bool killed_again = true; killed_again; again++) {
			set_mbox(crash->box, crash->before);
			killed = killed_at(deliver_sample, crash, at);
			unsigned appended = crash->appended[0] != '\0';
			if (appended)
				append(crash->box, crash->appended);
			killed_again =
			    killed && twice && has_journal(crash->box) && killed_at(open_again, crash, again);
			check(crash, then, at, appended);
		}
	}
	assert_true(at > 20); /* something was killed */
}

static void test_killed_everywhere(void **state)
{
	static const struct {
		const char *before, *gap;
	} files[] = {
	    {NULL,               ""    },
            {ONE,                ""    },
            {FROM "A: 1\n\n1\n", "\n"  },
            {FROM "A: 1\n\n1",   "\n\n"}
        };
	static const char *const appended[] = {"", TWO,
	                                       FROM "A: 2\n\n2\n\n" FROM "A: longer\n\nthan that\n\n"};
	for (unsigned i = 0; i < sizeof files / sizeof files[0]; i++)
		for (unsigned j = 0; j < sizeof appended / sizeof appended[0]; j++) {
			struct crash crash = {*state, files[i].before, files[i].gap, samples[(i + j) % 2],
			                      appended[j]};
			if (j && files[i].gap[0])
				continue; /* others who do not look whether a line is ended */
			kill_everywhere(&crash, (i + j) % 2 ? THEN_OPEN : THEN_DELIVER, false);
		}
}

static void test_recovery_killed_everywhere(void **state)
{
	struct crash crash = {*state, ONE, "", samples[0], TWO};
	kill_everywhere(&crash, THEN_OPEN, true);
}

static void test_long_message_killed(void **state)
{
	static char text[LONG + 100], stored[LONG + 102];
	int head = sprintf(text, HEAD);
	for (int i = head; i < LONG; i++)
		text[i] = i % 64 ? 'x' : '\n';
	(void)sprintf(stored, "%s\n\n", text);
	struct crash crash = {
	    *state, ONE, "", {text, stored},
               TWO
        };
	kill_everywhere(&crash, THEN_OPEN, false);
}

/* A session that was open meanwhile deletes: what is left of the delivery goes as well. */
static void test_killed_during_a_session(void **state)
{
	static struct file removed, whole, got;
	struct crash crash = {*state, ONE TWO, "", samples[0], ""};
	struct box *box = crash.box;
	unsigned at = 1;
	for (bool killed = true; killed; at++) {
		set_mbox(box, crash.before);
		box_open(box);
		killed = killed_at(deliver_sample, &crash, at);
		remove_marked(box, "x-");
		removed.len = 0;
		add(&removed, TWO);
		whole = removed;
		add(&whole, from_line);
		add(&whole, crash.sample.stored);
		read_mbox(box, &got);
		if (!is_same(&got, &removed) && !is_same(&got, &whole))
			fail_msg("killed at %u: not as it should be", at);
	}
	assert_true(at > 20);
}

/* Another program that has rewritten the mbox since is not meddled with. */
static void test_rewritten_since(void **state)
{
	static struct file before, after;
	struct crash crash = {*state, ONE TWO, "", samples[0], ""};
	struct box *box = crash.box;
	unsigned at = 1;
	for (bool killed = true; killed; at++) {
		set_mbox(box, crash.before);
		killed = killed_at(deliver_sample, &crash, at);
		write_at_root(box, "inbox", O_TRUNC, SPAN(THREE ONE TWO TWO TWO TWO TWO));
		read_mbox(box, &before);
		box_open(box);
		read_mbox(box, &after);
		assert_true(is_same(&before, &after));
		assert_int_equal(drop_count(box->drop), 7);
	}
}

/* --- disks that fail --- */

/* No file may be larger than `octets`: as on a full disk, or with a quota of the file system. */
static int deliver_within(struct box *box, struct span text, uint64_t octets)
{
	struct rlimit limit, old;
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	limit = (struct rlimit){.rlim_cur = octets, .rlim_max = old.rlim_max};
	assert_ptr_not_equal(signal(SIGXFSZ, SIG_IGN), SIG_ERR);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
	int err = deliver(box, text, NULL);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	return err;
}

static void test_no_room(void **state)
{
	struct box *box = *state;
	static char text[LONG];
	memset(text, 'x', sizeof text);
	char many[201];
	memset(many, '\n', 200);
	many[200] = '\0';
	set_mbox(box, FROM "A: 1\n\n1");
	append(box, many); /* there is room for the message, but not behind this */
	uint64_t size = strlen(FROM "A: 1\n\n1") + 200;
	static struct file before, after;
	read_mbox(box, &before);
	for (uint64_t room = sizeof text; room < size + sizeof text + sizeof from_line + 1; room += 17) {
		assert_int_not_equal(deliver_within(box, span_of(text, sizeof text), room), ERR_NONE);
		read_mbox(box, &after);
		assert_true(is_same(&before, &after));
		assert_int_equal(faccessat(box->drop_root.fd, "inbox.lock", F_OK, 0), -1);
	}
	assert_int_equal(deliver_within(box, span_of(text, sizeof text), size + sizeof text + 100), ERR_NONE);
	box_open(box);
	assert_int_equal(drop_count(box->drop), 2);
}

static void test_not_an_mbox(void **state)
{
	struct box *box = *state;
	static const char *const bad[] = {"Dear all,\n", "x", "abc\n"};
	for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		set_mbox(box, bad[i]);
		assert_int_equal(deliver(box, SPAN(HEAD), NULL), ERR_CORRUPT);
		expect_mbox(box, span_str(bad[i]));
	}
}

/* --- quotas --- */

static void test_quota(void **state)
{
	struct box *box = *state;
	enum { WIRE = sizeof HEAD - 1 + 2 + 3 }; /* two line ends of the head; "1\r\n" */
	set_mbox(box, NULL);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(deliver(box, SPAN(HEAD "1\n"), &(struct drop_quota){3 * WIRE, 0}), ERR_NONE);
	assert_int_equal(deliver(box, SPAN(HEAD "1\n"), &(struct drop_quota){4 * WIRE - 1, 0}), ERR_QUOTA);
	assert_non_null(strstr(box->error.text, "in 3 messages"));
	assert_int_equal(deliver(box, SPAN(HEAD "1\n"), &(struct drop_quota){0, 3}), ERR_QUOTA);
	box_open(box);
	assert_int_equal(drop_count(box->drop), 3);
	/* What a session deletes makes room at once; so does what another program deletes. */
	remove_marked(box, "x--");
	box_close(box);
	assert_int_equal(deliver(box, SPAN(HEAD "1\n"), &(struct drop_quota){0, 3}), ERR_NONE);
	assert_int_equal(deliver(box, SPAN(HEAD "1\n"), &(struct drop_quota){0, 3}), ERR_QUOTA);
	put_mbox(box, SPAN(ONE));
	assert_int_equal(deliver(box, SPAN(HEAD "1\n"), &(struct drop_quota){0, 2}), ERR_NONE);
	/* What another program appends counts before long. */
	append(box, TWO);
	box_rest();
	assert_int_equal(deliver(box, SPAN(HEAD "1\n"), &(struct drop_quota){0, 3}), ERR_QUOTA);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    BOX_TEST(test_killed_everywhere),   BOX_TEST(test_recovery_killed_everywhere),
	    BOX_TEST(test_long_message_killed), BOX_TEST(test_killed_during_a_session),
	    BOX_TEST(test_rewritten_since),     BOX_TEST(test_no_room),
	    BOX_TEST(test_not_an_mbox),         BOX_TEST(test_quota),
	};
	if (access("/dev/shm", W_OK) == 0) /* as in test_mbox_crash.c */
		(void)setenv("TMPDIR", "/dev/shm", 0);
	return cmocka_run_group_tests_name("mbox_deliver", tests, NULL, NULL);
}
