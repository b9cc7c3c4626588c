/* SPDX-License-Identifier: MIT */
/* The client machine. Runs in restante-bench on octets of the server under test, of which it trusts none. */
#include "bench/client.h"

#include "base/num.h"
#include "pop/verb.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Which part of a reply comes next. */
enum { STATUS, LINES, BODY };

struct step_row {
	uint8_t verb; /* enum pop_verb; POP_VERBS: nothing is sent */
	uint8_t each; /* once for each message */
	uint8_t body; /* the reply is a message */
	uint8_t may_fail;
	int (*status)(struct client *client, struct span text, struct error *error);
	int (*line)(struct client *client, struct span line, struct error *error);
	int (*end)(struct client *client, struct error *error);
};

static const struct step_row step_rows[STEPS];

static const struct step_row *row_of(const struct client *client)
{
	return &step_rows[client->steps[client->at]];
}

static const char *word_of(const struct client *client)
{
	if (client->steps[client->at] == STEP_GREETING)
		return "greeting";
	const struct step_row *row = row_of(client);
	return row->verb < POP_VERBS ? pop_verbs[row->verb].word : "silence";
}

/* --- checks of replies --- */

static int set_messages(struct client *client, uint64_t count, struct error *error)
{
	if (client->messages >= 0 && (uint64_t)client->messages != count) {
		error_set(error, "%s gives %" PRIu64 " messages, not %" PRId64, word_of(client), count,
		          client->messages);
		return ERR_CORRUPT;
	}
	client->messages = (int64_t)count;
	return ERR_NONE;
}

static int stat_status(struct client *client, struct span text, struct error *error)
{
	uint64_t count, octets;
	struct span first = span_cut(&text, ' ');
	struct span second = span_cut(&text, ' ');
	if (num_parse(first, CLIENT_MESSAGES_MAX, &count) || num_parse(second, INT64_MAX, &octets)) {
		error_set(error, "STAT: the reply is not two numbers");
		return ERR_SYNTAX;
	}
	client->octets = (int64_t)octets;
	return set_messages(client, count, error);
}

/* The message-number in front of a line of LIST or UIDL; nothing is deleted, so they run from 1 up. */
static int next_number(struct client *client, struct span *line, struct error *error)
{
	uint64_t number;
	struct span text = span_cut(line, ' ');
	if (num_parse(text, CLIENT_MESSAGES_MAX, &number) || number != client->listed + 1) {
		error_set(error, "%s: message-number %" PRIu64 " is missing or malformed", word_of(client),
		          client->listed + 1);
		return ERR_SYNTAX;
	}
	client->listed++;
	/* One too many is enough: a listing need not have an end. */
	return client->messages >= 0 && client->listed > (uint64_t)client->messages
	           ? set_messages(client, client->listed, error)
	           : ERR_NONE;
}

static int capa_line(struct client *client, struct span line, struct error *error)
{
	(void)line;
	if (++client->listed <= CLIENT_CAPA_MAX)
		return ERR_NONE;
	error_set(error, "CAPA: more than %d lines", CLIENT_CAPA_MAX);
	return ERR_FULL;
}

static int list_line(struct client *client, struct span line, struct error *error)
{
	uint64_t octets;
	int err = next_number(client, &line, error);
	if (err)
		return err;
	if (num_parse(line, INT64_MAX / CLIENT_MESSAGES_MAX, &octets)) {
		error_set(error, "LIST: message %" PRIu64 " has no size", client->listed);
		return ERR_SYNTAX;
	}
	if (client->listed > client->sizes_room) {
		uint64_t room = client->sizes_room ? client->sizes_room * 2 : 128;
		uint64_t *sizes = reallocarray(client->sizes, room, sizeof(*sizes));
		if (!sizes)
			return ERR_NOMEM;
		client->sizes = sizes;
		client->sizes_room = room;
	}
	client->sizes[client->listed - 1] = octets;
	client->listed_octets += octets;
	return ERR_NONE;
}

static int list_end(struct client *client, struct error *error)
{
	if (client->octets >= 0 && (uint64_t)client->octets != client->listed_octets) {
		error_set(error, "LIST gives %" PRIu64 " octets, STAT %" PRId64, client->listed_octets,
		          client->octets);
		return ERR_CORRUPT;
	}
	return set_messages(client, client->listed, error);
}

static int uidl_line(struct client *client, struct span line, struct error *error)
{
	int err = next_number(client, &line, error);
	if (err)
		return err;
	bool legal = line.len >= 1 && line.len <= CLIENT_UID_MAX;
	for (size_t i = 0; i < line.len; i++)
		legal &= line.ptr[i] >= 0x21 && line.ptr[i] <= 0x7e;
	if (!legal) {
		error_set(error, "UIDL: message %" PRIu64 " has no legal unique-id", client->listed);
		return ERR_SYNTAX;
	}
	err = uids_add(&client->uids, line);
	if (err == ERR_EXISTS) {
		error_set(error, "UIDL: message %" PRIu64 " has the unique-id of an earlier one",
		          client->listed);
		return ERR_CORRUPT;
	}
	return err;
}

