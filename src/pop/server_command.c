/* SPDX-License-Identifier: MIT */
/*
 * What each command of the server machine does and says. Runs in the worker on
 * commands the parser has found well-formed.
 */
#include "base/base64.h"
#include "pop/server_int.h"

/* --- listings (RFC 1939 sections 5 and 7) --- */

/* "2 messages (320 octets)" */
static void put_drop(struct pop_server *server, struct pop_output *out)
{
	put_number(out, left(server));
	put_span(out, left(server) == 1 ? SPAN(" message (") : SPAN(" messages ("));
	put_number(out, server->octets);
	put(out, " octets)");
}

/* The lines of the command being answered. */
static const struct pop_lines *lines_of(const struct pop_server *server)
{
	return server->verb == POP_LIST ? &server->listing.list : &server->listing.uidl;
}

/* The lines of the next messages that are not marked, up to one that is; empty: there are no more. */
static struct span next_lines(struct pop_server *server)
{
	uint32_t count = server->listing.count;
	while (server->next <= count && is_marked(server, server->next))
		server->next++;
	if (server->next > count)
		return SPAN("");
	uint32_t from = server->next, to = server->marks ? from : count;
	while (to < count && !is_marked(server, to + 1))
		to++;
	server->next = to + 1;
	return pop_listing_lines(lines_of(server), from, to);
}

void command_list(struct pop_server *server, struct pop_output *out)
{
	struct span *text = &server->ask.text;
	while (out->cap - out->len >= sizeof ".\r\n") {
		if (!text->len)
			*text = next_lines(server);
		if (text->len >= POP_TEXT_MIN) {
			server->phase = PHASE_TEXT;
			return;
		}
		if (!text->len) {
			put(out, ".\r\n");
			server->phase = PHASE_COMMAND;
			return;
		}
		size_t room = out->cap - out->len;
		size_t count = text->len < room ? text->len : room;
		put_span(out, span_first(*text, count));
		*text = span_after(*text, count);
	}
}

/* The message is there and not marked, or the reply says why not. */
static bool find_message(struct pop_server *server, uint32_t number, struct pop_output *out)
{
	if (number > server->listing.count) {
		put(out, "-ERR no such message, ");
		put_span(out, server->listing.count ? SPAN("only ") : SPAN("there are "));
		put_number(out, server->listing.count);
		put(out, " in maildrop\r\n");
		return false;
	}
	if (is_marked(server, number)) {
		put(out, "-ERR message ");
		put_number(out, number);
		put(out, " is deleted\r\n");
		return false;
	}
	return true;
}

static void run_list(struct pop_server *server, const struct pop_command *command, struct pop_output *out)
{
	if (!command->bare && !find_message(server, command->number, out))
		return;
	server->verb = (uint8_t)(command->row - pop_verbs);
	put(out, "+OK ");
	if (!command->bare) {
		put_span(out, pop_listing_lines(lines_of(server), command->number, command->number));
		return;
	}
	put_drop(server, out);
	put(out, "\r\n");
	server->next = 1;
	server->ask.text = SPAN("");
	server->phase = PHASE_LISTING;
}

static void run_stat(struct pop_server *server, struct pop_output *out)
{
	put(out, "+OK ");
	put_number(out, left(server));
	put(out, " ");
	put_number(out, server->octets);
	put(out, "\r\n");
}

/* --- messages --- */

static void run_retr_top(struct pop_server *server, const struct pop_command *command, struct pop_output *out)
{
	if (!find_message(server, command->number, out))
		return;
	server->verb = (uint8_t)(command->row - pop_verbs);
	server->lines_left = server->verb == POP_TOP ? command->lines : UINT64_MAX;
	server->owed = octets_of(server, command->number);
	server->ask.number = command->number;
	server->phase = PHASE_BODY;
}

void reply_body(struct pop_server *server, struct pop_output *out)
{
	server->phase = PHASE_COMMAND;
	switch (server->answer) {
	case ERR_NONE:
		break;
	case ERR_NOTFOUND:
		put(out, "-ERR message is gone, another program removed it\r\n");
		return;
	case ERR_CHANGED:
	case ERR_NOTREGULAR:
		put(out, "-ERR message was replaced by another program, log in again\r\n");
		return;
	case ERR_DENIED:
		put(out, "-ERR [SYS/PERM] message cannot be read, tell the postmaster\r\n");
		return;
	default:
		put(out, "-ERR [SYS/TEMP] message cannot be read now\r\n");
		return;
	}
	put(out, "+OK ");
	if (server->verb == POP_RETR) {
		put_number(out, server->owed);
		put(out, " octets\r\n");
	} else {
		put(out, "top of message follows\r\n");
	}
	server->phase = pop_server_octets_left(server) ? PHASE_OCTETS : PHASE_END;
}

