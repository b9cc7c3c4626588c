/* SPDX-License-Identifier: MIT */
/*
 * The POP3 server machine. Runs in the worker on octets from the network and on
 * answers from auth and keeper; trusts neither to be well-formed.
 */
#include "pop/server.h"

#include "base/base64.h"
#include "base/num.h"
#include "pop/server_int.h"

void pop_server_init(struct pop_server *server, const struct pop_server_conf *conf, bool tls,
                     bool tls_offered, bool clear_allowed, uint64_t now_ms)
{
	*server = (struct pop_server){
	    .conf = conf,
	    .active_ms = now_ms,
	    .state = POP_AUTHORIZATION,
	    .phase = PHASE_GREETING,
	    .tls = tls,
	    .tls_offered = tls_offered,
	    .clear_allowed = clear_allowed,
	};
}

void put_number(struct pop_output *out, uint64_t value)
{
	out->len += num_print(out->ptr + out->len, value);
}

void reply_bad(struct pop_server *server, struct pop_output *out, struct span line)
{
	put_span(out, line);
	server->bad++;
	if (server->conf->bad_commands_max && server->bad >= server->conf->bad_commands_max)
		server->phase = PHASE_CLOSE;
}

static void reply_refused(struct pop_server *server, struct pop_output *out,
                          const struct pop_command *command, int err)
{
	if (err == ERR_UNSUPPORTED || !command->row->served) {
		reply_bad(server, out, SPAN("-ERR unknown command\r\n"));
	} else if (err == ERR_RANGE) {
		reply_bad(server, out, SPAN("-ERR no such message\r\n"));
	} else {
		put(out, "-ERR syntax: ");
		put_span(out, span_str(command->row->syntax));
		reply_bad(server, out, SPAN("\r\n"));
	}
}

/* The phase in which the caller brings what this command needs and the session has not had so far. */
static uint8_t lacking(const struct pop_server *server, const struct pop_command *command)
{
	uint8_t args = command->row->args;
	bool of_messages = args == POP_ARGS_MSG || args == POP_ARGS_MSG_OR_NONE || args == POP_ARGS_MSG_LINES;
	if (!of_messages || !server->listing.count)
		return PHASE_COMMAND;
	if (!server->listing.octets)
		return PHASE_LACKS_LISTING;
	return command->row == &pop_verbs[POP_DELE] && !server->marks ? PHASE_LACKS_MARKS : PHASE_COMMAND;
}

/* False: the line has to be read again later. */
static bool run_line(struct pop_server *server, struct span line, struct pop_output *out,
                     struct pop_input *in)
{
	struct pop_command command;
	int err = pop_parse(line, &command);
	if (err || !command.row->served) {
		reply_refused(server, out, &command, err);
		return true;
	}
	if (!(command.row->states & server->state)) {
		reply_bad(server, out,
		          server->state == POP_AUTHORIZATION ? SPAN("-ERR log in first\r\n")
		                                             : SPAN("-ERR not after login\r\n"));
		return true;
	}
	server->phase = lacking(server, &command);
	if (server->phase != PHASE_COMMAND)
		return false;
	uint32_t bad = server->bad;
	command_run(server, &command, out, in);
	if (server->bad == bad && server->phase != PHASE_LOGIN && server->phase != PHASE_SASL)
		server->bad = 0; /* a command that was understood; a login's verdict is still to come */
	return true;
}

/* How long the line at the front of `in` may be. */
static size_t line_max(const struct pop_server *server, struct span in)
{
	if (server->phase == PHASE_RESPONSE)
		return POP_AUTH_LINE_MAX;
	const struct pop_verb_row *row = pop_verb_find(span_first(in, span_find(in, ' ')));
	return row ? row->line_max : POP_COMMAND_MAX;
}

/* Takes one line from the input if there is one. */
static enum pop_want take_line(struct pop_server *server, struct pop_input *in, struct pop_output *out,
                               uint64_t now_ms)
{
	struct span line;
	if (!pop_line_resume(in, &server->skipping))
		return POP_WANT_INPUT;
	struct pop_input before = *in;
	size_t max = line_max(server, span_of(in->ptr, in->len));
	int err = pop_line_take(in, max, &server->skipping, &line);
	if (err == ERR_AGAIN)
		return POP_WANT_INPUT;
	pop_server_active(server, now_ms);
	bool response = server->phase == PHASE_RESPONSE;
	if (err == ERR_FULL) {
		server->phase = response ? PHASE_CANCEL : PHASE_COMMAND;
		reply_bad(server, out, SPAN("-ERR line too long\r\n"));
	} else if (response) {
		command_response(server, line, out);
	} else if (!run_line(server, line, out, in)) {
		*in = before;
	}
	return POP_WANT_ROOM; /* nothing to wait for: the loop decides */
}