static int uidl_end(struct client *client, struct error *error)
{
	return set_messages(client, client->listed, error);
}

static int retr_end(struct client *client, struct error *error)
{
	(void)error;
	client->messages_fetched++;
	client->octets_fetched += client->body.octets;
	if (client->timed == client->answered + 1) {
		client->message_ns = client->now_ns - client->timed_from_ns;
		client->timed = 0;
	}
	return ERR_NONE;
}

static int dele_status(struct client *client, struct span text, struct error *error)
{
	(void)text;
	(void)error;
	client->marked++;
	return ERR_NONE;
}

static int quit_end(struct client *client, struct error *error)
{
	(void)error;
	client->messages_deleted = client->marked;
	return ERR_NONE;
}

static int greeting_end(struct client *client, struct error *error)
{
	(void)error;
	client->greeted = true;
	return ERR_NONE;
}

static int pass_end(struct client *client, struct error *error)
{
	(void)error;
	client->logged_in = true;
	return ERR_NONE;
}

/* clang-format off */
static const struct step_row step_rows[STEPS] = {
    [STEP_CLOSED] = {.verb = POP_VERBS},
    [STEP_GREETING] = {.verb = POP_VERBS, .end = greeting_end},
    [STEP_STLS] = {.verb = POP_STLS},
    [STEP_USER] = {.verb = POP_USER},
    [STEP_PASS] = {.verb = POP_PASS, .end = pass_end},
    [STEP_CAPA] = {.verb = POP_CAPA, .may_fail = 1, .line = capa_line}, /* a server need not know it */
    [STEP_STAT] = {.verb = POP_STAT, .status = stat_status},
    [STEP_LIST] = {.verb = POP_LIST, .line = list_line, .end = list_end},
    [STEP_UIDL] = {.verb = POP_UIDL, .line = uidl_line, .end = uidl_end},
    [STEP_RETR] = {.verb = POP_RETR, .each = 1, .body = 1, .end = retr_end},
    [STEP_DELE] = {.verb = POP_DELE, .each = 1, .status = dele_status},
    [STEP_HOLD] = {.verb = POP_VERBS},
    [STEP_QUIT] = {.verb = POP_QUIT, .end = quit_end},
};
/* clang-format on */

/* --- commands --- */

static int add_command(struct client *client, const struct step_row *row)
{
	const char *word = pop_verbs[row->verb].word;
	if (row->verb == POP_USER)
		return buf_addf(&client->out, "%s %s\r\n", word, client->account->name);
	if (row->verb == POP_PASS)
		return buf_addf(&client->out, "%s %s\r\n", word, client->account->password);
	if (row->each)
		return buf_addf(&client->out, "%s %" PRIu64 "\r\n", word,
		                client->asked % (uint64_t)client->messages + 1);
	return buf_addf(&client->out, "%s\r\n", word);
}

/* Sends commands ahead up to the window; in batches of half of it, so that they share packets. */
static int fill_window(struct client *client)
{
	const struct step_row *row = row_of(client);
	uint32_t window = client->plan->window;
	if (client->asked - client->answered > window / 2 || row->verb == POP_VERBS)
		return ERR_NONE;
	while (client->asked < client->count && client->asked - client->answered < window) {
		int err = add_command(client, row);
		if (err)
			return err;
		client->asked++;
		if (row->body && !client->timed) {
			client->timed = client->asked;
			client->timed_from_ns = client->now_ns;
		}
	}
	return ERR_NONE;
}

static int begin_step(struct client *client)
{
	uint8_t step = client->steps[client->at];
	const struct step_row *row = &step_rows[step];
	client->asked = client->answered = client->listed = client->timed = 0;
	client->count = 1;
	if (row->each)
		client->count = (uint64_t)client->messages * (step == STEP_RETR ? client->plan->passes : 1);
	client->wish = step == STEP_CLOSED ? CLIENT_DONE : step == STEP_HOLD ? CLIENT_HOLD : CLIENT_GO;
	return fill_window(client);
}

static int next_step(struct client *client)
{
	do {
		client->at++;
		int err = begin_step(client);
		if (err)
			return err;
	} while (client->count == 0);
	return ERR_NONE;
}

static int reply_done(struct client *client, struct error *error)
{
	const struct step_row *row = row_of(client);
	client->within = STATUS;
	client->due--;
	int err = row->end ? row->end(client, error) : ERR_NONE;
	if (err)
		return err;
	if (++client->answered < client->count)
		return fill_window(client);
	if (client->steps[client->at] == STEP_STLS) {
		client->wish = CLIENT_TLS;
		return ERR_NONE;
	}
	return next_step(client);
}

/* --- replies --- */

