/* SPDX-License-Identifier: MIT */
/* Reads transcripts. Runs in tests only; trusts the files of this folder, but says where they are wrong. */
#include "script/script.h"

#include "base/err.h"
#include "base/num.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct reader {
	struct script *script;
	unsigned line;
};

__attribute__((noreturn, format(printf, 2, 3))) static void fail(const struct reader *reader,
                                                                 const char *format, ...)
{
	va_list args;
	va_start(args, format);
	fprintf(stderr, "%s:%u: ", reader->script->name, reader->line);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
	exit(2);
}

/* --- text --- */

static void add(struct reader *reader, struct buf *to, struct span octets)
{
	if (buf_add(to, octets) != ERR_NONE)
		fail(reader, "too long");
}

static int hex_digit(char c)
{
	static const char digits[] = "0123456789abcdef";
	const char *at = c ? strchr(digits, c) : NULL;
	return at ? (int)(at - digits) : -1;
}

static void unescape(struct reader *reader, struct span text, struct buf *to);

/* "{N:text}": text N times. Returns the octets it takes. */
static size_t repeat(struct reader *reader, struct span text, struct buf *to)
{
	size_t end = span_find(text, '}');
	struct span what = span_first(text, end), count;
	uint64_t times;
	what = span_after(what, 1);
	count = span_cut(&what, ':');
	if (end == text.len || num_parse(count, SCRIPT_TEXT_MAX, &times) != ERR_NONE)
		fail(reader, "expected \\{N:text}");
	while (times--)
		unescape(reader, what, to);
	return end + 1;
}

/* One escape without its backslash; returns the octets it takes. */
static size_t escape(struct reader *reader, struct span text, struct buf *to)
{
	static const char names[] = "rnts\\", octets[] = "\r\n\t \\";
	const char *simple = text.len && text.ptr[0] ? strchr(names, text.ptr[0]) : NULL;
	if (simple) {
		add(reader, to, span_of(octets + (simple - names), 1));
		return 1;
	}
	if (text.len && text.ptr[0] == '{')
		return repeat(reader, text, to);
	int high = text.len > 2 && text.ptr[0] == 'x' ? hex_digit(text.ptr[1]) : -1;
	int low = high >= 0 ? hex_digit(text.ptr[2]) : -1;
	if (low < 0)
		fail(reader, "unknown escape");
	char octet = (char)(high << 4 | low);
	add(reader, to, span_of(&octet, 1));
	return 3;
}

static void unescape(struct reader *reader, struct span text, struct buf *to)
{
	while (text.len) {
		size_t plain = span_find(text, '\\');
		add(reader, to, span_first(text, plain));
		text = span_after(text, plain);
		if (text.len)
			text = span_after(text, 1 + escape(reader, span_after(text, 1), to));
	}
}

static uint64_t number(struct reader *reader, struct span text)
{
	uint64_t value;
	if (num_parse(text, UINT32_MAX, &value) != ERR_NONE)
		fail(reader, "expected a number, not '%.*s'", (int)text.len, text.ptr);
	return value;
}

static uint64_t message_number(struct reader *reader, struct span text)
{
	uint64_t value = number(reader, text);
	if (value == 0 || value > reader->script->message_count)
		fail(reader, "there is no message %.*s", (int)text.len, text.ptr);
	return value;
}

/* --- directives --- */

static struct message *add_message(struct reader *reader)
{
	struct script *script = reader->script;
	if (script->message_count == SCRIPT_MESSAGES_MAX)
		fail(reader, "too many messages");
	struct message *message = &script->messages[script->message_count++];
	buf_init(&message->raw, SCRIPT_TEXT_MAX);
	buf_init(&message->uid, 256);
	(void)buf_addf(&message->uid, "%u.M1.example", 1700000000u + script->message_count);
	return message;
}

/* "COUNT OCTETS": messages with a header, then lines of 64 octets, one in seven with a dot in front. */
static void add_messages(struct reader *reader, struct span text)
{
	struct span first = span_cut(&text, ' ');
	uint64_t count = number(reader, first), octets = number(reader, text);
	while (count--) {
		struct message *message = add_message(reader);
		(void)buf_addf(&message->raw, "Subject: message %u\n\n", reader->script->message_count);
		while (message->raw.len < octets)
			(void)buf_addf(&message->raw, "%s%062zu\n", message->raw.len % 7 ? "-" : ".",
			               message->raw.len);
		message->raw.len = octets;
	}
}

