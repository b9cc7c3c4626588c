/* SPDX-License-Identifier: MIT */
/* A worker that was taken over, for tests/e2e/test_hostile.py. Between hostile_worker.c and hostile_escape.c.
 */
#ifndef HOSTILE_H
#define HOSTILE_H

/* Tries every way out of the confinement that is in force, and logs what came of each:
 * event=escape call=open result=denied, or result=POSSIBLE. */
void escape_try_all(void);

#endif
