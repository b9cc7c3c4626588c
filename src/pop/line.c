/* SPDX-License-Identifier: MIT */
/* Line framing. Runs in the worker on octets from the network: trusts none. */
#include "pop/line.h"

int pop_line_cut(struct span *in, size_t max, struct span *ret_line)
{
	struct span window = span_first(*in, in->len < max ? in->len : max);
	size_t at = span_find(window, '\n');
	if (at == window.len)
		return in->len < max ? ERR_AGAIN : ERR_FULL;
	size_t len = at && in->ptr[at - 1] == '\r' ? at - 1 : at;
	*ret_line = span_first(*in, len);
	*in = span_after(*in, at + 1);
	return ERR_NONE;
}

bool pop_line_skip(struct span *in)
{
	size_t at = span_find(*in, '\n');
	bool found = at < in->len;
	*in = span_after(*in, found ? at + 1 : at);
	return found;
}

bool pop_line_resume(struct pop_input *in, bool *skipping)
{
	struct span rest = span_of(in->ptr, in->len);
	*skipping = *skipping && !pop_line_skip(&rest);
	pop_input_keep(in, rest);
	return !*skipping;
}

int pop_line_take(struct pop_input *in, size_t max, bool *skipping, struct span *ret_line)
{
	struct span rest = span_of(in->ptr, in->len);
	int err = pop_line_cut(&rest, max, ret_line);
	if (err == ERR_FULL)
		*skipping = !pop_line_skip(&rest);
	pop_input_keep(in, rest);
	return err;
}
