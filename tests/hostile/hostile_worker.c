/* SPDX-License-Identifier: MIT */
/*
 * A worker that was taken over. The real master starts it in place of a real worker
 * (tests/e2e/test_hostile.py puts it there); it sets itself up and confines itself like one,
 * waits for SIGUSR1, and then does the one wrong thing that its argument names.
 */
#include "hostile.h"
#include "os/os.h"
#include "server/child.h"

#include "base/err.h"
#include "ipc/blob.h"
#include "log/log.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

static struct child *self;
static struct ipc_setup_worker setup;
struct link auth, keeper;
struct ticket ticket;
static unsigned opened; /* DROP_OPENED received */
static uv_signal_t trigger;
static uv_idle_t idle;
static const struct mode *mode;

/* One datagram past the channel's own checks. */
static int send_raw(const struct link *link, const void *octets, size_t size, unsigned fd_count)
{
	static char datagram[70000];
	union {
		char octets[CMSG_SPACE(sizeof(int) * (IPC_FDS_MAX + 1))];
		struct cmsghdr align;
	} control = {{0}};
	memset(datagram, 'G', sizeof datagram);
	if (octets)
		memcpy(datagram, octets, size);
	struct iovec iov = {datagram, size};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	if (fd_count) {
		msg.msg_control = control.octets;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * fd_count);
		struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(sizeof(int) * fd_count);
		for (unsigned i = 0; i < fd_count; i++)
			memcpy(CMSG_DATA(cmsg) + i * sizeof(int), &(int){STDERR_FILENO}, sizeof(int));
	}
	return sendmsg(link->channel.fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? errno : 0;
}

static void send_head(const struct link *link, uint32_t type, uint32_t unused, uint64_t session, unsigned fds)
{
	struct ipc_head head = {.type = type, .unused = unused, .session = session};
	(void)send_raw(link, &head, sizeof head, fds);
}

static void send_open(uint64_t session, const struct ticket *with)
{
	struct ipc_drop_open open = {.ticket = *with};
	link_send(&keeper, IPC_DROP_OPEN, session, &open, span_of(NULL, 0), NULL, 0);
}

static void send_body(uint64_t session, uint32_t number)
{
	struct ipc_drop_body body = {.count = 1};
	link_send(&keeper, IPC_DROP_BODY, session, &body, span_of((const char *)&number, sizeof number), NULL,
	          0);
}

static void send_commit(uint64_t session, uint32_t total, int fd)
{
	static const char marks[8] = {1};
	struct ipc_drop_commit commit = {.count = 1, .total = total};
	link_send(&keeper, IPC_DROP_COMMIT, session, &commit, span_of(marks, fd < 0 ? (total + 7) / 8 : 0),
	          &fd, fd >= 0);
}

static void send_login(uint64_t session)
{
	struct ipc_auth_begin begin = {.method = IPC_AUTH_PASSWORD, .tls = 1, .address = "127.0.0.1:1"};
	link_send(&auth, IPC_AUTH_BEGIN, session, &begin, SPAN("alice\0secret"), NULL, 0);
}

/* --- the wrong things --- */

static void do_auth_garbage(void)
{
	(void)send_raw(&auth, "garbage", 7, 0);
}

static void do_auth_step_out_of_turn(void)
{
	link_send(&auth, IPC_AUTH_STEP, SESSION, NULL, SPAN("x"), NULL, 0);
}

static void do_auth_twice(void)
{
	send_login(SESSION);
	send_login(SESSION);
}

static void do_garbage(void)
{
	(void)send_raw(&keeper, NULL, 500, 0);
}

static void do_unknown_type(void)
{
	send_head(&keeper, IPC_TYPES, 0, SESSION, 0);
}

static void do_unused_set(void)
{
	send_head(&keeper, IPC_DROP_CLOSE, 1, SESSION, 0);
}

static void do_oversized(void)
{
	(void)send_raw(&keeper, NULL, 70000, 0);
}

static void do_wrong_size(void)
{
	send_head(&keeper, IPC_DROP_OPEN, 0, SESSION, 0);
}