static void set_over(struct reader *reader, struct span text)
{
	static const char *const names[] = {"plain", "stls", "tls"};
	reader->script->over = 0;
	while (text.len) {
		struct span one = span_cut(&text, ' ');
		unsigned i = 0;
		while (i < 3 && !span_equal(one, span_str(names[i])))
			i++;
		if (i == 3)
			fail(reader, "@over plain, stls or tls");
		reader->script->over |= 1u << i;
	}
}

static void set_text(struct reader *reader, struct buf *to, struct span text)
{
	to->len = 0;
	unescape(reader, text, to);
}

static void set_mechanisms(struct reader *reader, struct span text)
{
	set_text(reader, &reader->script->mechanisms, text);
	add(reader, &reader->script->mechanisms, SPAN("\0")); /* the machine takes a C string */
}

/* By its name for the log, with - for spaces. */
static int verdict_named(struct reader *reader, struct span name)
{
	char text[32];
	if (span_equal(name, SPAN("ok")))
		return LMTP_GOOD;
	for (int verdict = 0; span_to_text(name, text, sizeof text) && verdict < LMTP_VERDICTS; verdict++) {
		const char *known = lmtp_verdict_text((enum lmtp_verdict)verdict);
		size_t i = 0;
		while (known[i] && text[i] == (known[i] == ' ' ? '-' : known[i]))
			i++;
		if (!known[i] && !text[i])
			return verdict;
	}
	fail(reader, "unknown verdict");
}

static void add_recipient(struct reader *reader, struct span text)
{
	struct script *script = reader->script;
	if (script->recipient_count == SCRIPT_RECIPIENTS_MAX)
		fail(reader, "too many recipients");
	struct recipient *recipient = &script->recipients[script->recipient_count++];
	buf_init(&recipient->address, 512);
	unescape(reader, span_cut(&text, ' '), &recipient->address);
	recipient->verdict = text.len ? verdict_named(reader, text) : LMTP_GOOD;
}

static void read_directive(struct reader *reader, struct span text)
{
	struct script *script = reader->script;
	struct message *last = script->message_count ? &script->messages[script->message_count - 1] : NULL;
	struct span word = span_cut(&text, ' ');
	if (span_equal(word, SPAN("user")))
		set_text(reader, &script->user, text);
	else if (span_equal(word, SPAN("pass")))
		set_text(reader, &script->pass, text);
	else if (span_equal(word, SPAN("mechanisms")))
		set_mechanisms(reader, text);
	else if (span_equal(word, SPAN("message")))
		unescape(reader, text, &add_message(reader)->raw);
	else if (span_equal(word, SPAN("messages")))
		add_messages(reader, text);
	else if (span_equal(word, SPAN("+")) && last)
		unescape(reader, text, &last->raw);
	else if (span_equal(word, SPAN("uid")) && last)
		set_text(reader, &last->uid, text);
	else if (span_equal(word, SPAN("over")))
		set_over(reader, text);
	else if (span_equal(word, SPAN("no-stls")))
		script->no_stls = true;
	else if (span_equal(word, SPAN("no-clear")))
		script->no_clear = true;
	else if (span_equal(word, SPAN("whole")))
		script->whole = true;
	else if (span_equal(word, SPAN("bad-commands")))
		script->bad_commands = number(reader, text);
	else if (span_equal(word, SPAN("login-timeout")))
		script->login_timeout_s = number(reader, text);
	else if (span_equal(word, SPAN("autologout")))
		script->autologout_s = number(reader, text);
	else if (span_equal(word, SPAN("recipient")))
		add_recipient(reader, text);
	else if (span_equal(word, SPAN("message-max")))
		script->message_max = number(reader, text);
	else if (span_equal(word, SPAN("defer")))
		script->defer = true;
	else if (!span_equal(word, SPAN("machine")))
		fail(reader, "unknown directive");
}

/* --- steps --- */

static struct step *add_step(struct reader *reader, enum step_kind kind)
{
	struct script *script = reader->script;
	if (script->step_count == SCRIPT_STEPS_MAX)
		fail(reader, "too many steps");
	struct step *step = &script->steps[script->step_count++];
	*step = (struct step){.kind = kind, .line = reader->line};
	buf_init(&step->text, SCRIPT_TEXT_MAX);
	return step;
}