/* A phase's wish, or POP_WANT_ROOM for a phase that goes on by itself. */
static enum pop_want wish(uint8_t phase)
{
	static const uint8_t wishes[] = {
	    [PHASE_GREETING] = POP_WANT_ROOM,      [PHASE_COMMAND] = POP_WANT_INPUT,
	    [PHASE_LOGIN] = POP_WANT_LOGIN,        [PHASE_SASL] = POP_WANT_SASL,
	    [PHASE_RESPONSE] = POP_WANT_INPUT,     [PHASE_CANCEL] = POP_WANT_CANCEL,
	    [PHASE_BODY] = POP_WANT_BODY,          [PHASE_OCTETS] = POP_WANT_OCTETS,
	    [PHASE_END] = POP_WANT_ROOM,           [PHASE_LISTING] = POP_WANT_ROOM,
	    [PHASE_COMMIT] = POP_WANT_COMMIT,      [PHASE_TLS] = POP_WANT_TLS,
	    [PHASE_TEXT] = POP_WANT_TEXT,          [PHASE_LACKS_LISTING] = POP_WANT_LISTING,
	    [PHASE_LACKS_MARKS] = POP_WANT_MARKS,  [PHASE_UNLISTED] = POP_WANT_ROOM,
	    [PHASE_LOGIN_ANSWER] = POP_WANT_ROOM,  [PHASE_BODY_ANSWER] = POP_WANT_ROOM,
	    [PHASE_COMMIT_ANSWER] = POP_WANT_ROOM, [PHASE_CLOSE] = POP_WANT_CLOSE,
	};
	return wishes[phase];
}

/* Phases that write something of their own accord. */
static void go_on(struct pop_server *server, struct pop_output *out, uint64_t now_ms)
{
	switch (server->phase) {
	case PHASE_GREETING:
		put(out, "+OK POP3 server ready (Restante)\r\n");
		server->phase = PHASE_COMMAND;
		break;
	case PHASE_LOGIN_ANSWER:
		server->phase = PHASE_COMMAND;
		reply_login(server, out);
		pop_server_active(server, now_ms);
		break;
	case PHASE_BODY_ANSWER:
		reply_body(server, out);
		break;
	case PHASE_COMMIT_ANSWER:
		reply_commit(server, out);
		server->phase = PHASE_CLOSE;
		break;
	case PHASE_END:
		out->len += pop_dot_finish(&server->dot, out->ptr + out->len);
		server->phase = PHASE_COMMAND;
		break;
	case PHASE_LISTING:
		command_list(server, out);
		break;
	case PHASE_UNLISTED:
		put(out, "-ERR [SYS/TEMP] maildrop cannot be listed now, log in again\r\n");
		server->phase = PHASE_CLOSE;
		break;
	default:
		break;
	}
}

enum pop_want pop_server_step(struct pop_server *server, struct pop_input *in, struct pop_output *out,
                              uint64_t now_ms)
{
	for (;;) {
		enum pop_want want = wish(server->phase);
		if (server->phase == PHASE_CANCEL)
			server->phase = PHASE_COMMAND; /* said once; there is no answer */
		if (want != POP_WANT_ROOM && want != POP_WANT_INPUT)
			return want;
		if (out->cap - out->len < POP_REPLY_MAX)
			return POP_WANT_ROOM;
		if (want == POP_WANT_ROOM)
			go_on(server, out, now_ms);
		else if (take_line(server, in, out, now_ms) == POP_WANT_INPUT)
			return POP_WANT_INPUT;
	}
}

/* --- answers --- */

void pop_server_logged_in(struct pop_server *server, const struct pop_listing *listing)
{
	server->state = POP_TRANSACTION;
	server->phase = PHASE_LOGIN_ANSWER;
	server->answer = ERR_NONE;
	server->bad = 0;
	server->ask = (struct pop_ask){0};
	server->listing = *listing;
	server->marks = NULL;
	server->marked = server->removed = 0;
	server->octets = listing->total;
}

void pop_server_listed(struct pop_server *server, const struct pop_listing *listing)
{
	server->listing = *listing;
	server->phase = PHASE_COMMAND;
}

void pop_server_not_listed(struct pop_server *server)
{
	server->phase = PHASE_UNLISTED;
}

void pop_server_marks(struct pop_server *server, unsigned char *marks)
{
	server->marks = marks;
	server->phase = PHASE_COMMAND;
}

void pop_server_text_sent(struct pop_server *server, size_t count)
{
	server->ask.text = span_after(server->ask.text, count);
	if (!server->ask.text.len)
		server->phase = PHASE_LISTING;
}

void pop_server_not_logged_in(struct pop_server *server, int err)
{
	server->user_len = 0; /* RFC 1939 section 7: after a failed PASS, USER again */
	server->phase = PHASE_LOGIN_ANSWER;
	server->answer = err;
}

int pop_server_challenge(struct pop_server *server, struct span challenge, struct pop_output *out)
{
	if (out->cap - out->len < BASE64_ENCODED(challenge.len) + sizeof "+ \r\n")
		return ERR_FULL;
	put(out, "+ "); /* the space is there even when the challenge is empty: RFC 5034 section 4 */
	out->len += base64_encode(challenge, out->ptr + out->len);
	put(out, "\r\n");
	server->phase = PHASE_RESPONSE;
	return ERR_NONE;
}