static void do_tail_too_long(void)
{
	struct {
		struct ipc_head head;
		char tail[100];
	} message = {
	    .head = {.type = IPC_DROP_CLOSE, .session = SESSION}
        };
	(void)send_raw(&keeper, &message, sizeof message, 0);
}

static void do_one_descriptor(void)
{
	send_head(&keeper, IPC_DROP_CLOSE, 0, SESSION, 1);
}

static void do_many_descriptors(void)
{
	send_head(&keeper, IPC_DROP_CLOSE, 0, SESSION, IPC_FDS_MAX + 1);
}

static void do_no_session(void)
{
	send_head(&keeper, IPC_DROP_CLOSE, 0, 0, 0);
}

static void do_speak_for_another(void)
{
	send_head(&keeper, IPC_STOP, 0, 0, 0);
}

static void do_unknown_session(void)
{
	send_body(99, 1);
}

static void do_commit_unknown(void)
{
	send_commit(99, 1, -1);
}

static void do_forge(void)
{
	struct ticket forged = ticket;
	(void)snprintf(forged.location, sizeof forged.location, "maildir:/etc");
	send_open(SESSION, &forged);
}

static void do_forge_mac(void)
{
	struct ticket forged = ticket;
	forged.mac[31] ^= 1;
	send_open(SESSION, &forged);
}

static void do_other_session(void)
{
	send_open(OTHER_SESSION, &ticket);
}

static void do_open(void)
{
	send_open(ticket.session, &ticket);
}

/* What comes after a maildrop was opened honestly. */

static void do_replay(void)
{
	if (opened > 1)
		return;
	link_send(&keeper, IPC_DROP_CLOSE, SESSION, NULL, span_of(NULL, 0), NULL, 0);
	send_open(SESSION, &ticket);
}

static void do_two_at_once(void)
{
	send_body(SESSION, 1);
	send_commit(SESSION, 1, -1);
	send_commit(SESSION, 1, -1);
}

static void do_no_such_message(void)
{
	send_body(SESSION, 5000);
}

static void do_return_tray(void)
{
	static const uint32_t number = 1;
	struct ipc_drop_body body = {.count = 1, .returned = 1};
	link_send(&keeper, IPC_DROP_BODY, SESSION, &body, span_of((const char *)&number, sizeof number), NULL,
	          0);
}

static void do_commit_other_total(void)
{
	send_commit(SESSION, 50, -1);
}

static void send_simple(enum ipc_type type, uint64_t session)
{
	link_send(&keeper, type, session, NULL, span_of(NULL, 0), NULL, 0);
}

static void do_keep_unasked(void)
{
	send_simple(IPC_DROP_KEEP, SESSION);
}

/* The other worker's sessions may have any of these numbers. */
static void do_end_others(void)
{
	for (uint64_t session = 1; session < 4; session++) {
		send_simple(IPC_DROP_CLOSE, session << 24);
		send_simple(IPC_DROP_KEEP, session << 24);
	}
	log_note(LOG_INFO, "hostile: all is said");
}

/* A second login to the same maildrop: the keeper asks whether the first session is alive. */
static void do_keep_twice(void)
{
	if (opened == 1)
		send_login(OTHER_SESSION);
}

static void take_recall(uint64_t session)
{
	send_simple(IPC_DROP_KEEP, session);
	if (mode->act == do_keep_twice)
		send_simple(IPC_DROP_KEEP, session);
}

static void do_unsealed_marks(void)
{
	int fd = memfd_create("marks", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd >= 0 && ftruncate(fd, 1) == 0)
		send_commit(SESSION, 1, fd);
}

/* Asks, and never reads an answer. The tickets are of an old epoch, which is no offence. */
static void flood(uv_idle_t *handle)
{
	(void)handle;
	struct {
		struct ipc_head head;
		struct ipc_drop_open open;
	} message = {.head = {.type = IPC_DROP_OPEN}};
	static uint64_t session = 1000;
	for (int i = 0; i < 100; i++) {
		message.head.session = ++session;
		if (send_raw(&keeper, &message, sizeof message, 0) != 0)
			return;
	}
}

