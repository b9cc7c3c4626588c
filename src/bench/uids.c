/* SPDX-License-Identifier: MIT */
/* Unique-ids seen. Runs in restante-bench on octets of the server under test. */
#include "bench/uids.h"

#include <stdlib.h>

enum { ROOM_FIRST = 256 };

/* FNV-1a, then mixed, for the table takes the low bits. */
static uint64_t mark_of(struct span uid)
{
	uint64_t mark = 0xcbf29ce484222325u;
	for (size_t i = 0; i < uid.len; i++)
		mark = (mark ^ (unsigned char)uid.ptr[i]) * 0x100000001b3u;
	mark ^= mark >> 32;
	return mark ? mark : 1;
}

/* The place of `mark`, or the free one where it belongs. */
static uint64_t *find(uint64_t *marks, uint64_t room, uint64_t mark)
{
	uint64_t at = mark & (room - 1);
	while (marks[at] && marks[at] != mark)
		at = (at + 1) & (room - 1);
	return &marks[at];
}

static int grow(struct uids *uids)
{
	uint64_t room = uids->room ? uids->room * 2 : ROOM_FIRST;
	uint64_t *marks = calloc(room, sizeof *marks);
	if (!marks)
		return ERR_NOMEM;
	for (uint64_t i = 0; i < uids->room; i++)
		if (uids->marks[i])
			*find(marks, room, uids->marks[i]) = uids->marks[i];
	free(uids->marks);
	uids->marks = marks;
	uids->room = room;
	return ERR_NONE;
}

int uids_add(struct uids *uids, struct span uid)
{
	int err = (uids->count + 1) * 2 > uids->room ? grow(uids) : ERR_NONE;
	if (err)
		return err;
	uint64_t mark = mark_of(uid);
	uint64_t *place = find(uids->marks, uids->room, mark);
	if (*place)
		return ERR_EXISTS;
	*place = mark;
	uids->count++;
	return ERR_NONE;
}

void uids_finish(struct uids *uids)
{
	free(uids->marks);
	*uids = (struct uids){0};
}
