/* SPDX-License-Identifier: MIT */
/*
 * The LMTP server machine. Runs in the worker on octets from a mail server
 * that is on our side, but could be anybody; trusts none.
 */
#include "lmtp/server.h"

#include "base/num.h"
#include "lmtp/command.h"
#include "lmtp/reply.h"

#include <string.h>

enum {
	PHASE_GREETING,
	PHASE_REFUSAL, /* instead of a greeting */
	PHASE_COMMAND,
	PHASE_RECIPIENT, /* an answer is owed by the caller */
	PHASE_RECIPIENT_ANSWER,
	PHASE_DATA, /* an answer is owed by the caller */
	PHASE_DATA_ANSWER,
	PHASE_OCTETS,  /* the message is read */
	PHASE_VERDICT, /* an answer is owed by the caller */
	PHASE_VERDICT_ANSWER,
	PHASE_RESET, /* tell the caller to forget the transaction */
	PHASE_CLOSE,
};

/* Octets of the longest reply: the capabilities, which have the host's name in them. */
enum { REPLY_MAX = POP_REPLY_MAX + LMTP_DOMAIN_MAX };

static void put(struct pop_output *out, struct span text)
{
	memcpy(out->ptr + out->len, text.ptr, text.len);
	out->len += text.len;
}
#define say(out, literal) put((out), SPAN(literal "\r\n"))

static void put_host(const struct lmtp_server *server, struct pop_output *out)
{
	struct span name = span_str(server->conf->hostname);
	put(out, span_first(name, name.len < LMTP_DOMAIN_MAX ? name.len : LMTP_DOMAIN_MAX));
}

void lmtp_server_init(struct lmtp_server *server, const struct lmtp_server_conf *conf, bool admitted,
                      uint64_t now_ms)
{
	*server = (struct lmtp_server){
	    .conf = conf, .active_ms = now_ms, .phase = admitted ? PHASE_GREETING : PHASE_REFUSAL};
}

static void reply_bad(struct lmtp_server *server, struct pop_output *out, struct span line)
{
	put(out, line);
	server->bad++;
	if (server->conf->bad_commands_max && server->bad >= server->conf->bad_commands_max) {
		say(out, "421 4.7.0 too many bad commands, closing");
		server->phase = PHASE_CLOSE;
	}
}

/* The transaction is over; `reset`: the caller does not know yet. */
static void forget_transaction(struct lmtp_server *server, bool reset)
{
	server->has_sender = server->utf8 = false;
	server->recipients = server->judged = 0;
	server->failure = LMTP_GOOD;
	server->phase = reset ? PHASE_RESET : PHASE_COMMAND;
}

/* --- commands --- */

static void run_lhlo(struct lmtp_server *server, const struct lmtp_command *command, struct pop_output *out)
{
	if (command->text.len > sizeof server->client) {
		reply_bad(server, out, SPAN("501 5.5.4 name too long\r\n"));
		return;
	}
	memcpy(server->client, command->text.ptr, command->text.len);
	server->client_len = (uint16_t)command->text.len;
	put(out, SPAN("250-"));
	put_host(server, out);
	say(out, "\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-ENHANCEDSTATUSCODES");
	put(out, SPAN("250 SIZE"));
	if (server->conf->message_max) {
		put(out, SPAN(" "));
		out->len += num_print(out->ptr + out->len, server->conf->message_max);
	}
	put(out, SPAN("\r\n"));
	server->greeted = true;
	forget_transaction(server, true);
}

/* Whether the mailbox can be taken as it is; if not, that is said. */
static bool check_mailbox(struct lmtp_server *server, const struct lmtp_command *command, bool utf8,
                          struct pop_output *out)
{
	if (command->text.len > LMTP_ADDRESS_MAX)
		reply_bad(server, out, SPAN("553 5.1.0 address too long\r\n"));
	else if (command->text_is_utf8 && !utf8)
		reply_bad(server, out, SPAN("553 5.6.7 SMTPUTF8 was not asked for\r\n")); /* RFC 6531 3.5 */
	else
		return true;
	return false;
}

static void run_mail(struct lmtp_server *server, const struct lmtp_command *command, struct pop_output *out)
{
	if (!check_mailbox(server, command, command->utf8, out))
		return;
	if (server->conf->message_max && command->size > server->conf->message_max) {
		put(out, lmtp_replies[LMTP_TOO_LARGE].message);
		return;
	}
	memcpy(server->sender, command->text.ptr, command->text.len);
	server->sender_len = (uint16_t)command->text.len;
	server->utf8 = command->utf8;
	server->has_sender = true;
	say(out, "250 2.1.0 sender ok");
}

static void run_rcpt(struct lmtp_server *server, const struct lmtp_command *command, struct pop_output *out)
{
	if (!check_mailbox(server, command, server->utf8, out))
		return;
	if (server->recipients == LMTP_RECIPIENTS_MAX) {
		say(out, "452 4.5.3 too many recipients");
		return;
	}
	server->ask.mailbox = command->text;
	server->phase = PHASE_RECIPIENT;
}

