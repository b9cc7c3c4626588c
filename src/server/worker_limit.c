/* SPDX-License-Identifier: MIT */
/*
 * Who is let in: sessions of this worker, those among them that have not logged in, those of one network, and
 * memory. Who is in is never put out for any of these. Sessions that have logged in are counted
 * over all workers, by the keeper. Runs in the worker; addresses come from the kernel.
 */
#include "server/worker.h"

#include <malloc.h>

static bool is_crowded(const struct worker *worker, const struct network *network)
{
	uint32_t most = worker->setup.strangers_of_max;
	return most && tally_count(&worker->strangers_of, network) >= most;
}

const char *limit_admit(const struct worker *worker, const struct protocol *protocol,
                        const struct network *network)
{
	if (worker->session_count >= worker->session_max)
		return "too many sessions";
	if (worker->short_of_memory)
		return "too little memory";
	if (protocol->strangers && worker->strangers >= worker->setup.strangers_max)
		return "too many connections that have not logged in";
	if (protocol->strangers && is_crowded(worker, network))
		return "too many connections from your address that have not logged in";
	return NULL;
}

void limit_enter(struct session *session)
{
	struct worker *worker = session->worker;
	session->stranger =
	    session->protocol->strangers && tally_add(&worker->strangers_of, &session->network) > 0;
	worker->strangers += session->stranger;
}

void limit_leave(struct session *session)
{
	struct worker *worker = session->worker;
	if (!session->stranger)
		return;
	session->stranger = false;
	worker->strangers--;
	tally_remove(&worker->strangers_of, &session->network);
}

void limit_measure(struct worker *worker)
{
	uint64_t most = worker->setup.memory_max;
	if (!most)
		return;
	struct mallinfo2 info = mallinfo2();
	bool is_short = info.uordblks + info.hblkhd >= most;
	if (is_short != worker->short_of_memory)
		log_note(is_short ? LOG_WARNING : LOG_INFO,
		         is_short ? "worker.memory is reached: no further sessions"
		                  : "sessions are taken again");
	worker->short_of_memory = is_short;
}
