/* SPDX-License-Identifier: MIT */
/*
 * Who has which maildrop, and who waits for it. A login that finds its maildrop taken asks the holder's
 * worker whether the session is still alive (DROP_RECALL) and waits, for a bounded time, until the holder
 * ends or its worker says that it stays. Runs in the keeper's loop; what workers answer may be a lie, which
 * costs the account that logged in through them and nobody else.
 */
#include "drop/sum.h"
#include "server/keeper.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PLACES_FIRST = 64 };

/* A maildrop somebody has, is opening or waits for. */
struct keeper_place {
	struct keeper_place *next; /* in its bucket */
	uint64_t hash;
	struct keeper_session *sessions; /* the earliest first */
	bool waking;                     /* its waiters are being looked at: it stays */
	char location[];
};

struct keeper_wait {
	uv_timer_t timer;
	struct keeper_session *session;
};

/* --- places --- */

static struct keeper_place **place_slot(struct keeper_place **slots, uint32_t count, uint64_t hash)
{
	return &slots[hash & (count - 1)];
}

static int grow(struct keeper *keeper)
{
	uint32_t count = keeper->place_slots ? keeper->place_slots * 2 : PLACES_FIRST;
	struct keeper_place **slots = calloc(count, sizeof(struct keeper_place *));
	if (!slots)
		return ERR_NOMEM;
	for (uint32_t i = 0; i < keeper->place_slots; i++)
		for (struct keeper_place *place = keeper->places[i], *next; place; place = next) {
			struct keeper_place **slot = place_slot(slots, count, place->hash);
			next = place->next;
			place->next = *slot;
			*slot = place;
		}
	free(keeper->places);
	keeper->places = slots;
	keeper->place_slots = count;
	return ERR_NONE;
}

static struct keeper_place *find_place(const struct keeper *keeper, const char *location, uint64_t hash)
{
	struct keeper_place *place =
	    keeper->place_slots ? *place_slot(keeper->places, keeper->place_slots, hash) : NULL;
	while (place && (place->hash != hash || strcmp(place->location, location) != 0))
		place = place->next;
	return place;
}

static struct keeper_place *find_or_add(struct keeper *keeper, const char *location)
{
	uint64_t hash = sum_of(0, span_str(location));
	struct keeper_place *place = find_place(keeper, location, hash);
	if (place || (keeper->place_count >= keeper->place_slots && grow(keeper) != ERR_NONE))
		return place;
	size_t len = strlen(location);
	struct keeper_place **slot = place_slot(keeper->places, keeper->place_slots, hash);
	place = malloc(sizeof *place + len + 1);
	if (!place)
		return NULL;
	*place = (struct keeper_place){.next = *slot, .hash = hash};
	memcpy(place->location, location, len + 1);
	*slot = place;
	keeper->place_count++;
	return place;
}

static void free_if_empty(struct keeper *keeper, struct keeper_place *place)
{
	if (place->sessions || place->waking)
		return;
	struct keeper_place **at = place_slot(keeper->places, keeper->place_slots, place->hash);
	while (*at != place)
		at = &(*at)->next;
	*at = place->next;
	free(place);
	if (--keeper->place_count == 0) {
		free(keeper->places);
		keeper->places = NULL;
		keeper->place_slots = 0;
	}
}

int keeper_place_enter(struct keeper_session *session, const char *location)
{
	session->place = find_or_add(session->keeper, location);
	if (!session->place)
		return ERR_NOMEM;
	struct keeper_session **at = &session->place->sessions;
	while (*at)
		at = &(*at)->place_next;
	*at = session;
	return ERR_NONE;
}

const char *keeper_place_location(const struct keeper_session *session)
{
	return session->place->location;
}

uint32_t keeper_count_account(const struct keeper_session *session)
{
	uint32_t count = 0;
	for (const struct keeper_session *at = session->place->sessions; at; at = at->place_next)
		count += strcmp(at->account, session->account) == 0;
	return count;
}

/* --- waiting --- */

static void free_wait(uv_handle_t *handle)
{
	free(handle->data);
}

static void stop_waiting(struct keeper_session *session)
{
	if (!session->wait)
		return;
	session->wait->session = NULL;
	uv_close((uv_handle_t *)&session->wait->timer, free_wait);
	session->wait = NULL;
}

static void give_up(uv_timer_t *timer)
{
	struct keeper_wait *wait = timer->data;
	struct keeper_session *session = wait->session;
	stop_waiting(session);
	keeper_turn_away(session, ERR_BUSY);
}

static int start_waiting(struct keeper_session *session, uv_timer_cb after, uint64_t ms)
{
	struct keeper_wait *wait = calloc(1, sizeof *wait);
	if (!wait)
		return ERR_NOMEM;
	wait->session = session;
	wait->timer.data = wait;
	(void)uv_timer_init(session->keeper->child->loop, &wait->timer);
	(void)uv_timer_start(&wait->timer, after, ms, 0);
	session->wait = wait;
	return ERR_NONE;
}