/* Empty when what must have been said before was, else the reply that says what is missing. */
static struct span missing(const struct lmtp_server *server, unsigned needs)
{
	if (needs & LMTP_NEEDS_LHLO && !server->greeted)
		return SPAN("503 5.5.1 send LHLO first\r\n");
	if (needs & LMTP_NEEDS_NO_MAIL && server->has_sender)
		return SPAN("503 5.5.1 sender given already\r\n");
	if (needs & LMTP_NEEDS_MAIL && !server->has_sender)
		return SPAN("503 5.5.1 send MAIL first\r\n");
	if (needs & LMTP_NEEDS_RCPT && !server->recipients)
		return SPAN("503 5.5.1 no recipient was accepted\r\n"); /* RFC 2033 section 4.2 */
	return SPAN("");
}

static void run_command(struct lmtp_server *server, const struct lmtp_command *command,
                        struct pop_output *out)
{
	switch ((enum lmtp_verb)(command->row - lmtp_verbs)) {
	case LMTP_LHLO:
		run_lhlo(server, command, out);
		break;
	case LMTP_MAIL:
		run_mail(server, command, out);
		break;
	case LMTP_RCPT:
		run_rcpt(server, command, out);
		break;
	case LMTP_DATA:
		server->phase = PHASE_DATA;
		break;
	case LMTP_RSET:
		say(out, "250 2.0.0 forgotten");
		forget_transaction(server, true);
		break;
	case LMTP_NOOP:
		say(out, "250 2.0.0 nothing done");
		break;
	case LMTP_VRFY:
		say(out, "252 2.0.0 send RCPT to see");
		break;
	case LMTP_HELP:
		say(out, "214 2.0.0 LHLO MAIL RCPT DATA RSET NOOP VRFY HELP QUIT");
		break;
	case LMTP_QUIT:
		say(out, "221 2.0.0 closing");
		server->quit = true;
		server->phase = PHASE_CLOSE;
		break;
	case LMTP_HELO: /* RFC 2033 section 4.1: never positive */
	case LMTP_EHLO:
		reply_bad(server, out, SPAN("500 5.5.1 this is LMTP: send LHLO\r\n"));
		break;
	case LMTP_VERBS:
		break;
	}
}

static void run_line(struct lmtp_server *server, struct span line, struct pop_output *out)
{
	struct lmtp_command command;
	int err = lmtp_parse(line, &command);
	if (err == ERR_UNSUPPORTED) {
		reply_bad(server, out, SPAN("500 5.5.1 unknown command\r\n"));
		return;
	}
	struct span without = missing(server, command.row->needs);
	if (without.len) {
		reply_bad(server, out, without);
	} else if (err == ERR_RANGE) {
		reply_bad(server, out, SPAN("555 5.5.4 parameter not offered\r\n"));
	} else if (err) {
		put(out, SPAN("501 5.5.4 syntax: "));
		put(out, span_str(command.row->syntax));
		reply_bad(server, out, SPAN("\r\n"));
	} else {
		uint32_t bad = server->bad;
		run_command(server, &command, out);
		if (server->bad == bad)
			server->bad = 0;
	}
}

/* --- the caller's answers --- */

static void take_answer(struct lmtp_server *server, enum lmtp_verdict verdict, uint8_t phase)
{
	server->answer = (uint8_t)verdict;
	server->phase = phase;
}

void lmtp_server_recipient(struct lmtp_server *server, enum lmtp_verdict verdict)
{
	server->ask.mailbox = SPAN("");
	take_answer(server, verdict, PHASE_RECIPIENT_ANSWER);
}

void lmtp_server_data(struct lmtp_server *server, enum lmtp_verdict verdict)
{
	take_answer(server, verdict, PHASE_DATA_ANSWER);
}

void lmtp_server_verdict(struct lmtp_server *server, enum lmtp_verdict verdict)
{
	take_answer(server, verdict, PHASE_VERDICT_ANSWER);
}

void lmtp_server_fail(struct lmtp_server *server, enum lmtp_verdict verdict)
{
	if (server->failure == LMTP_GOOD)
		server->failure = (uint8_t)verdict;
}

size_t lmtp_server_octets(struct lmtp_server *server, struct pop_input *in, char *to)
{
	struct span wire = span_of(in->ptr, in->len);
	size_t len = pop_undot_decode(&server->undot, &wire, to);
	pop_input_keep(in, wire);
	if (server->conf->message_max && server->undot.octets > server->conf->message_max)
		lmtp_server_fail(server, LMTP_TOO_LARGE);
	if (server->undot.ended)
		server->phase = PHASE_VERDICT;
	return len;
}

