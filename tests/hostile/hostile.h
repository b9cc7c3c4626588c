/* SPDX-License-Identifier: MIT */
/* A worker that was taken over, for tests/e2e/test_hostile.py. Between hostile_worker.c, hostile_deliver.c
 * and hostile_escape.c. */
#ifndef HOSTILE_H
#define HOSTILE_H

#include "server/link.h"

#include <stdbool.h>
#include <stddef.h>

enum { SESSION = 7, OTHER_SESSION = 8 };

struct mode {
	const char *name;
	void (*act)(void);
	bool after_login;    /* with a ticket in hand */
	bool after_opened;   /* with a maildrop open */
	bool after_lookup;   /* with a ticket to deliver to alice */
	bool after_file;     /* with a file for a message to her */
	const char *offence; /* what the master is to log as its end; NULL: it may live */
};

extern struct link auth, keeper;
extern struct ticket ticket; /* the last one auth gave */

/* --- hostile_deliver.c --- */

extern const struct mode deliver_modes[];
extern const size_t deliver_mode_count;

void deliver_look_up(uint64_t session);
/* An answer of auth or keeper, for a mode that delivers. */
void deliver_take_ticket(const struct mode *mode);
void deliver_take(const struct mode *mode, struct ipc_in *in);

/* --- hostile_escape.c --- */

/* Tries every way out of the confinement that is in force, and logs what came of each:
 * event=escape call=open result=denied, or result=POSSIBLE. */
void escape_try_all(void);

#endif
