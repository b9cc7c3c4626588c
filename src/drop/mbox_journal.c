/* SPDX-License-Identifier: MIT */
/* The journal of an mbox. Runs in the keeper's disk threads and in administrator's commands. What is in the
 * journal when it is read may be half written, and the file may have been appended to or rewritten by
 * anybody. */
#include "drop/mbox_journal.h"

#include "base/span.h"
#include "drop/file.h"
#include "drop/mbox.h"
#include "drop/sum.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#define JOURNAL_MAGIC "RESTmj1\n"

enum {
	STEP_MAX = 8 << 20,  /* octets of one step, */
	STEP_MIN = 64 << 10, /* or fewer where there is no room */
	STEP_SMALLER = 8,    /* each try by this */
	MARK = 32,           /* octets */
	GLANCE = 4096,       /* octets that are compared to see whether the file was rewritten */
	RANGES_MAX = 16000000,
};

struct journal_head {
	char magic[8];
	uint64_t inode;
	uint64_t count; /* ranges */
	uint64_t ranges_sum;
	uint64_t step_size;  /* room for the octets of one step */
	uint64_t before_sum; /* of GLANCE octets before the first range */
	uint64_t is_append;  /* 1: the range is to go only if nothing but zero lies at `first` */
	uint64_t first;
	char mark[MARK];
	uint64_t sum;
};

enum step_kind { STEP_MOVE = 1, STEP_CUT = 2 };

struct journal_step {
	uint64_t number; /* from 1 */
	uint64_t kind;
	uint64_t to; /* where its octets go; where the file is cut */
	uint64_t len;
	uint64_t next;     /* where in the file the next step takes its octets */
	uint64_t size;     /* of the file */
	uint64_t next_sum; /* of GLANCE octets there */
	uint64_t octets_sum;
	uint64_t sum;
};

/* A removal that is under way. */
struct removal {
	int journal, fd;
	uint64_t size; /* of the file */
	struct journal_head head;
	struct journal_range *ranges;
	uint64_t range; /* the next one ahead of `next` */
	struct journal_step step;
	char *octets; /* of the step */
};

static uint64_t sum_struct(const void *from, size_t size)
{
	return sum_of(0, span_of(from, size));
}

static uint64_t step_at(const struct removal *removal, uint64_t number)
{
	uint64_t ranges = removal->head.count * sizeof(struct journal_range);
	return sizeof removal->head + ranges + number % 2 * (sizeof removal->step + removal->head.step_size);
}

static int glance(int fd, uint64_t at, uint64_t size, uint64_t *ret_sum)
{
	char octets[GLANCE];
	size_t len = size - at < GLANCE ? (size_t)(size - at) : GLANCE;
	int err = file_read(fd, false, octets, len, at);
	if (err == ERR_NONE)
		*ret_sum = sum_of(len, span_of(octets, len));
	return err == ERR_CORRUPT ? ERR_CHANGED : err;
}

static int glance_before(const struct removal *removal, uint64_t *ret_sum)
{
	uint64_t end = removal->ranges[0].at;
	return glance(removal->fd, end < GLANCE ? 0 : end - GLANCE, end, ret_sum);
}

static int sync_file(int fd)
{
	return fsync(fd) == 0 ? ERR_NONE : err_from_errno(errno);
}

static uint64_t mark_len(const struct removal *removal, uint64_t at)
{
	return removal->size - at < MARK ? removal->size - at : MARK;
}

int journal_open(int folder, const char *name, bool nowait)
{
	const int flags = O_RDWR | O_NONBLOCK | O_NOCTTY;
	char file[NAME_OCTETS_MAX + 1];
	mbox_file_name(name, MBOX_JOURNAL, file);
	int fd = file_open(folder, file, flags, nowait);
	if (fd >= 0 || nowait || errno != ENOENT)
		return fd;
	fd = file_create(folder, file, 0600);
	if (fd < 0 && errno == EEXIST) /* somebody else, just now */
		return file_open(folder, file, flags, false);
	/* Its name must be on the disk before the mbox is touched. */
	if (fd >= 0 && fsync(folder) != 0) {
		int why = errno;
		(void)unlinkat(folder, file, 0);
		(void)close(fd);
		errno = why;
		return -1;
	}
	return fd;
}

