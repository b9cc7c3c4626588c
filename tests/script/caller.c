/* SPDX-License-Identifier: MIT */
/* The machine's caller. Runs in tests only; what the machine says is checked, not trusted. */
#include "script/caller.h"

#include "base/err.h"
#include "base/secret.h"

#include <stdlib.h>
#include <string.h>

/* --- chance --- */

size_t caller_piece(struct caller *caller, size_t max)
{
	if (caller->way.split == SPLIT_OCTETS)
		return 1;
	if (caller->way.split == SPLIT_NONE || max <= 1)
		return max;
	size_t limit = rand_r(&caller->way.seed) % 4 && caller->way.usual < max ? caller->way.usual : max;
	return 1 + (size_t)rand_r(&caller->way.seed) % limit;
}

bool caller_coin(struct caller *caller)
{
	return caller->way.split == SPLIT_RANDOM && rand_r(&caller->way.seed) % 2;
}

char *caller_copy(struct span octets)
{
	char *copy = malloc(octets.len ? octets.len : 1);
	if (!copy)
		abort();
	if (octets.len)
		memcpy(copy, octets.ptr, octets.len);
	return copy;
}

void caller_keep(struct buf *to, struct span octets)
{
	if (buf_add(to, octets) != ERR_NONE)
		abort();
}

/* --- messages --- */

void wire_form(struct span raw, bool stuffed, struct buf *to)
{
	bool begin = true;
	for (size_t i = 0; i < raw.len; i++) {
		char c = raw.ptr[i];
		if (begin && c == '.' && stuffed)
			caller_keep(to, SPAN("."));
		begin = c == '\n';
		if (begin && (i == 0 || raw.ptr[i - 1] != '\r'))
			caller_keep(to, SPAN("\r"));
		caller_keep(to, span_of(&c, 1));
	}
	if (!begin)
		caller_keep(to, SPAN("\r\n"));
}

static uint64_t header_octets(struct span raw)
{
	size_t at = 0;
	while (at < raw.len) {
		size_t end = at + span_find(span_after(raw, at), '\n');
		bool blank = end == at || (end == at + 1 && raw.ptr[at] == '\r');
		at = end < raw.len ? end + 1 : raw.len;
		if (blank)
			return at;
	}
	return raw.len;
}

static struct span raw_of(const struct caller *caller, uint32_t number)
{
	const struct step *altered = caller->body[number - 1];
	return buf_span(altered ? &altered->text : &caller->script->messages[number - 1].raw);
}

static void answer_body(struct caller *caller)
{
	uint32_t number = caller->server.ask.number;
	if (number == 0 || number > caller->script->message_count) {
		caller->fault = "the machine asks for a message that is not there";
		return;
	}
	if (caller->body_err[number - 1]) {
		pop_server_no_body(&caller->server, caller->body_err[number - 1]);
		return;
	}
	caller->raw = raw_of(caller, number);
	struct buf wire, stuffed;
	buf_init(&wire, 2 * SCRIPT_TEXT_MAX);
	buf_init(&stuffed, 2 * SCRIPT_TEXT_MAX);
	wire_form(caller->raw, false, &wire);
	wire_form(caller->raw, true, &stuffed);
	struct pop_body body = {
	    .length = caller->raw.len,
	    .header = header_octets(caller->raw),
	    .wire_form = caller->raw.len && span_equal(caller->raw, buf_span(&stuffed)),
	};
	pop_server_body(&caller->server, &body);
	buf_finish(&wire);
	buf_finish(&stuffed);
}

/* Gives the next octets of the message, by one of the two ways a caller has. */
static void give_octets(struct caller *caller, struct pop_output *out)
{
	uint64_t left = pop_server_octets_left(&caller->server);
	uint64_t as_is = pop_server_octets_as_is(&caller->server);
	size_t max = left < caller->raw.len ? (size_t)left : caller->raw.len;
	size_t count = caller_piece(caller, max);
	int err;
	if (max == 0) {
		caller->closed = true; /* the file has become shorter */
		return;
	}
	if (as_is && (caller->way.split == SPLIT_NONE || caller_coin(caller))) {
		caller_keep(&caller->got, span_of(out->ptr, out->len));
		out->len = 0;
		caller_keep(&caller->got, span_first(caller->raw, count));
		err = pop_server_octets_sent(&caller->server, count);
		caller->raw = span_after(caller->raw, count);
	} else {
		char *copy = caller_copy(span_first(caller->raw, count));
		struct span raw = span_of(copy, count);
		size_t before = out->len;
		err = pop_server_octets(&caller->server, &raw, out);
		if (raw.len == count && out->len == before) {
			if (out->cap - out->len >= 2)
				caller->fault = "there is room, yet the machine takes no octets";
			caller_keep(&caller->got, span_of(out->ptr, out->len));
			out->len = 0;
		}
		caller->raw = span_after(caller->raw, count - raw.len);
		free(copy);
	}
	if (err)
		caller->closed = true;
}