void pop_server_body(struct pop_server *server, const struct pop_body *body)
{
	server->body = *body;
	server->dot = (struct pop_dot){0};
	server->header_left = server->verb == POP_RETR      ? 0 /* all one to RETR */
	                      : body->header < body->length ? body->header
	                                                    : body->length;
	server->body_left = server->lines_left ? body->length - server->header_left : 0;
	server->phase = PHASE_BODY_ANSWER;
	server->answer =
	    !body->length && server->owed ? ERR_CHANGED : ERR_NONE; /* no octets will tell later */
}

void pop_server_no_body(struct pop_server *server, int err)
{
	server->phase = PHASE_BODY_ANSWER;
	server->answer = err;
}

/* After each piece: is the body complete, and is it what was announced? */
static int check_end(struct pop_server *server)
{
	if (server->header_left + server->body_left)
		return ERR_NONE;
	uint64_t sent = server->dot.octets + (server->dot.in_line ? 2 : 0);
	if (server->verb == POP_RETR && sent != server->owed)
		return ERR_CORRUPT;
	server->phase = PHASE_END;
	return ERR_NONE;
}

/* In wire form already: also after a first part that went out by pop_server_octets_sent(), of which the
 * encoder has not seen where in a line it ended. */
static int copy_octets(struct pop_server *server, uint64_t left, struct span *raw, struct pop_output *out)
{
	size_t count = out->cap - out->len;
	if (count > raw->len)
		count = raw->len;
	if (count > left)
		count = (size_t)left;
	put_span(out, span_first(*raw, count));
	*raw = span_after(*raw, count);
	return pop_server_octets_sent(server, count);
}

int pop_server_octets(struct pop_server *server, struct span *raw, struct pop_output *out)
{
	uint64_t as_is = pop_server_octets_as_is(server);
	if (as_is)
		return copy_octets(server, as_is, raw, out);
	bool header = server->header_left > 0;
	uint64_t *part_left = header ? &server->header_left : &server->body_left;
	struct span part = *raw;
	if (part.len > *part_left)
		part.len = (size_t)*part_left;
	size_t given = part.len;
	uint64_t lines = server->lines_left;
	if (!header && server->verb == POP_TOP)
		part.len = pop_dot_lines(part, &lines);
	size_t whole = part.len;
	out->len += pop_dot_encode(&server->dot, &part, out->ptr + out->len, out->cap - out->len);
	size_t used = whole - part.len;
	*raw = span_after(*raw, used);
	*part_left -= used;
	if (!header && server->verb == POP_TOP) {
		if (used == whole) {
			server->lines_left = lines;
			if (!lines || whole < given)
				*part_left = 0;
		} else {
			lines = server->lines_left; /* count what went out */
			(void)pop_dot_lines(span_of(raw->ptr - used, used), &lines);
			server->lines_left = lines;
		}
	}
	return check_end(server);
}

uint64_t pop_server_octets_left(const struct pop_server *server)
{
	return server->header_left + server->body_left;
}

uint64_t pop_server_octets_as_is(const struct pop_server *server)
{
	bool whole = server->phase == PHASE_OCTETS && server->verb == POP_RETR && server->body.wire_form;
	return whole ? pop_server_octets_left(server) : 0;
}

int pop_server_octets_sent(struct pop_server *server, uint64_t count)
{
	uint64_t of_header = count < server->header_left ? count : server->header_left;
	server->header_left -= of_header;
	server->body_left -= count - of_header;
	server->dot.octets += count;
	return check_end(server);
}

void pop_server_committed(struct pop_server *server, int err, uint32_t removed)
{
	server->phase = PHASE_COMMIT_ANSWER;
	server->answer = err;
	server->removed = removed;
}

void pop_server_tls(struct pop_server *server)
{
	uint64_t began_ms = server->active_ms; /* the login timeout runs on */
	pop_server_init(server, server->conf, true, false, true, began_ms);
	server->phase = PHASE_COMMAND;
}

/* --- looking --- */

bool pop_server_expired(const struct pop_server *server, uint64_t now_ms)
{
	uint32_t limit =
	    server->state == POP_TRANSACTION ? server->conf->autologout_ms : server->conf->login_timeout_ms;
	return now_ms - server->active_ms >= limit;
}

unsigned pop_server_ahead(const struct pop_server *server, struct span in, uint32_t *numbers, unsigned max)
{
	unsigned count = 0;
	struct span line;
	struct pop_command command;
	while (server->state == POP_TRANSACTION && count < max &&
	       pop_line_cut(&in, POP_COMMAND_MAX, &line) == 0) {
		if (pop_parse(line, &command) != ERR_NONE)
			continue;
		if (command.row->ends_pipeline)
			break;
		bool body = command.row == &pop_verbs[POP_RETR] || command.row == &pop_verbs[POP_TOP];
		if (body && command.number <= server->listing.count && !is_marked(server, command.number))
			numbers[count++] = command.number;
	}
	return count;
}

uint32_t pop_server_following(const struct pop_server *server, uint32_t number)
{
	while (number < server->listing.count)
		if (!is_marked(server, ++number))
			return number;
	return 0;
}