/* Has the maildrop, or is opening it, so that a second one cannot. */
static bool is_holder(const struct keeper_session *session)
{
	return !session->wait && (!session->drop || !drop_is_shared(session->drop));
}

static struct keeper_session *find_holder(const struct keeper_session *session)
{
	struct keeper_session *other = session->place->sessions;
	while (other && (other == session || !is_holder(other)))
		other = other->place_next;
	return other;
}

bool keeper_is_taken(const struct keeper_session *session)
{
	return find_holder(session) != NULL;
}

/* Whether the holder will be gone soon by itself: its worker has no say any more. One that is opening a
 * maildrop which may be shared lets others in when that is done. */
static bool is_passing(const struct keeper_session *holder)
{
	return holder->committing || !holder->peer || (!holder->drop && holder->keeper->setup.shared);
}

static void recall(struct keeper_session *holder)
{
	if (is_passing(holder) || holder->recalled)
		return;
	holder->recalled = true;
	link_send(holder->peer->link, IPC_DROP_RECALL, holder->id, NULL, SPAN(""), NULL, 0);
}

int keeper_wait(struct keeper_session *session)
{
	struct keeper_session *holder = find_holder(session);
	if (!holder || strcmp(holder->account, session->account) != 0)
		return ERR_BUSY; /* another program's, or another account's: nothing to be had by waiting */
	int err = start_waiting(session, give_up, KEEPER_WAIT_MS);
	if (err == ERR_NONE)
		recall(holder);
	return err;
}

/* --- other generations --- */

static void try_again(uv_timer_t *timer)
{
	struct keeper_wait *wait = timer->data;
	struct keeper_session *session = wait->session;
	stop_waiting(session);
	keeper_try_open(session);
}

bool keeper_ask_elders(struct keeper_session *session)
{
	struct keeper *keeper = session->keeper;
	if (!keeper->setup.elders || session->tries == KEEPER_ELDERS_TRIES ||
	    start_waiting(session, try_again, KEEPER_ELDERS_MS) != ERR_NONE)
		return false;
	if (session->tries++ > 0)
		return true;
	struct ipc_wanted wanted = {{0}};
	(void)snprintf(wanted.account, sizeof wanted.account, "%s", session->account);
	(void)snprintf(wanted.location, sizeof wanted.location, "%s", session->place->location);
	link_send(&keeper->child->control, IPC_WANTED, 0, &wanted, SPAN(""), NULL, 0);
	return true;
}

void keeper_recall(struct keeper *keeper, const struct ipc_wanted *wanted)
{
	const struct keeper_place *place =
	    find_place(keeper, wanted->location, sum_of(0, span_str(wanted->location)));
	for (struct keeper_session *session = place ? place->sessions : NULL; session;
	     session = session->place_next)
		if (!session->wait && strcmp(session->account, wanted->account) == 0)
			recall(session);
}

/* One that waits for a session of ours; who waits for an elder is tried at its own times. */
static struct keeper_session *find_waiter(const struct keeper_place *place)
{
	struct keeper_session *session = place->sessions;
	while (session && (!session->wait || session->tries))
		session = session->place_next;
	return session;
}

/* Nobody has to wait for a holder that stays. */
static void turn_away(struct keeper *keeper, struct keeper_place *place)
{
	struct keeper_session *waiter;
	place->waking = true;
	while ((waiter = find_waiter(place))) {
		stop_waiting(waiter);
		keeper_turn_away(waiter, ERR_BUSY);
	}
	place->waking = false;
	free_if_empty(keeper, place);
}

int keeper_keep(struct keeper_session *session)
{
	if (!session->recalled)
		return ERR_PEER;
	session->recalled = false;
	if (!is_passing(session))
		turn_away(session->keeper, session->place);
	return ERR_NONE;
}

void keeper_place_changed(struct keeper *keeper, struct keeper_place *place)
{
	struct keeper_session *waiter;
	bool tried = false;
	if (place->waking)
		return; /* further up */
	place->waking = true;
	while ((waiter = find_waiter(place)) && !find_holder(waiter)) {
		stop_waiting(waiter);
		keeper_try_open(waiter);
		tried = true;
	}
	place->waking = false;
	if (tried && waiter && !is_passing(find_holder(waiter))) /* one of them has it now */
		turn_away(keeper, place);
	else
		free_if_empty(keeper, place);
}

struct keeper_place *keeper_place_leave(struct keeper_session *session)
{
	struct keeper_place *place = session->place;
	struct keeper_session **at = &place->sessions;
	stop_waiting(session);
	while (*at != session)
		at = &(*at)->place_next;
	*at = session->place_next;
	return place;
}
