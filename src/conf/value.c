/* SPDX-License-Identifier: MIT */
/* One value of one option: taken from text and written as text. Trusts nothing. */
#include "conf/option.h"

#include "base/num.h"

#include <inttypes.h>
#include <string.h>

static const struct unit {
	const char *name;
	uint64_t seconds;
} units[] = {
    {"d",   86400},
    {"h",   3600 },
    {"min", 60   },
    {"s",   1    }
};
enum { UNITS = sizeof units / sizeof units[0], NUMBER_TEXT_MAX = 40 };

static void print_duration(uint64_t seconds, char *to, size_t size)
{
	size_t i = 0;
	while (i < UNITS - 1 && (seconds == 0 || seconds % units[i].seconds != 0))
		i++;
	(void)snprintf(to, size, "%" PRIu64 "%s", seconds / units[i].seconds, units[i].name);
}

/* "15min" -> 900; a number alone is of seconds. */
static int parse_duration(const char *text, uint64_t *ret)
{
	size_t digits = strspn(text, "0123456789");
	uint64_t each = text[digits] ? 0 : 1;
	for (size_t i = 0; i < UNITS; i++)
		if (strcmp(text + digits, units[i].name) == 0)
			each = units[i].seconds;
	uint64_t count;
	int err = each ? num_parse(span_of(text, digits), UINT64_MAX / each, &count) : ERR_SYNTAX;
	if (!err)
		*ret = count * each;
	return err;
}

/* By kind: what it is called, how it is read and how it is shown. */
static const char *number_name(enum conf_kind kind)
{
	return kind == CONF_DURATION ? "time like 90s, 15min, 24h or 7d"
	       : kind == CONF_OCTETS ? "number of octets like 4096, 50K, 20M or 1G"
	                             : "number";
}

static int parse_number(enum conf_kind kind, const char *text, uint64_t *ret)
{
	return kind == CONF_DURATION ? parse_duration(text, ret)
	       : kind == CONF_OCTETS ? num_parse_octets(span_str(text), UINT64_MAX, ret)
	                             : num_parse(span_str(text), UINT64_MAX, ret);
}

static void print_number(enum conf_kind kind, uint64_t value, char to[NUMBER_TEXT_MAX])
{
	if (kind == CONF_DURATION)
		print_duration(value, to, NUMBER_TEXT_MAX);
	else if (kind == CONF_OCTETS)
		num_print_octets(to, value);
	else
		(void)snprintf(to, NUMBER_TEXT_MAX, "%" PRIu64, value);
}

static int take_number(const struct conf_row *row, uint64_t *to, const char *text, struct error *error)
{
	uint64_t value;
	int err = parse_number(row->kind, text, &value);
	if (err == ERR_SYNTAX) {
		error_set(error, "\"%s\" is not a %s", text, number_name(row->kind));
		return err;
	}
	if (err || value < row->min || value > row->max) {
		char min[NUMBER_TEXT_MAX], max[NUMBER_TEXT_MAX];
		print_number(row->kind, row->min, min);
		print_number(row->kind, row->max, max);
		error_set(error, "%s is not between %s and %s", text, min, max);
		return ERR_RANGE;
	}
	if (value < row->advised)
		error_set(error, "%s: %s", text, row->advice);
	*to = value;
	return ERR_NONE;
}

static int take_bool(bool *to, const char *text, struct error *error)
{
	if (strcmp(text, "yes") != 0 && strcmp(text, "no") != 0) {
		error_set(error, "\"%s\" is neither yes nor no", text);
		return ERR_SYNTAX;
	}
	*to = text[0] == 'y';
	return ERR_NONE;
}

static int take_word(const struct conf_row *row, uint64_t *to, const char *text, struct error *error)
{
	struct span rest = span_str(row->words);
	for (uint64_t i = 0; rest.len; i++) {
		if (span_equal(span_cut(&rest, ' '), span_str(text))) {
			*to = i;
			return ERR_NONE;
		}
	}
	error_set(error, "\"%s\" is none of: %s", text, row->words);
	return ERR_SYNTAX;
}

static int take_text(const struct conf_row *row, char *to, const char *text, struct error *error)
{
	const char *complaint = row->check ? row->check(text) : NULL;
	if (strlen(text) >= row->size) {
		error_set(error, "is longer than %zu octets", row->size - 1);
		return ERR_RANGE;
	}
	for (const char *c = text; *c; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			complaint = "has a control character in it";
	if (row->kind == CONF_PATH && text[0] != '/' && (text[0] || !row->initial))
		complaint = "is not an absolute path";
	if (complaint) {
		error_set(error, "\"%s\" %s", text, complaint);
		return ERR_SYNTAX;
	}
	memset(to, 0, row->size);
	memcpy(to, text, strlen(text));
	return ERR_NONE;
}

int conf_value_take(const struct conf_row *row, void *base, const char *text, struct error *error)
{
	void *to = (char *)base + row->at;
	switch (row->kind) {
	case CONF_NUMBER:
	case CONF_DURATION:
	case CONF_OCTETS:
		return take_number(row, to, text, error);
	case CONF_BOOL:
		return take_bool(to, text, error);
	case CONF_WORD:
		return take_word(row, to, text, error);
	case CONF_STRING:
	case CONF_PATH:
		return take_text(row, to, text, error);
	}
	return ERR_SYNTAX;
}

static void print_text(const char *text, FILE *to)
{
	(void)fputc('"', to);
	for (const char *c = text; *c; c++) {
		if (strchr("\"\\$", *c)) /* a dollar sign would begin a variable of the environment */
			fprintf(to, "\\x%02x", (unsigned char)*c);
		else
			(void)fputc(*c, to);
	}
	(void)fputc('"', to);
}

void conf_value_print(const struct conf_row *row, const void *base, FILE *to)
{
	const void *from = (const char *)base + row->at;
	uint64_t number = 0;
	char text[NUMBER_TEXT_MAX];
	if (row->size == sizeof number)
		memcpy(&number, from, sizeof number);
	switch (row->kind) {
	case CONF_NUMBER:
	case CONF_DURATION:
	case CONF_OCTETS:
		print_number(row->kind, number, text);
		(void)fputs(text, to);
		break;
	case CONF_BOOL:
		(void)fputs(*(const bool *)from ? "yes" : "no", to);
		break;
	case CONF_WORD: {
		struct span rest = span_str(row->words), word = {NULL, 0};
		for (uint64_t i = 0; i <= number; i++)
			word = span_cut(&rest, ' ');
		(void)fwrite(word.ptr, 1, word.len, to);
		break;
	}
	case CONF_STRING:
	case CONF_PATH:
		print_text(from, to);
		break;
	}
}
