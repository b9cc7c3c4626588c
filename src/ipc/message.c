/* SPDX-License-Identifier: MIT */
/*
 * The rows of the messages between our processes and the checks they ask for.
 * Used by all four server processes, on what a peer sent (which may have been
 * taken over) and on what they send themselves.
 */
#include "ipc/message.h"

#include "base/err.h"

#include <string.h>

enum {
	M = 1 << IPC_MASTER,
	W = 1 << IPC_WORKER,
	A = 1 << IPC_AUTH,
	K = 1 << IPC_KEEPER,
	CHILD = W | A | K,
	ABSENT = IPC_WHEN_ABSENT,
	WAITING = IPC_WHEN_WAITING,
	WORKING = IPC_WHEN_WORKING,
	GATHERING = IPC_WHEN_GATHERING,
	FILLING = IPC_WHEN_FILLING,
	DELIVERING = IPC_WHEN_DELIVERING,
	ALWAYS = ABSENT | WAITING | WORKING,
};

static bool opened_fits(const void *fixed, struct span tail, unsigned fd_count)
{
	const struct ipc_drop_opened *opened = fixed;
	if (fd_count)
		return tail.len == 0 && opened->listing_octets > 0 && opened->listing_id > 0;
	return tail.len == opened->listing_octets && opened->listing_id == 0;
}

static bool listed_fits(const void *fixed, struct span tail, unsigned fd_count)
{
	const struct ipc_drop_listed *listed = fixed;
	(void)tail;
	bool good = listed->err == ERR_NONE;
	return good == (fd_count == 1) && good == (listed->listing_id > 0);
}

static bool body_fits(const void *fixed, struct span tail, unsigned fd_count)
{
	const struct ipc_drop_body *body = fixed;
	(void)fd_count;
	return body->count > 0 && tail.len == body->count * sizeof(uint32_t);
}

static bool bodies_fit(const void *fixed, struct span tail, unsigned fd_count)
{
	const struct ipc_drop_bodies *bodies = fixed;
	const struct ipc_body *body = (const void *)tail.ptr;
	if (bodies->count == 0 || tail.len != bodies->count * sizeof *body || bodies->tray > IPC_TRAY_NONE)
		return false;
	unsigned files = 0;
	for (uint32_t i = 0; i < bodies->count; i++) {
		if (body[i].err != ERR_NONE)
			continue;
		if (!(body[i].flags & IPC_BODY_HERE))
			files++;
		else if (bodies->tray == IPC_TRAY_NONE || body[i].offset > IPC_TRAY_SIZE ||
		         body[i].length > IPC_TRAY_SIZE - body[i].offset)
			return false;
	}
	return files == fd_count;
}

static bool commit_fits(const void *fixed, struct span tail, unsigned fd_count)
{
	const struct ipc_drop_commit *commit = fixed;
	uint64_t octets = ((uint64_t)commit->total + 7) / 8;
	if (!commit->count)
		return tail.len == 0 && fd_count == 0;
	return commit->count <= commit->total && (fd_count ? tail.len == 0 : tail.len == octets);
}

static bool file_fits(const void *fixed, struct span tail, unsigned fd_count)
{
	const struct ipc_deliver_file *file = fixed;
	(void)tail;
	return (file->err == ERR_NONE) == (fd_count == 1);
}

static bool mailbox_fits(const void *fixed, struct span tail, unsigned fd_count)
{
	(void)fixed;
	(void)fd_count;
	return tail.len > 0;
}

static bool cert_fits(const void *fixed, struct span tail, unsigned fd_count)
{
	const struct ipc_cert *cert = fixed;
	(void)tail;
	(void)fd_count;
	return cert->octets > 0;
}