static void add_text_step(struct reader *reader, enum step_kind kind, struct span text, struct span end)
{
	struct step *step = add_step(reader, kind);
	unescape(reader, text, &step->text);
	add(reader, &step->text, end);
}

static void read_deleted(struct reader *reader, struct span text)
{
	struct step *step = add_step(reader, STEP_DELETED);
	for (uint32_t i = 0; i < reader->script->message_count; i++)
		add(reader, &step->text, SPAN("\0"));
	while (text.len) {
		struct span one = span_cut(&text, ' ');
		step->text.ptr[message_number(reader, one) - 1] = 1;
	}
}

static void read_delivered(struct reader *reader, struct span text)
{
	struct step *step = add_step(reader, STEP_DELIVERED);
	while (text.len) {
		unescape(reader, span_cut(&text, ' '), &step->text);
		add(reader, &step->text, SPAN("\n"));
	}
}

/* What happens beside the conversation. */
static void read_event(struct reader *reader, struct span text)
{
	struct span word = span_cut(&text, ' ');
	if (span_equal(word, SPAN("tls")))
		(void)add_step(reader, STEP_TLS);
	else if (span_equal(word, SPAN("closed")))
		(void)add_step(reader, STEP_CLOSED);
	else if (span_equal(word, SPAN("cut-off")))
		(void)add_step(reader, STEP_CUT_OFF);
	else if (span_equal(word, SPAN("leaves")))
		(void)add_step(reader, STEP_LEAVES);
	else if (span_equal(word, SPAN("deleted")))
		read_deleted(reader, text);
	else if (span_equal(word, SPAN("delivered")))
		read_delivered(reader, text);
	else if (span_equal(word, SPAN("holds")))
		add_text_step(reader, STEP_HOLDS, text, SPAN(""));
	else
		fail(reader, "unknown event");
}

static int error_named(struct reader *reader, struct span name)
{
	static const struct {
		const char *name;
		int err;
	} rows[] = {
	    {"gone",      ERR_NOTFOUND  },
	    {"replaced",  ERR_CHANGED   },
	    {"directory", ERR_NOTREGULAR},
	    {"denied",    ERR_DENIED    },
	    {"io",        ERR_IO        },
	    {"nospace",   ERR_NOSPACE   },
	    {"busy",      ERR_BUSY      },
	    {"crowded",   ERR_CROWDED   },
	    {"readonly",  ERR_READONLY  },
	    {"corrupt",   ERR_CORRUPT   },
	    {"timeout",   ERR_TIMEOUT   },
	    {"full",      ERR_FULL      },
	    {"ok",        ERR_NONE      },
	};
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
		if (span_equal(name, span_str(rows[i].name)))
			return rows[i].err;
	fail(reader, "unknown fault");
}

static void read_fault(struct reader *reader, struct span text)
{
	struct span word = span_cut(&text, ' '), first = span_cut(&text, ' ');
	struct step *step;
	if (span_equal(word, SPAN("login"))) {
		step = add_step(reader, STEP_FAIL_LOGIN);
		step->err = error_named(reader, first);
	} else if (span_equal(word, SPAN("commit"))) {
		step = add_step(reader, STEP_FAIL_COMMIT);
		step->err = error_named(reader, first);
		step->number = number(reader, text);
	} else if (span_equal(word, SPAN("body"))) {
		step = add_step(reader, STEP_FAIL_BODY);
		step->number = message_number(reader, first);
		step->err = error_named(reader, text);
	} else if (span_equal(word, SPAN("alter"))) {
		step = add_step(reader, STEP_ALTER);
		step->number = message_number(reader, first);
		unescape(reader, text, &step->text);
	} else if (span_equal(word, SPAN("data"))) {
		step = add_step(reader, STEP_FAIL_DATA);
		step->err = verdict_named(reader, first);
	} else if (span_equal(word, SPAN("write"))) {
		step = add_step(reader, STEP_FAIL_WRITE);
		step->err = verdict_named(reader, first);
	} else if (span_equal(word, SPAN("delivery"))) {
		step = add_step(reader, STEP_FAIL_ONE);
		unescape(reader, first, &step->text);
		step->err = verdict_named(reader, text);
	} else {
		fail(reader, "unknown fault");
	}
}

