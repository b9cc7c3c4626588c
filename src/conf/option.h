/* SPDX-License-Identifier: MIT */
/* The option rows and what is done to one value. Inside src/conf only. */
#ifndef CONF_OPTION_H
#define CONF_OPTION_H

#include "conf/conf.h"

enum conf_kind {
	CONF_NUMBER,   /* uint64_t */
	CONF_DURATION, /* uint64_t, seconds; "90", "90s", "15min", "24h", "7d" */
	CONF_OCTETS,   /* uint64_t; "4096", "50K", "20M", "1G" */
	CONF_BOOL,     /* bool; yes or no */
	CONF_WORD,     /* uint64_t, index into `words` */
	CONF_STRING,   /* char array */
	CONF_PATH,     /* char array; absolute, or "" */
};

struct conf_row {
	const char *name; /* "section.option" */
	enum conf_kind kind;
	size_t at, size;     /* the member of struct conf, or of the struct of a repeated section */
	const char *initial; /* the default as it would stand in the file; NULL: must be given */
	uint64_t min, max;   /* of numbers, durations and octets */
	uint64_t advised;    /* less than this gets a warning, */
	const char *advice;  /* this one */
	const char *words;   /* separated by spaces */
	const char *(*check)(const char *value); /* a complaint about text, or NULL */
	const char *doc;
};

/* A section that may stand several times fills an array, which comes with a count. */
struct conf_section {
	const char *name;
	size_t at, size, count_at; /* of repeated sections, in struct conf */
	size_t line_at;            /* in one element */
	unsigned max;              /* 0: the section stands once */
};

extern const struct conf_row conf_rows[];
extern const size_t conf_row_count;
extern const struct conf_section conf_sections[];
extern const size_t conf_section_count;

/* The option's own name, behind the section's and a dot. */
const char *conf_option_name(const struct conf_row *row);
/* Whether the row belongs to this section. */
bool conf_row_in(const struct conf_row *row, const char *section);

/* One more complaint, in the order of the lines. */
void conf_add_complaint(struct conf_errors *errors, unsigned line, bool warning, const char *text);

/* What no row can say alone: whether the settings fit together. */
void conf_check_whole(const struct conf *conf, struct conf_errors *errors);

/* Complains about a name that stands where none of the rows has it, with the likely one. */
void conf_complain_unknown(struct conf_errors *errors, unsigned line, const char *section, const char *name);

/* Takes a value as it stands in the file into the row's member of *base. ERR_SYNTAX or ERR_RANGE, and
 * what is wrong in *error; a value that is taken against advice leaves the advice there. */
int conf_value_take(const struct conf_row *row, void *base, const char *text, struct error *error);

/* Writes the value as it would stand in the file. */
void conf_value_print(const struct conf_row *row, const void *base, FILE *to);

#endif