/* That need not be durable: what was finished, or never begun, shows. */
void journal_clear(int journal)
{
	if (ftruncate(journal, 0) != 0)
		return;
}

/* --- forward --- */

/* The octets of the next step: what stays, from step.next on, as much as there is room for. */
static int gather(struct removal *removal)
{
	struct journal_step *step = &removal->step;
	step->to += step->len;
	step->len = 0;
	while (step->next < removal->size && step->len < removal->head.step_size) {
		uint64_t end = removal->size;
		if (removal->range < removal->head.count) {
			const struct journal_range *range = &removal->ranges[removal->range];
			if (range->at == step->next) {
				step->next += range->len;
				removal->range++;
				continue;
			}
			end = range->at;
		}
		uint64_t room = removal->head.step_size - step->len, left = end - step->next;
		size_t len = (size_t)(left < room ? left : room);
		int err = file_read(removal->fd, false, removal->octets + step->len, len, step->next);
		if (err)
			return err;
		step->len += len;
		step->next += len;
	}
	return ERR_NONE;
}

static int write_step(struct removal *removal)
{
	struct journal_step *step = &removal->step;
	step->number++;
	step->size = removal->size;
	step->octets_sum = sum_of(0, span_of(removal->octets, step->len));
	int err = glance(removal->fd, step->next, removal->size, &step->next_sum);
	step->sum = sum_struct(step, offsetof(struct journal_step, sum));
	uint64_t at = step_at(removal, step->number);
	if (err == ERR_NONE && step->len)
		err = file_write(removal->journal, removal->octets, step->len, at + sizeof *step);
	if (err == ERR_NONE)
		err = file_write(removal->journal, step, sizeof *step, at);
	return err ? err : sync_file(removal->journal);
}

/* Does what the step says; the last one leaves the mark. */
static int do_step(const struct removal *removal)
{
	const struct journal_step *step = &removal->step;
	uint64_t end = step->to + step->len;
	int err = file_write(removal->fd, removal->octets, step->len, step->to);
	if (err == ERR_NONE && step->next == removal->size)
		err = file_write(removal->fd, removal->head.mark, mark_len(removal, end), end);
	return err ? err : sync_file(removal->fd);
}

static int cut(struct removal *removal)
{
	struct journal_step *step = &removal->step;
	step->kind = STEP_CUT;
	step->to += step->len;
	step->len = 0;
	int err = write_step(removal);
	if (err == ERR_NONE && ftruncate(removal->fd, (off_t)step->to) != 0)
		err = err_from_errno(errno);
	return err ? err : sync_file(removal->fd);
}

/* Steps until all is moved, then cuts. */
static int go_on(struct removal *removal)
{
	int err = ERR_NONE;
	while (err == ERR_NONE && removal->step.next < removal->size) {
		removal->step.kind = STEP_MOVE;
		err = gather(removal);
		if (err == ERR_NONE)
			err = write_step(removal);
		if (err == ERR_NONE)
			err = do_step(removal);
	}
	if (err == ERR_NONE)
		err = cut(removal);
	if (err == ERR_NONE)
		journal_clear(removal->journal);
	return err;
}

/* Room for the whole journal, so that it does not run out half way. */
static int make_room(struct removal *removal, uint64_t octets)
{
	uint64_t size = octets < STEP_MAX ? octets : STEP_MAX;
	for (;;) {
		removal->head.step_size = size;
		if (fallocate(removal->journal, 0, 0,
		              (off_t)(step_at(removal, 1) + sizeof removal->step + size)) == 0 ||
		    errno == EOPNOTSUPP)
			return ERR_NONE;
		int err = err_from_errno(errno);
		if (err != ERR_NOSPACE || size <= STEP_MIN)
			return err;
		size /= STEP_SMALLER;
	}
}

static int write_head(struct removal *removal)
{
	struct journal_head *head = &removal->head;
	size_t size = (size_t)head->count * sizeof *removal->ranges;
	head->ranges_sum = sum_struct(removal->ranges, size);
	int err = glance_before(removal, &head->before_sum);
	head->sum = sum_struct(head, offsetof(struct journal_head, sum));
	if (err == ERR_NONE)
		err = file_write(removal->journal, removal->ranges, size, sizeof *head);
	if (err == ERR_NONE)
		err = file_write(removal->journal, head, sizeof *head, 0);
	return err;
}

