/* SPDX-License-Identifier: MIT */
/* Fuzzes pop/parse: one command line from the network, without its end. */
#include "base/err.h"
#include "pop/parse.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_within(struct span part, const char *line, size_t size)
{
	if (part.len && (part.ptr < line || part.ptr + part.len > line + size))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *line = malloc(size ? size : 1);
	struct pop_command command;
	if (!line)
		abort();
	if (size)
		memcpy(line, data, size);
	int err = pop_parse(span_of(line, size), &command);
	if ((err == ERR_UNSUPPORTED) != !command.row)
		abort();
	if (err != ERR_NONE && err != ERR_UNSUPPORTED && err != ERR_SYNTAX && err != ERR_RANGE)
		abort();
	if (err == ERR_NONE) {
		uint8_t args = command.row->args;
		bool numbered = args == POP_ARGS_MSG || args == POP_ARGS_MSG_LINES ||
		                (args == POP_ARGS_MSG_OR_NONE && !command.bare);
		if (numbered != (command.number != 0))
			abort();
		if (args == POP_ARGS_NAME && memchr(command.text.ptr, ' ', command.text.len))
			abort();
		check_within(command.text, line, size);
		check_within(command.second, line, size);
	}
	free(line);
	return 0;
}
