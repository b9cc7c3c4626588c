/* SPDX-License-Identifier: MIT */
/* The LMTP machine's caller: it knows the recipients, keeps the message and judges. Runs in tests only; what
 * the machine says is checked, not trusted. */
#include "script/caller.h"

#include "base/err.h"

#include <stdlib.h>
#include <string.h>

static enum lmtp_verdict judge_recipient(const struct script *script, struct span mailbox)
{
	for (uint32_t i = 0; i < script->recipient_count; i++)
		if (span_equal(mailbox, buf_span(&script->recipients[i].address)))
			return (enum lmtp_verdict)script->recipients[i].verdict;
	return LMTP_UNKNOWN;
}

static void answer_recipient(struct caller *caller)
{
	enum lmtp_verdict verdict = judge_recipient(caller->script, caller->lmtp.ask.mailbox);
	if (verdict == LMTP_GOOD) {
		caller_keep(&caller->accepted, caller->lmtp.ask.mailbox);
		caller_keep(&caller->accepted, SPAN("\n"));
	}
	lmtp_server_recipient(&caller->lmtp, verdict);
}

static void answer_data(struct caller *caller)
{
	caller->stored.len = caller->delivered.len = caller->judged = 0;
	lmtp_server_data(&caller->lmtp, caller->data_verdict);
}

/* Takes octets of the message, given in memory that has exactly the room it is promised. */
static void take_octets(struct caller *caller, struct pop_input *in)
{
	char *to = malloc(in->len + POP_UNDOT_HELD);
	if (!to)
		abort();
	size_t before = in->len;
	size_t len = lmtp_server_octets(&caller->lmtp, in, to);
	if (len > before + POP_UNDOT_HELD || in->len == before)
		caller->fault = "octets out of nothing, or none taken";
	caller_keep(&caller->stored, span_of(to, len));
	if (caller->write_verdict)
		lmtp_server_fail(&caller->lmtp, caller->write_verdict);
	free(to);
}

static void answer_verdict(struct caller *caller)
{
	struct span rest = span_after(buf_span(&caller->accepted), caller->judged);
	struct span address = span_cut(&rest, '\n');
	enum lmtp_verdict verdict = lmtp_server_failure(&caller->lmtp);
	if (!address.len) {
		caller->fault = "a verdict is asked for nobody";
		return;
	}
	caller->judged += address.len + 1;
	if (!verdict && caller->one_verdict && span_equal(address, buf_span(&caller->one_verdict->text)))
		verdict = (enum lmtp_verdict)caller->one_verdict->err;
	if (!verdict) {
		caller_keep(&caller->delivered, address);
		caller_keep(&caller->delivered, SPAN("\n"));
	}
	lmtp_server_verdict(&caller->lmtp, verdict);
	if (caller->judged == caller->accepted.len)
		caller->accepted.len = 0;
}

static bool waits_for_answer(enum lmtp_want want)
{
	return want == LMTP_WANT_RECIPIENT || want == LMTP_WANT_DATA || want == LMTP_WANT_VERDICT;
}

bool lmtp_caller_step(struct caller *caller, struct pop_input *in, struct pop_output *out)
{
	enum lmtp_want want = lmtp_server_step(&caller->lmtp, in, out, caller->now_ms);
	if (waits_for_answer(want) && caller_coin(caller) && /* it repeats itself until answered */
	    lmtp_server_step(&caller->lmtp, in, out, caller->now_ms) != want)
		caller->fault = "the machine changes its mind before it is answered";
	switch (want) {
	case LMTP_WANT_INPUT:
		return false;
	case LMTP_WANT_ROOM:
		if (!out->len)
			caller->fault = "the machine wants room it has";
		caller_take_output(caller, out);
		return true;
	case LMTP_WANT_RECIPIENT:
		answer_recipient(caller);
		return true;
	case LMTP_WANT_DATA:
		answer_data(caller);
		return true;
	case LMTP_WANT_OCTETS:
		take_octets(caller, in);
		return true;
	case LMTP_WANT_VERDICT:
		answer_verdict(caller);
		return true;
	case LMTP_WANT_RESET:
		caller->accepted.len = 0;
		return true;
	case LMTP_WANT_CLOSE:
		caller->closed = true;
		return false;
	}
	return false;
}

bool lmtp_caller_event(struct caller *caller, const struct step *step)
{
	switch (step->kind) {
	case STEP_TIME:
		caller->now_ms += step->number * 1000;
		caller->closed = caller->closed || lmtp_server_expired(&caller->lmtp, caller->now_ms);
		return true;
	case STEP_FAIL_DATA:
		caller->data_verdict = (enum lmtp_verdict)step->err;
		return true;
	case STEP_FAIL_WRITE:
		caller->write_verdict = (enum lmtp_verdict)step->err;
		return true;
	case STEP_FAIL_ONE:
		caller->one_verdict = step;
		return true;
	default:
		return false;
	}
}

void lmtp_caller_init(struct caller *caller)
{
	const struct script *script = caller->script;
	caller->lmtp_conf = (struct lmtp_server_conf){
	    .hostname = "mx.example.org",
	    .message_max = script->message_max,
	    .bad_commands_max = (uint32_t)script->bad_commands,
	    .idle_ms = (uint32_t)script->autologout_s * 1000,
	    .over_quota_defers = script->defer,
	};
	buf_init(&caller->accepted, SCRIPT_TEXT_MAX);
	buf_init(&caller->delivered, SCRIPT_TEXT_MAX);
	buf_init(&caller->stored, SCRIPT_TEXT_MAX);
	lmtp_server_init(&caller->lmtp, &caller->lmtp_conf, !script->no_clear, 0);
}

void lmtp_caller_finish(struct caller *caller)
{
	buf_finish(&caller->accepted);
	buf_finish(&caller->delivered);
	buf_finish(&caller->stored);
}
