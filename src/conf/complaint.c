/* SPDX-License-Identifier: MIT */
/* The complaints about a configuration: gathered all, sorted, printed. */
#include "conf/option.h"

#include <stdarg.h>
#include <string.h>

void conf_add_complaint(struct conf_errors *errors, unsigned line, bool warning, const char *text)
{
	errors->errors += !warning;
	if (errors->count == CONF_ERRORS_MAX)
		return;
	unsigned at = errors->count++;
	for (; at > 0 && errors->list[at - 1].line > line; at--)
		errors->list[at] = errors->list[at - 1];
	struct conf_complaint *complaint = &errors->list[at];
	*complaint = (struct conf_complaint){.line = line, .warning = warning};
	(void)snprintf(complaint->text, sizeof complaint->text, "%s", text);
}

void conf_complain(struct conf_errors *errors, unsigned line, const char *format, ...)
{
	char text[CONF_COMPLAINT_MAX];
	va_list args;
	va_start(args, format);
	(void)vsnprintf(text, sizeof text, format, args);
	va_end(args);
	conf_add_complaint(errors, line, false, text);
}

unsigned conf_line(const struct conf *conf, const char *name)
{
	for (size_t i = 0; i < conf_row_count; i++)
		if (strcmp(conf_rows[i].name, name) == 0)
			return conf->lines[i];
	return 0;
}

void conf_print_errors(const struct conf_errors *errors, const char *path, FILE *to)
{
	unsigned shown = 0;
	for (unsigned i = 0; i < errors->count; i++) {
		const struct conf_complaint *complaint = &errors->list[i];
		shown += !complaint->warning;
		fprintf(to, "%s:", path);
		if (complaint->line)
			fprintf(to, "%u:", complaint->line);
		fprintf(to, " %s: %s\n", complaint->warning ? "warning" : "error", complaint->text);
	}
	if (errors->errors > shown)
		fprintf(to, "%s: and %u more errors\n", path, errors->errors - shown);
}
