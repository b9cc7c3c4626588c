/* SPDX-License-Identifier: MIT */
/*
 * Maildrops: what POP needs of a mail store and no more. Used by the keeper
 * (and administrator's commands). Knows messages; knows neither POP nor IPC.
 *
 * Every call may block on the disk unless DROP_NOWAIT is given, which makes it
 * return ERR_AGAIN, with nothing done, where it would have to. A maildrop is used
 * by one thread at a time.
 *
 * A snapshot is taken at open: message n stays message n until close, whatever
 * other programs do. Sizes are wire octets (RFC 1939 section 11) and exact.
 */
#ifndef DROP_DROP_H
#define DROP_DROP_H

#include "base/err.h"
#include "base/span.h"

#include <stdint.h>

struct drop; /* an open, locked maildrop */

enum drop_flag {
	DROP_NOWAIT = 1, /* ERR_AGAIN instead of waiting for the disk */
	DROP_SHARED = 2, /* beside others that say so too, if its kind can be: see drop_is_shared() */
	DROP_STEPS = 4,  /* drop_open(): leave reading messages to drop_prepare() */
};

/* The limits of a maildrop. */
enum {
	DROP_UID_MAX = 70,            /* octets of a unique-id, RFC 1939 section 7 */
	DROP_STEP_MS = 20,            /* about how long a step of drop_prepare() or drop_commit_step() is */
	DROP_MESSAGES_MAX = 16000000, /* messages in one maildrop; more are not shown, and logged */
	DROP_SMALL_MAX = 16384,       /* raw octets of a message that drop_read_small() reads */
	DROP_BATCH_MAX = 32,          /* messages it reads at once */
};

/* What happened at open, for the log. */
struct drop_report {
	uint32_t messages;
	uint32_t settled;    /* while it is not open yet: how many of these need no more looking at */
	uint32_t read;       /* message files read because the index did not know them */
	uint32_t unreadable; /* listed, but RETR will fail */
	uint32_t skipped;    /* directory entries that are no messages: directories, links, FIFOs */
	uint32_t hidden;     /* messages past DROP_MESSAGES_MAX, not shown */
	uint8_t rescanned;   /* the directories were read */
	uint8_t unwritten;   /* the index could not be written: each open will read everything */
};

struct drop_body {
	int fd;           /* read-only; the caller's; -1 with `here` */
	const char *here; /* the message, read already; or NULL */
	uint64_t offset;  /* of the message in the file */
	uint64_t length;  /* raw octets */
	uint64_t wire;    /* octets on the wire, as listed */
	uint64_t header;  /* raw octets of the header and its blank line */
	bool crlf;        /* every line ends in CRLF already, the last one too */
	bool no_dots;     /* no line begins with a dot */
};

/* How messages lie in an mbox. Zeros: mboxrd, which keeps every octet. */
struct drop_mbox_rules {
	bool keep_quotes;    /* mboxo: ">From " stays what it is, on the way out */
	bool content_length; /* where it fits, Content-Length says where a message ends */
};

/* The folder below which all maildrops lie. */
struct drop_root {
	struct drop_mbox_rules mbox; /* whoever opened it may set them */
	int fd;
	size_t path_len;
	char path[1024]; /* without a '/' at its end */
};

/* Opens it: ERR_SYNTAX: not an absolute path, or too long; ERR_NOTFOUND, ERR_DENIED, ... */
int drop_root_open(const char *path, struct drop_root *ret, struct error *error);
void drop_root_close(struct drop_root *root);

/* Opens and locks the maildrop at `location` ("maildir:/absolute/path" or "mbox:/absolute/path"), below
 * `root`. No part of the path below root may be a symlink. Where there is none but its parent folder is
 * there, it is an empty one. ERR_BUSY: another session has it. ERR_SYNTAX: no such kind of location, or not
 * below root. ERR_CORRUPT: there is something else in its place. ERR_DENIED, ERR_IO, ERR_NOSPACE, ERR_FULL,
 * ERR_NOMEM, ERR_AGAIN. */
int drop_open(const struct drop_root *root, const char *location, unsigned flags, struct drop **ret,
              struct drop_report *ret_report, struct error *error);

/* Others may have it open too. */
bool drop_is_shared(const struct drop *drop);