static void run_dele(struct pop_server *server, const struct pop_command *command, struct pop_output *out)
{
	uint32_t number = command->number;
	if (!find_message(server, number, out))
		return;
	server->marks[(number - 1) / 8] |= (unsigned char)(1u << ((number - 1) % 8));
	server->marked++;
	server->octets -= octets_of(server, number);
	put(out, "+OK message ");
	put_number(out, number);
	put(out, " deleted\r\n");
}

static void run_rset(struct pop_server *server, struct pop_output *out)
{
	for (uint32_t number = 1; server->marked && number <= server->listing.count; number++) {
		if (!is_marked(server, number))
			continue;
		server->marks[(number - 1) / 8] &= (unsigned char)~(1u << ((number - 1) % 8));
		server->marked--;
		server->octets += octets_of(server, number);
	}
	put(out, "+OK maildrop has ");
	put_drop(server, out);
	put(out, "\r\n");
}

/* --- the end --- */

static void put_goodbye(uint32_t remaining, struct pop_output *out)
{
	put(out, "+OK POP3 server signing off (");
	if (remaining) {
		put_number(out, remaining);
		put_span(out, remaining == 1 ? SPAN(" message left)\r\n") : SPAN(" messages left)\r\n"));
	} else {
		put(out, "maildrop empty)\r\n");
	}
}

/* After login the caller is asked even when nothing is marked: the reply promises that the lock is given up
 * (RFC 1939 section 6), and the client may be back at once. */
static void run_quit(struct pop_server *server, struct pop_output *out)
{
	server->quit = true;
	if (server->state == POP_TRANSACTION) {
		server->phase = PHASE_COMMIT;
		return;
	}
	put(out, "+OK POP3 server signing off\r\n");
	server->phase = PHASE_CLOSE;
}

void reply_commit(struct pop_server *server, struct pop_output *out)
{
	if (server->answer == ERR_NONE || !server->marked) {
		put_goodbye(left(server), out);
		return;
	}
	put(out, "-ERR [SYS/TEMP] some deleted messages not removed (");
	put_number(out, server->removed);
	put(out, " of ");
	put_number(out, server->marked);
	put(out, " removed)\r\n");
}

/* --- logging in --- */

/* Passwords in clear are taken here and now. The refusal is the same whatever the password is. */
static bool clear_allowed(struct pop_server *server, struct pop_output *out)
{
	if (server->tls || server->clear_allowed)
		return true;
	put_span(out, server->tls_offered
	                  ? SPAN("-ERR passwords are not taken in clear, use STLS first\r\n")
	                  : SPAN("-ERR passwords are not taken in clear, use the TLS port\r\n"));
	return false;
}

static void run_user(struct pop_server *server, const struct pop_command *command, struct pop_output *out)
{
	if (!clear_allowed(server, out))
		return;
	memcpy(server->user, command->text.ptr, command->text.len);
	server->user_len = (uint8_t)command->text.len;
	put(out, "+OK send PASS\r\n"); /* the same for every name: RFC 3206 section 5 */
}

static void run_pass(struct pop_server *server, const struct pop_command *command, struct pop_output *out)
{
	if (!server->user_len) {
		reply_bad(server, out, SPAN("-ERR send USER first\r\n"));
		return;
	}
	server->ask =
	    (struct pop_ask){.user = span_of(server->user, server->user_len), .secret = command->text};
	server->phase = PHASE_LOGIN;
}

void reply_login(struct pop_server *server, struct pop_output *out)
{
	switch (server->answer) {
	case ERR_NONE:
		put(out, "+OK maildrop has ");
		put_drop(server, out);
		put(out, "\r\n");
		break;
	case ERR_CREDENTIALS:
		reply_bad(server, out, SPAN("-ERR [AUTH] wrong user name or password\r\n"));
		break;
	case ERR_BUSY:
		put(out, "-ERR [IN-USE] maildrop is locked by another session\r\n");
		break;
	case ERR_CROWDED:
		put(out, "-ERR [SYS/TEMP] too many sessions from your address, try again later\r\n");
		server->phase = PHASE_CLOSE;
		break;
	case ERR_SYNTAX:
		reply_bad(server, out, SPAN("-ERR not what this mechanism expects\r\n"));
		break;
	case ERR_UNSUPPORTED:
		reply_bad(server, out, SPAN("-ERR no such mechanism\r\n"));
		break;
	case ERR_CORRUPT:
		put(out, "-ERR [SYS/PERM] maildrop needs repair, tell the postmaster\r\n");
		break;
	default:
		put(out, "-ERR [SYS/TEMP] cannot log you in now, try again later\r\n");
		break;
	}
}

/* --- SASL (RFC 5034) --- */

/* The conf's spelling of the mechanism, or empty. */
static struct span find_mechanism(const struct pop_server *server, struct span name)
{
	struct span all = span_str(server->conf->mechanisms);
	while (all.len) {
		struct span one = span_cut(&all, ' ');
		if (span_equal_nocase(one, name))
			return one;
	}
	return SPAN("");
}

