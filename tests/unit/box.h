/* SPDX-License-Identifier: MIT */
/* A Maildir in a temporary folder, for the tests of src/drop. */
#ifndef UNIT_BOX_H
#define UNIT_BOX_H

#include "drop/drop.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { BOX_OTHER_UID = 64321 }; /* somebody who is not root, for root's tests */

struct box {
	char root[128], location[256];
	int fd; /* of the maildrop's folder */
	struct drop_root drop_root;
	struct drop *drop;
	struct drop_report report;
	struct error error;
	struct drop_listing listing;
};

static inline int box_remove_one(const char *path, const struct stat *what, int type, struct FTW *ftw)
{
	(void)what;
	(void)type;
	(void)ftw;
	return remove(path);
}

static inline void box_close(struct box *box)
{
	drop_close(box->drop);
	drop_listing_end(&box->listing);
	box->drop = NULL;
	box->listing = (struct drop_listing){0};
}

/* A root folder with an empty Maildir "m" in it. */
static inline int box_setup(void **state)
{
	static struct box box;
	const char *tmp = getenv("TMPDIR");
	box = (struct box){.fd = -1};
	(void)snprintf(box.root, sizeof box.root, "%s/restante-unit-XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(box.root) || drop_root_open(box.root, &box.drop_root, &box.error) != ERR_NONE)
		return -1;
	(void)snprintf(box.location, sizeof box.location, "maildir:%s/m", box.root);
	if (mkdirat(box.drop_root.fd, "m", 0700) != 0)
		return -1;
	box.fd = openat(box.drop_root.fd, "m", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (mkdirat(box.fd, "new", 0700) != 0 || mkdirat(box.fd, "cur", 0700) != 0 ||
	    mkdirat(box.fd, "tmp", 0700) != 0)
		return -1;
	*state = &box;
	return 0;
}

static inline int box_teardown(void **state)
{
	struct box *box = *state;
	box_close(box);
	(void)close(box->fd);
	drop_root_close(&box->drop_root);
	return nftw(box->root, box_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

#define BOX_TEST(function) cmocka_unit_test_setup_teardown(function, box_setup, box_teardown)

/* Delivers: a file with these octets. */
static inline void box_put(const struct box *box, const char *path, struct span octets)
{
	int fd = openat(box->fd, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, octets.ptr, octets.len), (ssize_t)octets.len);
	assert_int_equal(close(fd), 0);
}

static inline void box_put_text(const struct box *box, const char *path, const char *text)
{
	box_put(box, path, span_str(text));
}

static inline void box_rename(const struct box *box, const char *from, const char *to)
{
	assert_int_equal(renameat(box->fd, from, box->fd, to), 0);
}

static inline void box_delete(const struct box *box, const char *path)
{
	assert_int_equal(unlinkat(box->fd, path, 0), 0);
}

static inline bool box_has(const struct box *box, const char *path)
{
	struct stat what;
	return fstatat(box->fd, path, &what, AT_SYMLINK_NOFOLLOW) == 0;
}

/* Lets new/ and cur/ rest long enough for their times to be believed. */
static inline void box_rest(void)
{
	(void)usleep(1050000);
}

static inline int box_try_open(struct box *box, unsigned flags)
{
	box_close(box);
	return drop_open(&box->drop_root, box->location, flags, &box->drop, &box->report, &box->error);
}

static inline void box_open(struct box *box)
{
	int err = box_try_open(box, 0);
	if (err)
		fail_msg("open: %s: %s", err_text(err), box->error.text);
	err = drop_listing(box->drop, 0, &box->report, &box->listing, &box->error);
	if (err)
		fail_msg("listing: %s: %s", err_text(err), box->error.text);
	assert_int_equal(box->report.messages, drop_count(box->drop));
}

static inline uint64_t box_size(const struct box *box, uint32_t number)
{
	return box->listing.octets[number - 1];
}

static inline const char *box_uid(const struct box *box, uint32_t number)
{
	static char uid[4][DROP_UID_MAX + 1];
	static unsigned turn;
	uint32_t at = box->listing.uid_at[number - 1];
	char *to = uid[turn++ % 4];
	(void)span_to_text(span_of(box->listing.uids + at, box->listing.uid_at[number] - at), to,
	                   sizeof uid[0]);
	return to;
}

/* The number of the message with this unique-id, 0 for none. */
static inline uint32_t box_find(const struct box *box, const char *uid)
{
	for (uint32_t number = 1; number <= drop_count(box->drop); number++)
		if (strcmp(box_uid(box, number), uid) == 0)
			return number;
	return 0;
}

/* The raw octets of a message, NUL-terminated; NULL and *ret_err when it can not be had. */
static inline char *box_body(struct box *box, uint32_t number, int *ret_err)
{
	static char text[65536];
	struct drop_body body = {.fd = -1};
	*ret_err = drop_body(box->drop, number, 0, &body);
	if (*ret_err)
		return NULL;
	assert_in_range(body.length, 0, sizeof text - 1);
	ssize_t got = pread(body.fd, text, body.length, (off_t)body.offset);
	(void)close(body.fd);
	assert_int_equal(got, body.length);
	assert_int_equal(body.wire, box_size(box, number));
	text[got] = '\0';
	return text;
}

static inline void box_expect_body(struct box *box, uint32_t number, const char *text)
{
	int err;
	const char *got = box_body(box, number, &err);
	if (!got)
		fail_msg("body %u: %s", number, err_text(err));
	assert_string_equal(got, text);
}

static inline void box_expect_no_body(struct box *box, uint32_t number, int want)
{
	int err;
	assert_null(box_body(box, number, &err));
	assert_int_equal(err, want);
}

/* Becomes somebody whom permissions concern; root otherwise passes every one. */
static inline void box_become_other(struct box *box)
{
	if (geteuid() != 0)
		return;
	static const char *const parts[] = {".", "new", "cur", "tmp"};
	assert_int_equal(chown(box->root, BOX_OTHER_UID, BOX_OTHER_UID), 0);
	for (unsigned i = 0; i < sizeof parts / sizeof parts[0]; i++)
		assert_int_equal(fchownat(box->fd, parts[i], BOX_OTHER_UID, BOX_OTHER_UID, 0), 0);
	assert_int_equal(seteuid(BOX_OTHER_UID), 0);
}

static inline void box_become_self(void)
{
	if (getuid() == 0)
		assert_int_equal(seteuid(0), 0);
}

#endif
