/* SPDX-License-Identifier: MIT */
/* An mbox "inbox" in the temporary folder of box.h. */
#ifndef UNIT_SPOOL_H
#define UNIT_SPOOL_H

#include "box.h"

#define DATE  "Thu Jan  1 12:00:00 2026"
#define FROM  "From alice@example.org " DATE "\n"
#define ONE   FROM "A: 1\n\n1\n\n"
#define TWO   FROM "A: 2\n\n2\n\n"
#define THREE FROM "A: 3\n\n3\n\n"

static inline void use_mbox(struct box *box)
{
	(void)snprintf(box->location, sizeof box->location, "mbox:%s/inbox", box->root);
}

static inline void write_at_root(const struct box *box, const char *name, int flags, struct span octets)
{
	int fd = openat(box->drop_root.fd, name, O_WRONLY | O_CREAT | O_CLOEXEC | flags, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, octets.ptr, octets.len), (ssize_t)octets.len);
	assert_int_equal(close(fd), 0);
}

static inline void put_mbox(struct box *box, struct span octets)
{
	box_close(box);
	use_mbox(box);
	write_at_root(box, "inbox", O_TRUNC, octets);
}

static inline void append(const struct box *box, const char *text)
{
	write_at_root(box, "inbox", O_APPEND, span_str(text));
}

static inline void expect_mbox(const struct box *box, struct span want)
{
	char got[65536];
	int fd = openat(box->drop_root.fd, "inbox", O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	ssize_t len = read(fd, got, sizeof got);
	(void)close(fd);
	assert_int_equal(len, (ssize_t)want.len);
	assert_memory_equal(got, want.ptr, want.len);
}

/* Something was begun and is to be finished. */
static inline bool has_journal(const struct box *box)
{
	struct stat what;
	return fstatat(box->drop_root.fd, ".inbox.restante-journal", &what, 0) == 0 && what.st_size > 0;
}

static inline int commit(struct box *box, const char *marks, uint32_t *ret_removed)
{
	char bitmap[8] = {0};
	uint32_t count = drop_count(box->drop);
	for (uint32_t i = 0; i < count && marks[i]; i++)
		if (marks[i] == 'x')
			bitmap[i / 8] = (char)(bitmap[i / 8] | 1 << i % 8);
	return drop_commit(box->drop, span_of(bitmap, (count + 7) / 8), ret_removed, &box->error);
}

static inline void remove_marked(struct box *box, const char *marks)
{
	uint32_t removed, want = 0;
	for (const char *at = marks; *at; at++)
		want += *at == 'x';
	int err = commit(box, marks, &removed);
	if (err)
		fail_msg("commit: %s: %s", err_text(err), box->error.text);
	assert_int_equal(removed, want);
}

#endif
