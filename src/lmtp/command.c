/* SPDX-License-Identifier: MIT */
/* The LMTP command table and parser. Runs in the worker on octets from the network: trusts none. */
#include "lmtp/command.h"

#include "base/num.h"

#define TRANSACTION (LMTP_NEEDS_LHLO | LMTP_NEEDS_MAIL)

const struct lmtp_verb_row lmtp_verbs[LMTP_VERBS] = {
    [LMTP_LHLO] = {"LHLO", LMTP_ARGS_DOMAIN, 0,                                    "LHLO domain",       "2033 4.1"     },
    [LMTP_MAIL] = {"MAIL", LMTP_ARGS_FROM,   LMTP_NEEDS_LHLO | LMTP_NEEDS_NO_MAIL,
                   "MAIL FROM:<address> [SIZE=n] [BODY=7BIT|8BITMIME] [SMTPUTF8]",                      "5321 4.1.1.2" },
    [LMTP_RCPT] = {"RCPT", LMTP_ARGS_TO,     TRANSACTION,                          "RCPT TO:<address>", "5321 4.1.1.3" },
    [LMTP_DATA] = {"DATA", LMTP_ARGS_NONE,   TRANSACTION | LMTP_NEEDS_RCPT,        "DATA",              "2033 4.2"     },
    [LMTP_RSET] = {"RSET", LMTP_ARGS_NONE,   0,                                    "RSET",              "5321 4.1.1.5" },
    [LMTP_NOOP] = {"NOOP", LMTP_ARGS_TEXT,   0,                                    "NOOP [text]",       "5321 4.1.1.9" },
    [LMTP_VRFY] = {"VRFY", LMTP_ARGS_TEXT,   0,                                    "VRFY text",         "5321 4.1.1.6" },
    [LMTP_HELP] = {"HELP", LMTP_ARGS_TEXT,   0,                                    "HELP [text]",       "5321 4.1.1.8" },
    [LMTP_QUIT] = {"QUIT", LMTP_ARGS_NONE,   0,                                    "QUIT",              "5321 4.1.1.10"},
    [LMTP_HELO] = {"HELO", LMTP_ARGS_TEXT,   0,                                    "LHLO domain",       "2033 4.1"     },
    [LMTP_EHLO] = {"EHLO", LMTP_ARGS_TEXT,   0,                                    "LHLO domain",       "2033 4.1"     },
};

static const struct lmtp_verb_row *find(struct span word)
{
	for (size_t i = 0; i < LMTP_VERBS; i++)
		if (span_equal_nocase(word, span_str(lmtp_verbs[i].word)))
			return &lmtp_verbs[i];
	return NULL;
}

static bool is_control(char c)
{
	return (unsigned char)c < ' ' || c == 0x7f;
}

static bool has_beyond_ascii(struct span text)
{
	for (size_t i = 0; i < text.len; i++)
		if ((unsigned char)text.ptr[i] >= 0x80)
			return true;
	return false;
}

/* Letters, digits, and what else a domain or an address literal is made of: it is written into messages. */
static bool is_domain(struct span text)
{
	for (size_t i = 0; i < text.len; i++) {
		char c = text.ptr[i];
		bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
		if (!letter && span_find(SPAN(".-_:[]"), c) == 6 && (unsigned char)c < 0x80)
			return false;
	}
	return text.len > 0;
}

/* Length of "<...>" at the front, brackets included, with quoted strings as RFC 5321 has them; 0 if it is
 * none. */
static size_t path_length(struct span text)
{
	bool quoted = false;
	if (!text.len || text.ptr[0] != '<')
		return 0;
	for (size_t i = 1; i < text.len; i++) {
		char c = text.ptr[i];
		if (is_control(c) || (!quoted && (c == ' ' || c == '<')))
			return 0;
		if (quoted && c == '\\' && i + 1 < text.len && !is_control(text.ptr[i + 1]))
			i++;
		else if (c == '"')
			quoted = !quoted;
		else if (c == '>' && !quoted)
			return i + 1;
	}
	return 0;
}

/* Cuts the mailbox off the front: FROM:<x> or TO:<x>; a source route is dropped (RFC 5321 section 4.1.1.3).
 */
static int parse_path(struct span *args, struct span keyword, bool may_be_empty, struct lmtp_command *ret)
{
	if (args->len < keyword.len || !span_equal_nocase(span_first(*args, keyword.len), keyword))
		return ERR_SYNTAX;
	*args = span_after(*args, keyword.len);
	while (args->len && args->ptr[0] == ' ') /* "TO: <x>" is seen in the wild */
		*args = span_after(*args, 1);
	size_t len = path_length(*args);
	if (!len)
		return ERR_SYNTAX;
	struct span path = span_of(args->ptr + 1, len - 2);
	if (path.len && path.ptr[0] == '@')
		(void)span_cut(&path, ':');
	*args = span_after(*args, len);
	ret->text = path;
	ret->text_is_utf8 = has_beyond_ascii(path);
	return path.len || may_be_empty ? ERR_NONE : ERR_SYNTAX;
}

static int parse_parameter(struct span parameter, struct lmtp_command *ret)
{
	struct span value = parameter;
	struct span name = span_cut(&value, '=');
	if (span_equal_nocase(name, SPAN("SIZE"))) {
		int err = num_parse(value, UINT64_MAX, &ret->size);
		if (err == ERR_RANGE) /* more than any limit */
			ret->size = UINT64_MAX;
		return err == ERR_RANGE ? ERR_NONE : err;
	}
	if (span_equal_nocase(name, SPAN("BODY"))) {
		bool known =
		    span_equal_nocase(value, SPAN("8BITMIME")) || span_equal_nocase(value, SPAN("7BIT"));
		return known ? ERR_NONE : ERR_RANGE;
	}
	if (!span_equal_nocase(parameter, SPAN("SMTPUTF8")))
		return ERR_RANGE;
	ret->utf8 = true;
	return ERR_NONE;
}

static int parse_parameters(struct span args, struct lmtp_command *ret)
{
	int err = ERR_NONE;
	if (args.len && args.ptr[0] != ' ')
		return ERR_SYNTAX;
	while (args.len && !err) {
		struct span one = span_cut(&args, ' ');
		if (one.len)
			err = parse_parameter(one, ret);
	}
	return err;
}

static struct span trim(struct span text)
{
	while (text.len && text.ptr[0] == ' ')
		text = span_after(text, 1);
	while (text.len && text.ptr[text.len - 1] == ' ')
		text.len--;
	return text;
}

int lmtp_parse(struct span line, struct lmtp_command *ret)
{
	struct span args = line;
	struct span word = span_cut(&args, ' ');
	int err;
	args = trim(args);
	*ret = (struct lmtp_command){.row = find(word)};
	if (!ret->row)
		return ERR_UNSUPPORTED;
	switch ((enum lmtp_args)ret->row->args) {
	case LMTP_ARGS_NONE:
		return args.len ? ERR_SYNTAX : ERR_NONE;
	case LMTP_ARGS_TEXT:
		return ERR_NONE;
	case LMTP_ARGS_DOMAIN:
		ret->text = args;
		return is_domain(args) ? ERR_NONE : ERR_SYNTAX;
	case LMTP_ARGS_FROM:
		err = parse_path(&args, SPAN("FROM:"), true, ret);
		return err ? err : parse_parameters(args, ret);
	case LMTP_ARGS_TO:
		err = parse_path(&args, SPAN("TO:"), false, ret);
		return err ? err : args.len ? ERR_RANGE : ERR_NONE; /* no parameter of RCPT is offered */
	}
	return ERR_SYNTAX;
}