static int begin(struct removal *removal)
{
	struct stat what;
	struct journal_head *head = &removal->head;
	memcpy(head->magic, JOURNAL_MAGIC, sizeof head->magic);
	if (fstat(removal->fd, &what) != 0)
		return err_from_errno(errno);
	head->inode = what.st_ino;
	if (getrandom(head->mark, sizeof head->mark, 0) != sizeof head->mark)
		return ERR_IO;
	int err = head->is_append ? ERR_NONE : make_room(removal, removal->size - removal->ranges[0].at);
	return err ? err : write_head(removal);
}

int journal_remove(int journal, int fd, uint64_t size, const struct journal_range *ranges, uint64_t count,
                   struct error *error)
{
	size_t octets = (size_t)count * sizeof *ranges;
	struct removal removal = {.journal = journal, .fd = fd, .size = size, .head.count = count};
	removal.ranges = malloc(octets);
	if (!removal.ranges)
		return ERR_NOMEM;
	memcpy(removal.ranges, ranges, octets);
	removal.step.to = removal.step.next = ranges[0].at;
	int err = begin(&removal);
	removal.octets = err ? NULL : malloc(removal.head.step_size + 1);
	if (err == ERR_NONE && !removal.octets)
		err = ERR_NOMEM;
	if (err) {
		journal_clear(journal); /* nothing has happened */
		error_set(error, "the journal can not be written: %s", err_text(err));
	} else {
		err = go_on(&removal);
		if (err)
			error_set(error, "what stays can not be moved: %s; the next login goes on with it",
			          err_text(err));
	}
	free(removal.octets);
	free(removal.ranges);
	return err;
}

int journal_note_append(int journal, int fd, const struct journal_range *range, uint64_t first)
{
	struct journal_range ranges[] = {*range};
	struct removal removal = {.journal = journal, .fd = fd, .size = range->at, .ranges = ranges};
	removal.head.count = 1;
	removal.head.step_size = STEP_MIN;
	removal.head.is_append = 1;
	removal.head.first = first;
	int err = begin(&removal);
	if (err == ERR_NONE)
		err = sync_file(journal);
	if (err)
		journal_clear(journal);
	return err;
}

/* --- after a crash --- */

/* ERR_CORRUPT: it was not finished, so nothing has happened. */
static int read_head(struct removal *removal)
{
	struct journal_head *head = &removal->head;
	int err = file_read(removal->journal, false, head, sizeof *head, 0);
	if (err)
		return err;
	if (memcmp(head->magic, JOURNAL_MAGIC, sizeof head->magic) != 0 ||
	    head->sum != sum_struct(head, offsetof(struct journal_head, sum)) || head->count == 0 ||
	    head->count > RANGES_MAX || head->step_size > STEP_MAX)
		return ERR_CORRUPT;
	size_t size = (size_t)head->count * sizeof *removal->ranges;
	removal->ranges = malloc(size);
	removal->octets = malloc(head->step_size + 1);
	if (!removal->ranges || !removal->octets)
		return ERR_NOMEM;
	err = file_read(removal->journal, false, removal->ranges, size, sizeof *head);
	if (err == ERR_NONE && head->ranges_sum != sum_struct(removal->ranges, size))
		err = ERR_CORRUPT;
	return err;
}

static int read_step(struct removal *removal, uint64_t number, struct journal_step *ret)
{
	struct journal_step step;
	uint64_t at = step_at(removal, number);
	int err = file_read(removal->journal, false, &step, sizeof step, at);
	if (err == ERR_NONE && (step.sum != sum_struct(&step, offsetof(struct journal_step, sum)) ||
	                        step.number % 2 != number || step.len > removal->head.step_size))
		err = ERR_CORRUPT;
	if (err == ERR_NONE)
		err = file_read(removal->journal, false, removal->octets, step.len, at + sizeof step);
	if (err == ERR_NONE && step.octets_sum != sum_of(0, span_of(removal->octets, step.len)))
		err = ERR_CORRUPT;
	if (err == ERR_NONE)
		*ret = step;
	return err;
}