static void do_flood(void)
{
	(void)uv_poll_stop(&keeper.poll);
	(void)uv_idle_init(self->loop, &idle);
	(void)uv_idle_start(&idle, flood);
}

static void do_control_garbage(void)
{
	(void)send_raw(&self->control, "garbage", 7, 0);
}

static void do_control_ready(void)
{
	link_send(&self->control, IPC_READY, 0, NULL, span_of(NULL, 0), NULL, 0);
}

static void do_control_order(void)
{
	send_head(&self->control, IPC_STOP, 0, 0, 0);
}

static void do_control_close(void)
{
	(void)shutdown(self->control.channel.fd, SHUT_WR);
}

static void do_accuse(void)
{
	child_report_fault(self, IPC_KEEPER, keeper.channel.peer_id, "slander");
}

static void do_escape(void)
{
	escape_try_all();
}

static const struct mode modes[] = {
    {"auth-garbage",                                 do_auth_garbage,                           .offence = "shorter than a head"},
    {"auth-step-out-of-turn",                                              do_auth_step_out_of_turn,                                                                 .offence = "out of turn"},
    {"auth-twice-at-once",                      do_auth_twice,.offence = "out of turn"},
    {"garbage",            do_garbage,                               .offence = "no such message"},
    {"unknown-type",                                      do_unknown_type,                                                          .offence = "no such message"},
    {"unused-octets-set",                                              do_unused_set,                                                                          .offence = "no such message"},
    {"oversized",                  do_oversized,  .offence = "oversized"},
    {"wrong-fixed-size",do_wrong_size,.offence = "wrong size"},
    {"tail-too-long",                                    do_tail_too_long,                                                .offence = "tail too long"},
    {"one-descriptor-too-many",                                              do_one_descriptor,                                                                      .offence = "wrong number of descriptors"},
    {"many-descriptors",                       do_many_descriptors,                                                                                                                                         .offence = "too many descriptors"},
    {"no-session",do_no_session,.offence = "no session number"},
    {"speaks-for-the-master",                      do_speak_for_another, .offence = "not this peer's to send"},
    {"unknown-session",                                              do_unknown_session,                                                                      .offence = "out of turn"},
    {"commit-unknown-session",             do_commit_unknown,.offence = "out of turn"},
    {"forged-ticket",                                       do_forge,                                                                                        .after_login = true, .offence = "forged ticket"},
    {"forged-seal",                        do_forge_mac,                        .after_login = true, .offence = "forged ticket"},
    {"ticket-of-another-session",                                              do_other_session,                                                                       .after_login = true,
     .offence = "ticket of another session"},
    {"replayed-ticket",                      do_replay,.after_opened = true, .offence = "ticket used twice"},
    {"two-requests-at-once",                 do_two_at_once,                                                                                                                     .after_opened = true, .offence = "out of turn"},
    {"no-such-message",                                do_no_such_message,                           .after_opened = true,
     .offence = "asks for a message that is not there"},
    {"returns-a-tray",                    do_return_tray,                                                             .after_opened = true, .offence = "gives back a tray it has not got"},
    {"commit-of-another-size",           do_commit_other_total,          .after_opened = true,
     .offence = "commits another maildrop"},
    {"unsealed-marks",                                              do_unsealed_marks,                                                             .after_opened = true, .offence = "marks that do not hold"},
    {"keeps-unasked",                           do_keep_unasked,                                                    .after_opened = true, .offence = "out of turn"},
    {"keeps-twice",                              do_keep_twice,                                         .after_opened = true, .offence = "out of turn"},
    {"ends-others-sessions",                do_end_others                                                        },
    {"does-not-read",                do_flood,.offence = "a limit is reached"},
    {"control-garbage",                                              do_control_garbage,                                                                       .offence = "shorter than a head"},
    {"control-ready-twice",                          do_control_ready,                                         .offence = "out of turn"},
    {"control-gives-orders",                               do_control_order,                                       .offence = "not this peer's to send"},
    {"control-closed", do_control_close,                                          .offence = "closed its channel"},
    {"accuses-the-keeper",               do_accuse,                           .offence = "lost a peer"},
    {"escape",                                              do_escape                                                                       },
};
enum { MODES = sizeof modes / sizeof modes[0] };