/* --- logging in --- */

static void open_listing(const struct caller *caller, struct pop_listing *listing)
{
	if (pop_listing_open(span_of(caller->listing, caller->listing_size), listing) != ERR_NONE)
		abort();
}

static void answer_listing(struct caller *caller)
{
	struct pop_listing listing = caller->server.listing;
	if (listing.octets)
		caller->fault = "the machine asks for the listing it has";
	open_listing(caller, &listing);
	pop_server_listed(&caller->server, &listing);
}

static void answer_marks(struct caller *caller)
{
	if (caller->marks)
		caller->fault = "the machine asks for the marks it has";
	free(caller->marks);
	caller->marks = calloc(1, (caller->script->message_count + 7) / 8);
	if (!caller->marks)
		abort();
	pop_server_marks(&caller->server, caller->marks);
}

static void give_text(struct caller *caller)
{
	size_t count = caller_piece(caller, caller->server.ask.text.len);
	caller_keep(&caller->got, span_first(caller->server.ask.text, count));
	pop_server_text_sent(&caller->server, count);
}

static void log_in(struct caller *caller, struct span user, struct span secret)
{
	const struct script *script = caller->script;
	bool good = span_equal(user, buf_span(&script->user)) && span_equal(secret, buf_span(&script->pass));
	int err = good ? caller->login_err : ERR_CREDENTIALS;
	if (err) {
		pop_server_not_logged_in(&caller->server, err);
		return;
	}
	struct pop_listing listing = {.count = script->message_count};
	for (uint32_t i = 0; i < listing.count; i++)
		listing.total += caller->octets[i];
	if (caller_coin(caller))
		open_listing(caller, &listing);
	pop_server_logged_in(&caller->server, &listing);
}

static void answer_login(struct caller *caller)
{
	log_in(caller, caller->server.ask.user, caller->server.ask.secret);
}

static void answer_plain(struct caller *caller, struct span message)
{
	unsigned nuls = 0;
	for (size_t i = 0; i < message.len; i++)
		nuls += message.ptr[i] == '\0';
	(void)span_cut(&message, '\0'); /* another identity to act as */
	struct span user = span_cut(&message, '\0');
	if (!user.len || nuls != 2)
		pop_server_not_logged_in(&caller->server, ERR_SYNTAX);
	else
		log_in(caller, user, message);
}

static void answer_sasl(struct caller *caller, struct pop_output *out)
{
	const struct pop_ask *ask = &caller->server.ask;
	struct span mechanism = ask->mechanism;
	bool first = mechanism.len > 0;
	if (first) {
		caller->asked_user.len = 0;
		caller->login_name_known = false;
		caller->asked_secret.len = 0;
		caller_keep(&caller->asked_secret, mechanism);
	}
	bool plain = span_equal(buf_span(&caller->asked_secret), SPAN("PLAIN"));
	if (first && !ask->has_initial) {
		if (pop_server_challenge(&caller->server, plain ? SPAN("") : SPAN("Username:"), out) !=
		    ERR_NONE)
			caller->fault = "a challenge does not fit";
	} else if (plain) {
		answer_plain(caller, ask->secret);
	} else if (first) {
		pop_server_not_logged_in(&caller->server, ERR_SYNTAX); /* LOGIN is server-first */
	} else if (!caller->login_name_known) {
		caller_keep(&caller->asked_user, ask->secret);
		caller->login_name_known = true;
		if (pop_server_challenge(&caller->server, SPAN("Password:"), out) != ERR_NONE)
			caller->fault = "a challenge does not fit";
	} else {
		log_in(caller, buf_span(&caller->asked_user), ask->secret);
	}
}

/* --- the end --- */