static void reply_verdict(const struct lmtp_server *server, bool at_end, struct pop_output *out)
{
	const struct lmtp_reply *reply = &lmtp_replies[server->answer];
	if (server->conf->over_quota_defers && reply->deferred.len)
		put(out, reply->deferred);
	else
		put(out, at_end ? reply->message : reply->recipient);
}

static void reply_data(struct lmtp_server *server, struct pop_output *out)
{
	if (server->answer != LMTP_GOOD) {
		reply_verdict(server, true, out);
		forget_transaction(server, true);
		return;
	}
	say(out, "354 send the message, and a dot alone on a line behind it");
	server->undot = (struct pop_undot){.to_lf = true};
	server->phase = PHASE_OCTETS;
}

/* --- the machine --- */

static enum lmtp_want wish(uint8_t phase)
{
	static const uint8_t wishes[] = {
	    [PHASE_GREETING] = LMTP_WANT_ROOM,         [PHASE_REFUSAL] = LMTP_WANT_ROOM,
	    [PHASE_COMMAND] = LMTP_WANT_INPUT,         [PHASE_RECIPIENT] = LMTP_WANT_RECIPIENT,
	    [PHASE_RECIPIENT_ANSWER] = LMTP_WANT_ROOM, [PHASE_DATA] = LMTP_WANT_DATA,
	    [PHASE_DATA_ANSWER] = LMTP_WANT_ROOM,      [PHASE_OCTETS] = LMTP_WANT_OCTETS,
	    [PHASE_VERDICT] = LMTP_WANT_VERDICT,       [PHASE_VERDICT_ANSWER] = LMTP_WANT_ROOM,
	    [PHASE_RESET] = LMTP_WANT_RESET,           [PHASE_CLOSE] = LMTP_WANT_CLOSE,
	};
	return wishes[phase];
}

/* Phases that write something of their own accord. */
static void go_on(struct lmtp_server *server, struct pop_output *out)
{
	switch (server->phase) {
	case PHASE_GREETING:
		put(out, SPAN("220 "));
		put_host(server, out);
		say(out, " LMTP server ready (Restante)");
		server->phase = PHASE_COMMAND;
		break;
	case PHASE_REFUSAL:
		say(out, "554 5.7.1 mail is taken from this machine only");
		server->phase = PHASE_CLOSE;
		break;
	case PHASE_RECIPIENT_ANSWER:
		reply_verdict(server, false, out);
		server->recipients = (uint8_t)(server->recipients + (server->answer == LMTP_GOOD));
		server->phase = PHASE_COMMAND;
		break;
	case PHASE_DATA_ANSWER:
		reply_data(server, out);
		break;
	case PHASE_VERDICT_ANSWER:
		reply_verdict(server, true, out);
		server->phase = PHASE_VERDICT;
		if (++server->judged == server->recipients)
			forget_transaction(server, false);
		break;
	default:
		break;
	}
}

/* One line off the input; false when there is none yet. A bare LF ends no line: where others think it does,
 * what is an address to them could be a command here, so there is nothing more to say to such a client. */
static bool take_line(struct lmtp_server *server, struct pop_input *in, struct pop_output *out,
                      uint64_t now_ms)
{
	struct span line;
	if (!pop_line_resume(in, &server->skipping))
		return false;
	int err = pop_line_take(in, LMTP_COMMAND_MAX, &server->skipping, &line);
	if (err == ERR_AGAIN)
		return false;
	server->active_ms = now_ms;
	if (err == ERR_FULL) {
		reply_bad(server, out, SPAN("500 5.5.2 line too long\r\n"));
	} else if (line.ptr + line.len + 1 == in->ptr) {
		say(out, "500 5.5.2 a line ends in CRLF, not in LF; closing");
		server->phase = PHASE_CLOSE;
	} else {
		run_line(server, line, out);
	}
	return true;
}

enum lmtp_want lmtp_server_step(struct lmtp_server *server, struct pop_input *in, struct pop_output *out,
                                uint64_t now_ms)
{
	for (;;) {
		enum lmtp_want want = wish(server->phase);
		if (want == LMTP_WANT_RESET) {
			server->phase = PHASE_COMMAND; /* said once: there is no answer */
			return want;
		}
		if (want == LMTP_WANT_OCTETS) {
			if (in->len)
				server->active_ms = now_ms;
			return in->len ? want : LMTP_WANT_INPUT;
		}
		if (want != LMTP_WANT_ROOM && want != LMTP_WANT_INPUT)
			return want;
		if (out->cap - out->len < REPLY_MAX)
			return LMTP_WANT_ROOM;
		if (want == LMTP_WANT_ROOM)
			go_on(server, out);
		else if (!take_line(server, in, out, now_ms))
			return LMTP_WANT_INPUT;
	}
}

bool lmtp_server_expired(const struct lmtp_server *server, uint64_t now_ms)
{
	return now_ms - server->active_ms >= server->conf->idle_ms;
}
