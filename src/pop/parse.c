/* SPDX-License-Identifier: MIT */
/* The command parser. Runs in the worker on octets from the network: trusts none. */
#include "pop/parse.h"

#include "base/num.h"

static struct span trim_end(struct span text)
{
	while (text.len && text.ptr[text.len - 1] == ' ')
		text.len--;
	return text;
}

static int parse_number(struct span text, uint32_t *ret)
{
	uint64_t value;
	int err = num_parse(text, UINT32_MAX, &value);
	if (err)
		return err;
	if (value == 0)
		return ERR_RANGE;
	*ret = (uint32_t)value;
	return ERR_NONE;
}

/* One or more octets, none of them a space or a control character. */
static bool is_token(struct span text)
{
	for (size_t i = 0; i < text.len; i++)
		if ((unsigned char)text.ptr[i] <= ' ' || text.ptr[i] == 0x7f)
			return false;
	return text.len > 0;
}

static int parse_two_tokens(struct span args, bool second_needed, struct pop_command *ret)
{
	ret->has_second = span_find(args, ' ') < args.len;
	ret->text = span_cut(&args, ' ');
	ret->second = args;
	if (!is_token(ret->text) || (ret->has_second && !is_token(ret->second)))
		return ERR_SYNTAX;
	return second_needed && !ret->has_second ? ERR_SYNTAX : ERR_NONE;
}

static int parse_number_lines(struct span args, struct pop_command *ret)
{
	struct span number = span_cut(&args, ' ');
	int err = num_parse(args, UINT64_MAX, &ret->lines);
	if (err == ERR_RANGE)
		ret->lines = UINT64_MAX; /* more than any message has */
	return err == ERR_SYNTAX ? err : parse_number(number, &ret->number);
}

static int parse_args(struct span args, struct pop_command *ret)
{
	switch ((enum pop_args)ret->row->args) {
	case POP_ARGS_NONE:
		return ret->bare ? ERR_NONE : ERR_SYNTAX;
	case POP_ARGS_NAME:
		ret->text = args;
		return is_token(args) ? ERR_NONE : ERR_SYNTAX;
	case POP_ARGS_TEXT:
		ret->text = args;
		return ret->bare || span_find(args, '\0') < args.len ? ERR_SYNTAX : ERR_NONE;
	case POP_ARGS_MSG:
		return parse_number(args, &ret->number);
	case POP_ARGS_MSG_OR_NONE:
		return ret->bare ? ERR_NONE : parse_number(args, &ret->number);
	case POP_ARGS_MSG_LINES:
		return parse_number_lines(args, ret);
	case POP_ARGS_MECHANISM:
		return ret->bare ? ERR_NONE : parse_two_tokens(args, false, ret);
	case POP_ARGS_NAME_DIGEST:
		return parse_two_tokens(args, true, ret);
	}
	return ERR_SYNTAX;
}

int pop_parse(struct span line, struct pop_command *ret)
{
	struct span args = line;
	struct span word = span_cut(&args, ' ');
	*ret = (struct pop_command){.row = pop_verb_find(word)};
	if (!ret->row)
		return ERR_UNSUPPORTED;
	if (ret->row->args != POP_ARGS_TEXT)
		args = trim_end(args);
	ret->bare = args.len == 0;
	return parse_args(args, ret);
}