static void list_mechanisms(struct pop_server *server, struct pop_output *out)
{
	struct span all = span_str(server->conf->mechanisms);
	put(out, "+OK mechanisms follow\r\n");
	while (all.len && (server->tls || server->clear_allowed)) {
		put_span(out, span_cut(&all, ' '));
		put(out, "\r\n");
	}
	put(out, ".\r\n");
}

/* Hands a response, decoded in place, to the caller; "=" stands for an empty initial one. */
static void ask_sasl(struct pop_server *server, struct span mechanism, bool has_response, struct span base64,
                     struct pop_output *out)
{
	size_t len = 0;
	char *to = (char *)(uintptr_t)base64.ptr; /* the input is writable: see struct pop_input */
	bool empty = mechanism.len && span_equal(base64, SPAN("="));
	if (has_response && !empty && base64_decode(base64, to, &len) != ERR_NONE) {
		server->phase = mechanism.len ? PHASE_COMMAND : PHASE_CANCEL;
		reply_bad(server, out, SPAN("-ERR not base64\r\n"));
		return;
	}
	server->ask = (struct pop_ask){
	    .mechanism = mechanism, .secret = span_of(to, len), .has_initial = has_response && mechanism.len};
	server->phase = PHASE_SASL;
}

static void run_auth(struct pop_server *server, const struct pop_command *command, struct pop_output *out)
{
	if (command->bare) {
		list_mechanisms(server, out);
		return;
	}
	struct span mechanism = find_mechanism(server, command->text);
	if (!mechanism.len)
		reply_bad(server, out, SPAN("-ERR no such mechanism\r\n"));
	else if (clear_allowed(server, out))
		ask_sasl(server, mechanism, command->has_second, command->second, out);
}

void command_response(struct pop_server *server, struct span line, struct pop_output *out)
{
	if (span_equal(line, SPAN("*"))) {
		server->phase = PHASE_CANCEL;
		reply_bad(server, out, SPAN("-ERR authentication cancelled\r\n"));
		return;
	}
	ask_sasl(server, SPAN(""), true, line, out);
}

/* --- capabilities (RFC 2449 section 5) --- */

/* Available in AUTHORIZATION means listed in both states; STLS is listed where it is permitted (RFC 2595
 * section 4). */
static void run_capa(struct pop_server *server, struct pop_output *out)
{
	put(out, "+OK capability list follows\r\nTOP\r\nUIDL\r\n");
	if (server->tls || server->clear_allowed) {
		put(out, "USER\r\n");
		if (server->conf->mechanisms[0]) {
			put(out, "SASL ");
			put_span(out, span_str(server->conf->mechanisms));
			put(out, "\r\n");
		}
	}
	if (server->tls_offered && !server->tls && server->state == POP_AUTHORIZATION)
		put(out, "STLS\r\n");
	put(out, "PIPELINING\r\nRESP-CODES\r\nAUTH-RESP-CODE\r\nIMPLEMENTATION Restante\r\n.\r\n");
}

/* Nothing a client sent before TLS may count after it; octets behind STLS are refused, not dropped, so
 * that a client that pipelines here learns of it. */
static void run_stls(struct pop_server *server, struct pop_output *out, const struct pop_input *in)
{
	if (server->tls) {
		reply_bad(server, out, SPAN("-ERR TLS is active already\r\n"));
	} else if (!server->tls_offered) {
		reply_bad(server, out, SPAN("-ERR TLS is not available\r\n"));
	} else if (in->len) {
		put(out, "-ERR nothing may be sent behind STLS before its reply\r\n");
		server->phase = PHASE_CLOSE;
	} else {
		put(out, "+OK begin TLS negotiation\r\n");
		server->phase = PHASE_TLS;
	}
}

void command_run(struct pop_server *server, const struct pop_command *command, struct pop_output *out,
                 struct pop_input *in)
{
	switch ((enum pop_verb)(command->row - pop_verbs)) {
	case POP_AUTH:
		run_auth(server, command, out);
		break;
	case POP_CAPA:
		run_capa(server, out);
		break;
	case POP_DELE:
		run_dele(server, command, out);
		break;
	case POP_LIST:
	case POP_UIDL:
		run_list(server, command, out);
		break;
	case POP_NOOP:
		put(out, "+OK nothing done\r\n");
		break;
	case POP_PASS:
		run_pass(server, command, out);
		break;
	case POP_QUIT:
		run_quit(server, out);
		break;
	case POP_RETR:
	case POP_TOP:
		run_retr_top(server, command, out);
		break;
	case POP_RSET:
		run_rset(server, out);
		break;
	case POP_STAT:
		run_stat(server, out);
		break;
	case POP_STLS:
		run_stls(server, out, in);
		break;
	case POP_USER:
		run_user(server, command, out);
		break;
	case POP_APOP:
	case POP_VERBS:
		break; /* not served: refused before */
	}
}
