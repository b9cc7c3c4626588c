/* SPDX-License-Identifier: MIT */
/* The effective settings in the syntax of the file. Used by `restanted -T`. */
#include "conf/option.h"

#include <string.h>

static void print_section(const struct conf_section *section, const void *base, FILE *to)
{
	fprintf(to, "%s {\n", section->name);
	for (size_t i = 0; i < conf_row_count; i++) {
		const struct conf_row *row = &conf_rows[i];
		if (!conf_row_in(row, section->name))
			continue;
		fprintf(to, "\t# %s\n\t%s = ", row->doc, conf_option_name(row));
		conf_value_print(row, base, to);
		(void)fputc('\n', to);
	}
	fprintf(to, "}\n");
}

void conf_print(const struct conf *conf, FILE *to)
{
	for (size_t i = 0; i < conf_section_count; i++) {
		const struct conf_section *section = &conf_sections[i];
		const char *base = (const char *)conf + section->at;
		uint64_t count = 1;
		if (section->max)
			memcpy(&count, (const char *)conf + section->count_at, sizeof count);
		for (; count; count--, base += section->size)
			print_section(section, base, to);
	}
}