static int take_status(struct client *client, struct span line, struct error *error)
{
	const struct step_row *row = row_of(client);
	struct span rest = line;
	struct span indicator = span_cut(&rest, ' ');
	if (!span_equal(indicator, SPAN("+OK"))) {
		bool refused = span_equal(indicator, SPAN("-ERR"));
		if (refused && row->may_fail)
			return reply_done(client, error);
		char text[200];
		for (size_t i = 0; i < sizeof(text); i++)
			text[i] = i >= line.len                               ? '\0'
			          : line.ptr[i] >= 0x20 && line.ptr[i] < 0x7f ? line.ptr[i]
			                                                      : '?';
		text[sizeof(text) - 1] = '\0';
		error_set(error, "%s: %s", word_of(client), text);
		return refused ? ERR_DENIED : ERR_SYNTAX;
	}
	int err = row->status ? row->status(client, rest, error) : ERR_NONE;
	if (err)
		return err;
	uint8_t reply = row->verb < POP_VERBS ? pop_verbs[row->verb].reply : POP_REPLY_LINE;
	if (reply == POP_REPLY_LINE)
		return reply_done(client, error);
	client->within = row->body ? BODY : LINES;
	client->body = (struct body){0};
	return ERR_NONE;
}

static int take_line(struct client *client, struct span line, struct error *error)
{
	if (line.len < 2 || line.ptr[line.len - 2] != '\r') {
		error_set(error, "%s: a line of the reply ends in a bare LF", word_of(client));
		return ERR_SYNTAX;
	}
	line.len -= 2;
	if (client->within == STATUS)
		return take_status(client, line, error);
	if (line.len && line.ptr[0] == '.') {
		if (line.len == 1)
			return reply_done(client, error);
		line = span_after(line, 1);
	}
	const struct step_row *row = row_of(client);
	return row->line ? row->line(client, line, error) : ERR_NONE;
}

/* Cuts one line off the front of *in, or keeps what there is of it. */
static int feed_line(struct client *client, struct span *in, struct error *error)
{
	size_t len = span_find(*in, '\n');
	bool whole = len < in->len;
	struct span line = span_first(*in, whole ? len + 1 : len);
	*in = span_after(*in, line.len);
	bool keep = !whole || client->line.len;
	if (line.len > POP_REPLY_MAX || (keep && buf_add(&client->line, line))) {
		error_set(error, "%s: a line longer than %d octets", word_of(client), POP_REPLY_MAX);
		return ERR_FULL;
	}
	if (!whole)
		return ERR_NONE;
	if (keep)
		line = buf_span(&client->line);
	int err = take_line(client, line, error);
	client->line.len = 0;
	buf_release(&client->line);
	return err;
}

static int feed_body(struct client *client, struct span *in, struct error *error)
{
	int err = body_feed(&client->body, in);
	if (err) {
		error_set(error, "RETR: a bare LF or an unstuffed dot after %" PRIu64 " octets of a message",
		          client->body.octets);
		return err;
	}
	bool ended = client->body.ended;
	uint64_t index = client->answered % (uint64_t)client->messages;
	uint64_t octets = client->body.octets, size = client->sizes[index];
	/* A body that is too long need not have an end. */
	if (ended ? octets != size : octets > size) {
		error_set(error, "RETR %" PRIu64 " gives %" PRIu64 " octets%s, LIST %" PRIu64, index + 1,
		          octets, ended ? "" : " or more", size);
		return ERR_CORRUPT;
	}
	return ended ? reply_done(client, error) : ERR_NONE;
}

int client_feed(struct client *client, struct span in, uint64_t now_ns, struct error *error)
{
	int err = ERR_NONE;
	client->now_ns = now_ns;
	/* What is asked from here on is not sent yet, and nothing of this can be the reply to it. */
	client->due = client->asked - client->answered;
	while (in.len && !err) {
		if (!client->due) {
			error_set(error, "octets that nothing asked for, at %s", word_of(client));
			return ERR_PEER;
		}
		err = client->within == BODY ? feed_body(client, &in, error) : feed_line(client, &in, error);
	}
	return err;
}

int client_closed(const struct client *client, struct error *error)
{
	if (client->wish == CLIENT_DONE)
		return ERR_NONE;
	error_set(error, "the server closed the connection at %s", word_of(client));
	return ERR_CLOSED;
}

/* --- life --- */

void client_init(struct client *client, const struct client_plan *plan, const struct account *account)
{
	*client = (struct client){.plan = plan, .account = account, .messages = plan->messages, .octets = -1};
	buf_init(&client->out, CLIENT_OUT_MAX);
	buf_init(&client->line, POP_REPLY_MAX);
	unsigned count = 0;
	client->steps[count++] = STEP_GREETING;
	if (plan->stls)
		client->steps[count++] = STEP_STLS;
	client->steps[count++] = STEP_USER;
	client->steps[count++] = STEP_PASS;
	memcpy(client->steps + count, plan->profile->steps, sizeof(plan->profile->steps));
	client->count = client->asked = 1; /* the greeting comes unasked */
}

void client_finish(struct client *client)
{
	buf_finish(&client->out);
	buf_finish(&client->line);
	free(client->sizes);
	client->sizes = NULL;
	uids_finish(&client->uids);
}

int client_proceed(struct client *client, uint64_t now_ns)
{
	client->now_ns = now_ns;
	return next_step(client);
}