/* clang-format off */
#define FIXED(type) .fixed = sizeof(struct type)
#define FDS(min, max) .fds_min = (min), .fds_max = (max)
#define ROW(name_, from_, to_, ...) [IPC_##name_] = {.name = #name_, .from = (from_), .to = (to_), ##__VA_ARGS__}
const struct ipc_row ipc_rows[IPC_TYPES] = {
    ROW(SETUP_WORKER, M, W, FIXED(ipc_setup_worker)),
    ROW(SETUP_AUTH, M, A, FIXED(ipc_setup_auth)),
    ROW(SETUP_KEEPER, M, K, FIXED(ipc_setup_keeper)),
    ROW(LISTENER, M, W, FIXED(ipc_listener), FDS(1, 1)),
    ROW(CERT, M, W, FIXED(ipc_cert), FDS(1, 1), .secret = true, .fits = cert_fits),
    ROW(TLS_KEYS, M, W, FIXED(ipc_tls_keys), .secret = true),
    ROW(TICKET_KEY, M, A | K, FIXED(ipc_ticket_key), .secret = true),
    ROW(PEER, M, CHILD, FIXED(ipc_peer), FDS(1, 1)),
    ROW(START, M, CHILD),
    ROW(DRAIN, M, CHILD),
    ROW(STOP, M, CHILD),
    ROW(READY, CHILD, M),
    ROW(PEER_FAULT, CHILD, M, FIXED(ipc_peer_fault)),
    ROW(WANTED, K, M, FIXED(ipc_wanted)),
    ROW(RECALL, M, K, FIXED(ipc_wanted)),

    ROW(AUTH_BEGIN, W, A, FIXED(ipc_auth_begin), .tail_max = IPC_AUTH_TAIL_MAX, .when = ABSENT, .secret = true),
    ROW(AUTH_STEP, W, A, .tail_max = IPC_AUTH_TAIL_MAX, .when = WAITING, .secret = true),
    ROW(AUTH_CANCEL, W, A, .when = ALWAYS),
    ROW(AUTH_CHALLENGE, A, W, .tail_max = IPC_AUTH_TAIL_MAX),
    ROW(AUTH_LOOKUP, W, A, .tail_max = IPC_MAILBOX_MAX, .when = ABSENT, .fits = mailbox_fits),
    ROW(AUTH_OK, A, W, FIXED(ipc_auth_ok)),
    ROW(AUTH_FAIL, A, W, FIXED(ipc_auth_fail)),

    ROW(DROP_TRAYS, K, W, FDS(1, 1), .control = true),
    ROW(DROP_OPEN, W, K, FIXED(ipc_drop_open), .when = ABSENT),
    ROW(DROP_OPENED, K, W, FIXED(ipc_drop_opened), FDS(0, 1), .tail_max = IPC_TAIL_MAX, .fits = opened_fits),
    ROW(DROP_FAILED, K, W, FIXED(ipc_drop_failed)),
    ROW(DROP_LISTING, W, K, .when = WAITING),
    ROW(DROP_LISTED, K, W, FIXED(ipc_drop_listed), FDS(0, 1), .fits = listed_fits),
    ROW(DROP_BODY, W, K, FIXED(ipc_drop_body), .tail_max = IPC_BODIES_MAX * sizeof(uint32_t), .when = WAITING,
        .fits = body_fits),
    ROW(DROP_BODIES, K, W, FIXED(ipc_drop_bodies), FDS(0, IPC_BODIES_MAX),
        .tail_max = IPC_BODIES_MAX * sizeof(struct ipc_body), .fits = bodies_fit),
    ROW(DROP_COMMIT, W, K, FIXED(ipc_drop_commit), FDS(0, 1), .tail_max = IPC_TAIL_MAX, .when = WAITING,
        .fits = commit_fits),
    ROW(DROP_COMMITTED, K, W, FIXED(ipc_drop_committed)),
    ROW(DROP_CLOSE, W, K, .when = ALWAYS),
    ROW(DROP_RECALL, K, W),
    ROW(DROP_KEEP, W, K, .when = ALWAYS),

    ROW(DELIVER_TO, W, K, FIXED(ipc_deliver_to), .when = ABSENT | GATHERING),
    ROW(DELIVER_BEGIN, W, K, .when = GATHERING),
    ROW(DELIVER_FILE, K, W, FIXED(ipc_deliver_file), FDS(0, 1), .fits = file_fits),
    ROW(DELIVER_COMMIT, W, K, .when = FILLING),
    ROW(DELIVERED, K, W, FIXED(ipc_delivered)),
    ROW(DELIVER_END, W, K, .when = ABSENT | GATHERING | FILLING | DELIVERING),
};