static void read_time(struct reader *reader, struct span text)
{
	if (text.len && text.ptr[text.len - 1] == 's')
		text.len--;
	add_step(reader, STEP_TIME)->number = number(reader, text);
}

static void read_line(struct reader *reader, struct span line)
{
	if (line.len == 0 || line.ptr[0] == '#')
		return;
	if (line.ptr[0] == '@') {
		if (reader->script->step_count)
			fail(reader, "directives come before the conversation");
		read_directive(reader, span_after(line, 1));
		return;
	}
	if (line.ptr[0] == '!') {
		read_fault(reader, span_after(line, 1));
		return;
	}
	struct span mark = span_cut(&line, ' ');
	if (span_equal(mark, SPAN("C:")))
		add_text_step(reader, STEP_SEND, line, SPAN("\r\n"));
	else if (span_equal(mark, SPAN("c:")))
		add_text_step(reader, STEP_SEND, line, SPAN(""));
	else if (span_equal(mark, SPAN("S:")))
		add_text_step(reader, STEP_LINE, line, SPAN("\r\n"));
	else if (span_equal(mark, SPAN("S*")))
		add_text_step(reader, STEP_PREFIX, line, SPAN(""));
	else if (span_equal(mark, SPAN("S%")))
		add_step(reader, STEP_MESSAGE)->number = message_number(reader, line);
	else if (span_equal(mark, SPAN("T:")))
		read_time(reader, line);
	else if (span_equal(mark, SPAN("=")))
		read_event(reader, line);
	else
		fail(reader, "a line begins with C: c: S: S* S%% T: = ! @ or #");
}

/* --- files --- */

static struct script *script_new(const char *path)
{
	struct script *script = calloc(1, sizeof *script);
	if (!script)
		abort();
	const char *slash = strrchr(path, '/');
	script->name = slash ? slash + 1 : path;
	const char *dot = strrchr(script->name, '.');
	script->lmtp = dot && strcmp(dot, ".lmtp") == 0;
	script->messages = calloc(SCRIPT_MESSAGES_MAX, sizeof *script->messages);
	script->steps = calloc(SCRIPT_STEPS_MAX, sizeof *script->steps);
	script->recipients = calloc(SCRIPT_RECIPIENTS_MAX, sizeof *script->recipients);
	if (!script->messages || !script->steps || !script->recipients)
		abort();
	buf_init(&script->user, 1024);
	buf_init(&script->pass, 1024);
	buf_init(&script->mechanisms, 256);
	(void)buf_addf(&script->user, "alice");
	(void)buf_addf(&script->pass, "sesame");
	(void)buf_addf(&script->mechanisms, "PLAIN LOGIN");
	script->over = script->lmtp ? OVER_PLAIN : OVER_PLAIN | OVER_STLS | OVER_TLS;
	script->bad_commands = 10;
	script->login_timeout_s = 60;
	script->autologout_s = 600;
	return script;
}

struct script *script_read(const char *path)
{
	struct reader reader = {.script = script_new(path)};
	char *text = NULL;
	size_t size = 0;
	FILE *file = fopen(path, "rb");
	if (!file) {
		perror(path);
		exit(2);
	}
	for (ssize_t len; (len = getline(&text, &size, file)) > 0;) {
		reader.line++;
		if (text[len - 1] == '\n')
			len--;
		read_line(&reader, span_of(text, (size_t)len));
	}
	free(text);
	(void)fclose(file);
	if (!reader.script->step_count)
		fail(&reader, "no conversation");
	return reader.script;
}

void script_free(struct script *script)
{
	for (uint32_t i = 0; i < script->message_count; i++) {
		buf_finish(&script->messages[i].raw);
		buf_finish(&script->messages[i].uid);
	}
	for (uint32_t i = 0; i < script->step_count; i++)
		buf_finish(&script->steps[i].text);
	for (uint32_t i = 0; i < script->recipient_count; i++)
		buf_finish(&script->recipients[i].address);
	free(script->recipients);
	buf_finish(&script->user);
	buf_finish(&script->pass);
	buf_finish(&script->mechanisms);
	free(script->messages);
	free(script->steps);
	free(script);
}