/* --- like a worker --- */

static int auth_message(struct link *link, struct ipc_in *in)
{
	(void)link;
	if (in->type != IPC_AUTH_OK)
		return ERR_NONE;
	ticket = ((const struct ipc_auth_ok *)in->fixed)->ticket;
	if (mode->after_login)
		mode->act();
	else if (mode->after_opened)
		do_open();
	else
		deliver_take_ticket(mode);
	return ERR_NONE;
}

static int keeper_message(struct link *link, struct ipc_in *in)
{
	(void)link;
	if (in->type == IPC_DROP_RECALL)
		take_recall(in->session);
	if (in->type == IPC_DROP_OPENED && mode->after_opened) {
		opened++;
		mode->act();
	}
	deliver_take(mode, in);
	return ERR_NONE;
}

static void ignore_gone(struct link *link, int err, const char *why)
{
	(void)link;
	(void)err;
	(void)why;
}

static int on_peer(struct child *child, enum ipc_kind kind, uint32_t id, int fd)
{
	static const struct link_ops auth_ops = {.message = auth_message, .gone = ignore_gone};
	static const struct link_ops keeper_ops = {.message = keeper_message, .gone = ignore_gone};
	return kind == IPC_AUTH
	           ? link_open(&auth, child->loop, fd, IPC_WORKER, kind, id, &auth_ops, NULL)
	           : link_open(&keeper, child->loop, fd, IPC_WORKER, kind, id, &keeper_ops, NULL);
}

static int on_control(struct child *child, struct ipc_in *in)
{
	(void)child;
	if (in->type == IPC_SETUP_WORKER)
		setup = *(const struct ipc_setup_worker *)in->fixed;
	return ERR_NONE;
}

static void on_trigger(uv_signal_t *handle, int number)
{
	(void)handle;
	(void)number;
	if (mode->after_login || mode->after_opened)
		send_login(SESSION);
	else if (mode->after_lookup || mode->after_file)
		deliver_look_up(SESSION);
	else
		mode->act();
}

static int on_start(struct child *child)
{
	struct error error = {""};
	struct os_confine confine = {.role = OS_WORKER};
	self = child;
	int err = uv_signal_init(child->loop, &trigger) | uv_signal_start(&trigger, on_trigger, SIGUSR1);
	if (!err)
		err = os_become(setup.uid, setup.gid, setup.empty_root, &error);
	if (!err)
		err = os_confine(&confine, &error);
	log_note(err ? LOG_ERROR : LOG_INFO, "hostile: %s %s", mode->name, error.text);
	return err;
}

/* One that closes its channel stays, deaf. */
static void on_stop(struct child *child)
{
	if (mode->act != do_control_close)
		child_exit(child, 0);
}

/* Prints the modes, or finds the one of this name. */
static void take_modes(const struct mode *list, size_t count, const char *wanted)
{
	for (size_t i = 0; i < count; i++) {
		if (strcmp(wanted, "--list") == 0)
			printf("%s\t%s\n", list[i].name, list[i].offence ? list[i].offence : "");
		else if (strcmp(wanted, list[i].name) == 0)
			mode = &list[i];
	}
}

int main(int argc, char **argv)
{
	static const struct child_ops ops = {
	    .control = on_control, .start = on_start, .peer = on_peer, .drain = on_stop, .stop = on_stop};
	const char *wanted = argc == 2 ? argv[1] : "";
	take_modes(modes, MODES, wanted);
	take_modes(deliver_modes, deliver_mode_count, wanted);
	if (strcmp(wanted, "--list") == 0)
		return 0;
	if (!mode) {
		fprintf(stderr, "usage: %s --list | MODE\n", argv[0]);
		return 64;
	}
	return child_run(IPC_WORKER, &ops, NULL);
}