/* Members that must be zero, and arrays that must hold a NUL. */
enum check { ZERO, TEXT };
#define FIELD(name_, struct_, member_, check_) \
	{IPC_##name_, check_, offsetof(struct struct_, member_), sizeof(((struct struct_ *)0)->member_)}
static const struct field {
	enum ipc_type type;
	enum check check;
	size_t at, size;
} fields[] = {
    FIELD(SETUP_WORKER, ipc_setup_worker, hostname, TEXT),
    FIELD(SETUP_WORKER, ipc_setup_worker, empty_root, TEXT),
    FIELD(SETUP_WORKER, ipc_setup_worker, mechanisms, TEXT),
    FIELD(SETUP_AUTH, ipc_setup_auth, reserved, ZERO),
    FIELD(SETUP_AUTH, ipc_setup_auth, delimiter, TEXT),
    FIELD(SETUP_AUTH, ipc_setup_auth, domains, TEXT),
    FIELD(SETUP_AUTH, ipc_setup_auth, accounts, TEXT),
    FIELD(SETUP_AUTH, ipc_setup_auth, location, TEXT),
    FIELD(SETUP_KEEPER, ipc_setup_keeper, mail_root, TEXT),
    FIELD(LISTENER, ipc_listener, reserved, ZERO),
    FIELD(LISTENER, ipc_listener, address, TEXT),
    FIELD(PEER_FAULT, ipc_peer_fault, reason, TEXT),
    FIELD(WANTED, ipc_wanted, account, TEXT),
    FIELD(WANTED, ipc_wanted, location, TEXT),
    FIELD(RECALL, ipc_wanted, account, TEXT),
    FIELD(RECALL, ipc_wanted, location, TEXT),
    FIELD(AUTH_BEGIN, ipc_auth_begin, reserved, ZERO),
    FIELD(AUTH_BEGIN, ipc_auth_begin, mechanism, TEXT),
    FIELD(AUTH_BEGIN, ipc_auth_begin, address, TEXT),
    FIELD(AUTH_OK, ipc_auth_ok, ticket.account, TEXT),
    FIELD(AUTH_OK, ipc_auth_ok, ticket.location, TEXT),
    FIELD(DROP_OPEN, ipc_drop_open, ticket.account, TEXT),
    FIELD(DROP_OPEN, ipc_drop_open, ticket.location, TEXT),
    FIELD(DROP_OPENED, ipc_drop_opened, reserved, ZERO),
    FIELD(DROP_LISTED, ipc_drop_listed, reserved, ZERO),
    FIELD(DELIVER_TO, ipc_deliver_to, ticket.reserved, ZERO),
    FIELD(DELIVER_TO, ipc_deliver_to, ticket.account, TEXT),
    FIELD(DELIVER_TO, ipc_deliver_to, ticket.location, TEXT),
};
/* clang-format on */

static bool field_holds(const struct field *field, const char *at)
{
	if (field->check == TEXT)
		return memchr(at, '\0', field->size) != NULL;
	for (size_t i = 0; i < field->size; i++)
		if (at[i] != 0)
			return false;
	return true;
}

static bool fields_hold(enum ipc_type type, const char *fixed)
{
	for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++)
		if (fields[i].type == type && !field_holds(&fields[i], fixed + fields[i].at))
			return false;
	return true;
}

const char *ipc_find_flaw(enum ipc_type type, enum ipc_kind from, enum ipc_kind to, uint64_t session,
                          const void *fixed, struct span tail, unsigned fd_count)
{
	const struct ipc_row *row = &ipc_rows[type];
	bool control = row->control || ((row->from | row->to) & M) != 0;
	if (!(row->from & 1u << from) || !(row->to & 1u << to))
		return "not this peer's to send";
	if (control != (session == 0))
		return control ? "session number in a control message" : "no session number";
	if (tail.len > row->tail_max)
		return "tail too long";
	if (fd_count < row->fds_min || fd_count > row->fds_max)
		return "wrong number of descriptors";
	if (!fields_hold(type, fixed))
		return "reserved octets set or text not terminated";
	if (row->fits && !row->fits(fixed, tail, fd_count))
		return "parts do not belong together";
	return NULL;
}