/* Once more after drop_open() with DROP_STEPS, until it does not return ERR_AGAIN: the maildrop is open then,
 * or only good for drop_close(). Closing it before keeps what was read so far for the next open. */
int drop_prepare(struct drop *drop, struct drop_report *report, struct error *error);

/* Messages in the snapshot. */
uint32_t drop_count(const struct drop *drop);

/* Wire octets of all messages together. */
uint64_t drop_octets(const struct drop *drop);

/* Wire octets and unique-ids of all messages; unique-id n is uids[uid_at[n - 1]] up to uids[uid_at[n]], 1 to
 * DROP_UID_MAX octets of 0x21-0x7e. */
struct drop_listing {
	const uint64_t *octets;
	const uint32_t *uid_at; /* count + 1 */
	const char *uids;
	char *memory; /* what the others point into */
};

/* Reads the listing; drop_listing_end() when it is no longer needed. An index that turns out not to hold is
 * made anew, as *report says then: with another drop_count() or drop_octets() perhaps, if the maildrop has
 * changed since it was opened. DROP_NOWAIT, ERR_AGAIN: it does not hold, or has to be read from the disk. */
int drop_listing(struct drop *drop, unsigned flags, struct drop_report *report, struct drop_listing *ret,
                 struct error *error);
void drop_listing_end(struct drop_listing *listing);

/* Listings with the same identity are the same. Another maildrop's, or an older or newer one, has another. */
struct drop_identity {
	uint64_t device, inode; /* of the maildrop */
	uint64_t stamp, sum, count, octets;
};

/* ERR_IO: there is none. */
int drop_identify(const struct drop *drop, struct drop_identity *ret);

/* Reads the small ones among the messages `numbers` (1 to count each; at most DROP_BATCH_MAX) into `room`,
 * one behind the other, many in one system call where the kernel can (ring.h). ret[i].here is NULL for those
 * that are long, or could not be read: drop_body() opens them or says why not. Returns for how many numbers
 * `ret` was written: fewer when the room is used up, but one with room for DROP_SMALL_MAX + 1 octets. */
unsigned drop_read_small(struct drop *drop, const uint32_t *numbers, unsigned count, unsigned flags,
                         char *room, size_t room_size, struct drop_body *ret);

/* Opens message `number` (1 to count). ERR_NOTFOUND: gone; ERR_CHANGED: another file is in its place;
 * ERR_NOTREGULAR, ERR_DENIED, ERR_IO, ERR_AGAIN; ERR_CORRUPT: somebody altered the index. The maildrop
 * stays usable, and what went wrong is looked at anew by the next open. */
int drop_body(struct drop *drop, uint32_t number, unsigned flags, struct drop_body *ret);

/* Where message `number` lay in the maildrop when it was opened, "cur/NAME:2,FLAGS". ERR_UNSUPPORTED: the
 * kind's messages are no files; ERR_RANGE, ERR_CORRUPT, ERR_IO. */
enum { DROP_NAME_MAX = 260 };
int drop_name(struct drop *drop, uint32_t number, char to[DROP_NAME_MAX]);

/* Messages that are there, looked for without the index: more than drop_count() when some came in since it
 * was opened. ERR_UNSUPPORTED: the index was compared with all there is when it was opened. */
int drop_recount(struct drop *drop, uint64_t *ret_messages);

/* Throws the index away: the next open makes it anew, in the order of the messages' names. */
void drop_discard_index(struct drop *drop);

/* Removes the messages whose bit is set (bit n-1 of the bitmap, lowest bit first; (count + 7) / 8
 * octets) and makes that durable before it returns 0. A message already gone counts as removed.
 * A message that was only renamed meanwhile is found and removed. On error some may be removed:
 * *ret_removed, always written, says how many; never one that was not marked. */
int drop_commit(struct drop *drop, struct span bitmap, uint32_t *ret_removed, struct error *error);
/* The same a little at a time: ERR_AGAIN when there is more to do, with the same bitmap. A maildrop that is
 * closed in between has lost some of the marked messages. */
int drop_commit_step(struct drop *drop, struct span bitmap, uint32_t *ret_removed, struct error *error);

/* Unlocks and frees; NULL is fine. */
void drop_close(struct drop *drop);

#endif