/* The later of the two steps that is whole, with its octets. */
static int find_step(struct removal *removal)
{
	struct journal_step steps[2] = {{0}, {0}};
	for (unsigned i = 0; i < 2; i++) {
		int err = read_step(removal, i, &steps[i]);
		if (err && err != ERR_CORRUPT)
			return err;
	}
	if (!steps[0].number && !steps[1].number)
		return ERR_CORRUPT;
	return read_step(removal, steps[1].number > steps[0].number, &removal->step);
}

/* The part of the file that no step has touched is what it was. */
static int check_file(const struct removal *removal)
{
	const struct journal_step *step = &removal->step;
	uint64_t sum;
	int err = glance_before(removal, &sum);
	if (err == ERR_NONE && sum != removal->head.before_sum)
		err = ERR_CHANGED;
	if (err == ERR_NONE)
		err = glance(removal->fd, step->next, step->size, &sum);
	if (err == ERR_NONE && sum != step->next_sum)
		err = ERR_CHANGED;
	return err;
}

/* Whether the file still has the mark: it was not cut. */
static int look_for_mark(const struct removal *removal, bool *ret_there)
{
	char octets[MARK];
	const struct journal_step *step = &removal->step;
	uint64_t len = step->size - step->to < MARK ? step->size - step->to : MARK;
	*ret_there = false;
	if (removal->size < step->size)
		return ERR_NONE;
	int err = file_read(removal->fd, false, octets, len, step->to);
	*ret_there = err == ERR_NONE && memcmp(octets, removal->head.mark, len) == 0;
	return err;
}

static int redo(struct removal *removal)
{
	struct journal_step *step = &removal->step;
	bool there = true;
	int err = ERR_NONE;
	while (removal->range < removal->head.count && removal->ranges[removal->range].at < step->next)
		removal->range++;
	if (step->kind == STEP_CUT) {
		err = look_for_mark(removal, &there);
		if (err == ERR_NONE && !there)
			journal_clear(removal->journal);
		return err || !there ? err : go_on(removal);
	}
	if (removal->size < step->size)
		return ERR_CHANGED;
	err = check_file(removal);
	if (err == ERR_NONE)
		err = do_step(removal);
	return err ? err : go_on(removal);
}

/* Whether an append died and its octets are there. Not if somebody has rewritten the file since. */
static int look_at_append(const struct removal *removal, bool *ret_undo)
{
	char first;
	uint64_t sum;
	const struct journal_head *head = &removal->head;
	const struct journal_range *range = &removal->ranges[0];
	if (range->at > removal->size || removal->size - range->at < range->len || head->first < range->at ||
	    head->first - range->at >= range->len)
		return ERR_NONE;
	int err = glance_before(removal, &sum);
	if (err == ERR_NONE)
		err = file_read(removal->fd, false, &first, sizeof first, head->first);
	*ret_undo = err == ERR_NONE && sum == head->before_sum && first == '\0';
	return err;
}

static int recover(struct removal *removal, uint64_t inode)
{
	bool undo = false;
	int err = read_head(removal);
	if (err == ERR_NONE) {
		bool same = inode == removal->head.inode;
		err = find_step(removal);
		if (err == ERR_NONE)
			return same ? redo(removal) : ERR_CHANGED;
		if (err == ERR_CORRUPT && same && removal->head.is_append)
			err = look_at_append(removal, &undo);
	}
	if (err && err != ERR_CORRUPT)
		return err;
	if (undo) {
		removal->step = (struct journal_step){.to = removal->ranges[0].at};
		removal->step.next = removal->step.to;
		return go_on(removal);
	}
	journal_clear(removal->journal); /* nothing has happened, or all */
	return ERR_NONE;
}

int journal_finish(int journal, int fd, struct stat *what)
{
	struct stat ours;
	if (fstat(journal, &ours) != 0)
		return err_from_errno(errno);
	if (!S_ISREG(ours.st_mode))
		return ERR_NOTREGULAR;
	if (ours.st_size == 0)
		return ERR_NONE;
	struct removal removal = {.journal = journal, .fd = fd, .size = (uint64_t)what->st_size};
	int err = recover(&removal, what->st_ino);
	free(removal.octets);
	free(removal.ranges);
	if (err == ERR_NONE && fd >= 0 && fstat(fd, what) != 0)
		err = err_from_errno(errno);
	return err;
}
