/* SPDX-License-Identifier: MIT */
/* What a worker that was taken over may try when mail comes in by LMTP. Stands in for a real worker, for
 * tests/e2e/test_hostile.py. */
#include "hostile.h"

#include "base/err.h"
#include "log/log.h"

#include <stdio.h>
#include <unistd.h>

static int file = -1;

static void send_bare(enum ipc_type type, uint64_t session)
{
	link_send(&keeper, type, session, NULL, span_of(NULL, 0), NULL, 0);
}

static void send_to(uint64_t session, const struct ticket *with)
{
	struct ipc_deliver_to to = {.ticket = *with};
	link_send(&keeper, IPC_DELIVER_TO, session, &to, span_of(NULL, 0), NULL, 0);
}

void deliver_look_up(uint64_t session)
{
	link_send(&auth, IPC_AUTH_LOOKUP, session, NULL, SPAN("alice"), NULL, 0);
}

/* --- the wrong things --- */

static void do_look_up(void)
{
	deliver_look_up(SESSION);
}

static void do_forge(void)
{
	struct ticket forged = ticket;
	(void)snprintf(forged.location, sizeof forged.location, "maildir:/etc");
	send_to(SESSION, &forged);
}

static void do_raise_quota(void)
{
	struct ticket forged = ticket;
	forged.quota_octets = forged.quota_messages = 0;
	forged.purpose = TICKET_DELIVERY;
	send_to(SESSION, &forged);
}

static void do_deliver_by_login(void)
{
	send_to(SESSION, &ticket);
}

static void do_open_by_lookup(void)
{
	struct ipc_drop_open open = {.ticket = ticket};
	link_send(&keeper, IPC_DROP_OPEN, SESSION, &open, span_of(NULL, 0), NULL, 0);
}

static void do_other_session(void)
{
	send_to(OTHER_SESSION, &ticket);
}

static void do_twice(void)
{
	send_to(SESSION, &ticket);
	send_to(SESSION, &ticket);
}

static void do_begin_without_recipients(void)
{
	send_bare(IPC_DELIVER_BEGIN, SESSION);
}

static void do_commit_without_file(void)
{
	send_to(SESSION, &ticket);
	send_bare(IPC_DELIVER_COMMIT, SESSION);
}

static void do_begin_twice(void)
{
	send_to(SESSION, &ticket);
	send_bare(IPC_DELIVER_BEGIN, SESSION);
	send_bare(IPC_DELIVER_BEGIN, SESSION);
}

static void do_commit_twice(void)
{
	send_bare(IPC_DELIVER_COMMIT, SESSION);
	send_bare(IPC_DELIVER_COMMIT, SESSION);
}

static void do_read_a_delivery(void)
{
	struct ipc_drop_body body = {.count = 1};
	uint32_t number = 1;
	send_to(SESSION, &ticket);
	link_send(&keeper, IPC_DROP_BODY, SESSION, &body, span_of((const char *)&number, sizeof number), NULL,
	          0);
}

static void do_close_a_delivery(void)
{
	send_to(SESSION, &ticket);
	send_bare(IPC_DROP_CLOSE, SESSION);
}

static void do_end_a_maildrop(void)
{
	send_bare(IPC_DELIVER_END, SESSION);
}

/* Each time with a fresh ticket. */
static void do_many_recipients(void)
{
	send_to(SESSION, &ticket);
	deliver_look_up(SESSION);
}

static void do_many_deliveries(void)
{
	send_to(ticket.session, &ticket);
	deliver_look_up(ticket.session + 1);
}

static void do_too_large(void)
{
	if (ftruncate(file, (off_t)1 << 40) != 0)
		log_note(LOG_ERROR, "hostile: %s", "the file cannot be made large");
	(void)close(file);
	send_bare(IPC_DELIVER_COMMIT, SESSION);
}

/* And goes on writing once it is delivered: see deliver_take(). */
static void do_keep_writing(void)
{
	if (write(file, "good\n", 5) == 5)
		send_bare(IPC_DELIVER_COMMIT, SESSION);
}

/* clang-format off */
const struct mode deliver_modes[] = {
    {"lookup-where-no-mail-comes-in", do_look_up, .offence = "looks up a recipient where no mail comes in"},
    {"deliver-forged-ticket", do_forge, .after_lookup = true, .offence = "forged ticket"},
    {"deliver-forged-quota", do_raise_quota, .after_login = true, .offence = "forged ticket"},
    {"deliver-by-login", do_deliver_by_login, .after_login = true, .offence = "ticket for something else"},
    {"deliver-ticket-opens", do_open_by_lookup, .after_lookup = true, .offence = "ticket for something else"},
    {"deliver-other-session", do_other_session, .after_lookup = true, .offence = "ticket of another session"},
    {"deliver-replay", do_twice, .after_lookup = true, .offence = "ticket used twice"},
    {"deliver-to-nobody", do_begin_without_recipients, .offence = "out of turn"},
    {"deliver-without-file", do_commit_without_file, .after_lookup = true, .offence = "out of turn"},
    {"deliver-begin-twice", do_begin_twice, .after_lookup = true, .offence = "out of turn"},
    {"deliver-commit-twice", do_commit_twice, .after_file = true, .offence = "out of turn"},
    {"deliver-then-read", do_read_a_delivery, .after_lookup = true, .offence = "out of turn"},
    {"deliver-then-close", do_close_a_delivery, .after_lookup = true, .offence = "out of turn"},
    {"deliver-end-of-maildrop", do_end_a_maildrop, .after_opened = true, .offence = "out of turn"},
    {"deliver-to-too-many", do_many_recipients, .after_lookup = true, .offence = "too many recipients"},
    {"deliver-too-many", do_many_deliveries, .after_lookup = true, .offence = "too many deliveries at once"},
    {"deliver-keeps-writing", do_keep_writing, .after_file = true},
    {"deliver-too-large", do_too_large, .after_file = true, .offence = "a message larger than any may be"},
};
/* clang-format on */
const size_t deliver_mode_count = sizeof deliver_modes / sizeof deliver_modes[0];

/* --- like a worker --- */

void deliver_take_ticket(const struct mode *mode)
{
	if (mode->after_lookup) {
		mode->act();
	} else {
		send_to(SESSION, &ticket);
		send_bare(IPC_DELIVER_BEGIN, SESSION);
	}
}

void deliver_take(const struct mode *mode, struct ipc_in *in)
{
	if (in->type == IPC_DELIVERED && ftruncate(file, 0) == 0 && write(file, "altered\n", 8) == 8)
		log_note(LOG_INFO, "hostile: %s", "all is said");
	if (in->type != IPC_DELIVER_FILE || !mode->after_file || in->fd_count == 0)
		return;
	file = ipc_in_take(in, 0);
	mode->act();
}