static void answer_commit(struct caller *caller)
{
	uint32_t count = caller->script->message_count, marked = 0;
	caller->removed = calloc(count + 1, sizeof *caller->removed);
	if (!caller->removed)
		abort();
	for (uint32_t i = 0; i < count; i++) {
		bool mark = caller->marks && caller->marks[i / 8] >> (i % 8) & 1;
		marked += mark;
		caller->removed[i] = mark && (!caller->commit_err || marked <= caller->commit_removed);
	}
	if (marked != caller->server.marked)
		caller->fault = "the machine has miscounted its marks";
	pop_server_committed(&caller->server, caller->commit_err,
	                     caller->commit_err ? (uint32_t)caller->commit_removed : marked);
}

/* --- the pump --- */

void caller_take_output(struct caller *caller, struct pop_output *out)
{
	if (out->len > out->cap)
		caller->fault = "more octets than there is room";
	caller_keep(&caller->got, span_of(out->ptr, out->len));
	out->len = 0;
}

/* Does what the machine wants; false: it waits for the client. */
static bool fulfil(struct caller *caller, enum pop_want want, struct pop_output *out)
{
	switch (want) {
	case POP_WANT_ROOM:
		if (!out->len)
			caller->fault = "the machine wants room it has";
		caller_take_output(caller, out);
		return true;
	case POP_WANT_LOGIN:
		answer_login(caller);
		return true;
	case POP_WANT_SASL:
		caller_take_output(caller, out); /* room for a challenge */
		answer_sasl(caller, out);
		return true;
	case POP_WANT_CANCEL:
		return true;
	case POP_WANT_BODY:
		answer_body(caller);
		return true;
	case POP_WANT_OCTETS:
		give_octets(caller, out);
		return true;
	case POP_WANT_LISTING:
		answer_listing(caller);
		return true;
	case POP_WANT_MARKS:
		answer_marks(caller);
		return true;
	case POP_WANT_TEXT:
		caller_take_output(caller, out);
		give_text(caller);
		return true;
	case POP_WANT_COMMIT:
		answer_commit(caller);
		return true;
	case POP_WANT_CLOSE:
		caller->closed = true;
		return false;
	case POP_WANT_INPUT:
	case POP_WANT_TLS:
		return false;
	}
	return false;
}

static bool waits_for_answer(enum pop_want want)
{
	return want == POP_WANT_LOGIN || want == POP_WANT_SASL || want == POP_WANT_BODY ||
	       want == POP_WANT_OCTETS || want == POP_WANT_COMMIT || want == POP_WANT_LISTING ||
	       want == POP_WANT_MARKS || want == POP_WANT_TEXT;
}

static bool pop_caller_step(struct caller *caller, struct pop_input *in, struct pop_output *out)
{
	caller->want = pop_server_step(&caller->server, in, out, caller->now_ms);
	if (waits_for_answer(caller->want) && caller_coin(caller) && /* it repeats itself until answered */
	    pop_server_step(&caller->server, in, out, caller->now_ms) != caller->want)
		caller->fault = "the machine changes its mind before it is answered";
	return !caller->fault && fulfil(caller, caller->want, out);
}

/* Runs the machine on what it left over and `fresh`, until it waits for the client. */
static void run(struct caller *caller, struct span fresh)
{
	caller_keep(&caller->in, fresh);
	char *memory = caller_copy(buf_span(&caller->in));
	struct pop_input in = {memory, caller->in.len};
	size_t cap = caller->script->lmtp ? POP_REPLY_MAX + LMTP_DOMAIN_MAX : POP_REPLY_MAX;
	if (caller->way.split == SPLIT_NONE)
		cap = 65536;
	else if (caller_coin(caller))
		cap += caller_piece(caller, 8192);
	struct pop_output out = {caller_copy(span_of(NULL, 0)), 0, cap};
	free(out.ptr);
	out.ptr = malloc(cap);
	if (!out.ptr)
		abort();
	bool (*step)(struct caller *, struct pop_input *, struct pop_output *) =
	    caller->script->lmtp ? lmtp_caller_step : pop_caller_step;
	while (!caller->fault && !caller->closed && step(caller, &in, &out))
		continue;
	caller_take_output(caller, &out);
	caller->in.len = 0;
	caller_keep(&caller->in, span_of(in.ptr, in.len));
	free(memory);
	free(out.ptr);
}

