/* SPDX-License-Identifier: MIT */
/* Quotas. Runs in the keeper's disk threads and in administrator's commands. The file is a cache; whoever
 * owns the maildrop may have put anything there, to his own advantage or not. */
#include "drop/usage.h"

#include "base/time.h"
#include "drop/file.h"
#include "drop/sum.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#define MAGIC "RESTus1\n"
_Static_assert(sizeof(struct usage_record) == 80, "a record has no holes");

enum {
	LOCK_MS = 10000,   /* each delivery before us takes some syncing of the disk */
	COUNT_SHARE = 100, /* counting takes one part of so many of the time */
};

#define COUNT_AGE_NS (UINT64_C(24) * 3600 * 1000000000)

static uint64_t sum_record(const struct usage_record *record)
{
	return sum_of(0, span_of((const char *)record, offsetof(struct usage_record, sum)));
}

/* --- the file --- */

static int open_record(int folder, const char *name, int *ret_fd)
{
	int fd = file_open(folder, name, O_RDWR, false);
	if (fd < 0 && errno == ENOENT)
		fd = file_create(folder, name, 0600);
	if (fd < 0 && errno == EEXIST) /* another delivery was faster */
		fd = file_open(folder, name, O_RDWR, false);
	if (fd < 0)
		return err_from_errno(errno);
	int err = file_lock_within(fd, LOCK_MS);
	if (err)
		(void)close(fd);
	else
		*ret_fd = fd;
	return err;
}

/* All zero when there is none that holds: never counted. */
static void read_record(int fd, struct usage_record *ret)
{
	if (file_read(fd, false, ret, sizeof *ret, 0) != ERR_NONE ||
	    memcmp(ret->magic, MAGIC, sizeof ret->magic) != 0 || ret->sum != sum_record(ret))
		*ret = (struct usage_record){0};
}

static void write_record(struct usage_guard *guard)
{
	memcpy(guard->record.magic, MAGIC, sizeof guard->record.magic);
	guard->record.sum = sum_record(&guard->record);
	/* One that can not be written, or is cut short by a crash, does not hold: then it is counted. */
	(void)file_write(guard->fd, &guard->record, sizeof guard->record, 0);
}

/* --- counting --- */

static int count(struct usage_guard *guard)
{
	struct usage_record *record = &guard->record;
	uint64_t begun = time_real_ns();
	int err = guard->calls->count(guard->maildrop, &record->usage, record->seen);
	record->counted_ns = err ? 0 : time_real_ns();
	record->cost_ns = record->counted_ns > begun ? record->counted_ns - begun : 0;
	return err;
}

static bool is_current(const struct usage_guard *guard)
{
	struct index_seen seen[INDEX_FOLDERS];
	const struct usage_record *record = &guard->record;
	if (guard->calls->look(guard->maildrop, seen) != ERR_NONE)
		return false;
	for (unsigned i = 0; i < INDEX_FOLDERS; i++)
		if (record->seen[i].changed_ns == 0 || record->seen[i].inode != seen[i].inode ||
		    record->seen[i].changed_ns != seen[i].changed_ns)
			return false;
	return true;
}

/* The time counting is due, of a maildrop that has changed. */
static bool is_due(const struct usage_record *record, bool current)
{
	uint64_t now = time_real_ns(), age = now > record->counted_ns ? now - record->counted_ns : UINT64_MAX;
	return age > COUNT_AGE_NS || (!current && age / COUNT_SHARE >= record->cost_ns);
}

static bool fits(const struct usage_guard *guard, const struct drop_quota *quota)
{
	const struct usage *usage = &guard->record.usage;
	return (!quota->messages || usage->messages < quota->messages) &&
	       (!quota->octets ||
	        (guard->octets <= quota->octets && usage->octets <= quota->octets - guard->octets));
}

static int check(struct usage_guard *guard, const struct drop_quota *quota)
{
	guard->current = is_current(guard);
	if (is_due(&guard->record, guard->current) || (!guard->current && !fits(guard, quota))) {
		int err = count(guard);
		if (err)
			return err;
		guard->current = is_current(guard);
	}
	return fits(guard, quota) ? ERR_NONE : ERR_QUOTA;
}

int usage_begin(struct usage_guard *ret, const struct drop_quota *quota, uint64_t octets, int folder,
                const char *name, const struct usage_calls *calls, const void *maildrop, struct error *error)
{
	struct usage_guard guard = {.fd = -1, .calls = calls, .maildrop = maildrop, .octets = octets};
	if (!quota || (!quota->octets && !quota->messages)) {
		*ret = guard;
		return ERR_NONE;
	}
	int err = open_record(folder, name, &guard.fd);
	if (err == ERR_NONE) {
		read_record(guard.fd, &guard.record);
		err = check(&guard, quota);
	}
	const struct usage *usage = &guard.record.usage;
	if (err == ERR_QUOTA)
		error_set(error,
		          "over quota: this message has %" PRIu64 " octets, and %" PRIu64
		          " octets in %" PRIu64 " messages are there",
		          octets, usage->octets, usage->messages);
	else if (err)
		error_set(error, "%s: what the maildrop holds can not be counted: %s", name, err_text(err));
	if (err == ERR_NONE)
		*ret = guard;
	else if (guard.fd >= 0) {
		write_record(&guard); /* the count was worth it */
		(void)close(guard.fd);
	}
	return err;
}

void usage_end(struct usage_guard *guard, bool delivered)
{
	struct usage_record *record = &guard->record;
	if (guard->fd < 0)
		return;
	if (delivered) {
		record->usage.messages++;
		record->usage.octets += guard->octets;
		/* A change by somebody else that was not counted is still to be seen. */
		if (!guard->current || guard->calls->look(guard->maildrop, record->seen) != ERR_NONE)
			memset(record->seen, 0, sizeof record->seen);
	}
	write_record(guard);
	(void)close(guard->fd);
}