void caller_feed(struct caller *caller, struct span octets)
{
	while (octets.len && !caller->closed && !caller->fault) {
		size_t count = caller_piece(caller, octets.len);
		run(caller, span_first(octets, count));
		octets = span_after(octets, count);
	}
}

bool caller_start_tls(struct caller *caller)
{
	if (caller->want != POP_WANT_TLS || caller->in.len)
		return false;
	pop_server_tls(&caller->server);
	run(caller, SPAN(""));
	return true;
}

void caller_event(struct caller *caller, const struct step *step)
{
	if (caller->script->lmtp) {
		if (!lmtp_caller_event(caller, step))
			caller->fault = "no event";
		return;
	}
	switch (step->kind) {
	case STEP_TIME:
		caller->now_ms += step->number * 1000;
		if (pop_server_expired(&caller->server, caller->now_ms))
			caller->closed = true;
		break;
	case STEP_FAIL_LOGIN:
		caller->login_err = step->err;
		break;
	case STEP_FAIL_COMMIT:
		caller->commit_err = step->err;
		caller->commit_removed = step->number;
		break;
	case STEP_FAIL_BODY:
		caller->body_err[step->number - 1] = step->err;
		break;
	case STEP_ALTER:
		caller->body[step->number - 1] = step;
		break;
	default:
		caller->fault = "no event";
		break;
	}
}

/* --- beginning and end --- */

static void make_listing(struct caller *caller)
{
	const struct script *script = caller->script;
	uint32_t count = script->message_count;
	caller->octets = calloc(count + 1, sizeof *caller->octets);
	caller->uid_at = calloc(count + 1, sizeof *caller->uid_at);
	caller->body_err = calloc(count + 1, sizeof *caller->body_err);
	caller->body = calloc(count + 1, sizeof *caller->body);
	if (!caller->octets || !caller->uid_at || !caller->body_err || !caller->body)
		abort();
	buf_init(&caller->uids, SCRIPT_TEXT_MAX);
	for (uint32_t i = 0; i < count; i++) {
		struct buf wire;
		buf_init(&wire, 2 * SCRIPT_TEXT_MAX);
		wire_form(buf_span(&script->messages[i].raw), false, &wire);
		caller->octets[i] = wire.len;
		buf_finish(&wire);
		caller_keep(&caller->uids, buf_span(&script->messages[i].uid));
		caller->uid_at[i + 1] = (uint32_t)caller->uids.len;
	}
	struct pop_source source = {count, caller->octets, caller->uid_at, caller->uids.ptr};
	caller->listing_size = pop_listing_size(&source);
	caller->listing = malloc(caller->listing_size);
	if (!caller->listing)
		abort();
	pop_listing_make(&source, caller->listing);
}

void caller_init(struct caller *caller, const struct script *script, const struct caller_way *way, bool tls)
{
	*caller = (struct caller){.script = script, .way = *way};
	caller->conf = (struct pop_server_conf){
	    .mechanisms = script->mechanisms.ptr,
	    .bad_commands_max = (uint32_t)script->bad_commands,
	    .login_timeout_ms = (uint32_t)script->login_timeout_s * 1000,
	    .autologout_ms = (uint32_t)script->autologout_s * 1000,
	};
	buf_init(&caller->in, SCRIPT_TEXT_MAX);
	buf_init(&caller->got, 4 * SCRIPT_TEXT_MAX);
	buf_init(&caller->asked_user, POP_AUTH_LINE_MAX);
	buf_init(&caller->asked_secret, POP_AUTH_LINE_MAX);
	make_listing(caller);
	if (script->lmtp)
		lmtp_caller_init(caller);
	else
		pop_server_init(&caller->server, &caller->conf, tls, !tls && !script->no_stls,
		                !script->no_clear, 0);
	run(caller, SPAN(""));
}

void caller_finish(struct caller *caller)
{
	lmtp_caller_finish(caller);
	buf_finish(&caller->in);
	buf_finish(&caller->got);
	buf_finish(&caller->asked_user);
	buf_finish(&caller->asked_secret);
	buf_finish(&caller->uids);
	free(caller->listing);
	free(caller->octets);
	free(caller->uid_at);
	free(caller->body_err);
	free(caller->body);
	free(caller->marks);
	free(caller->removed);
}
