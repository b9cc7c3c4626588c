/* SPDX-License-Identifier: MIT */
/*
 * Loads the configuration file with libconfuse, which is given every value as text
 * and stops at its first error. So that people hear of every error at once, values are
 * checked here (a wrong one does not stop the parser), and after an error of
 * grammar the text in question is blanked and the whole is parsed again.
 * Used by the master and `restante`; the file is an administrator's.
 */
#include "conf/option.h"

#include <confuse.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SECTIONS_MAX = 16 };

/* libconfuse's callbacks are given no pointer of ours, hence one load at a time. */
static struct {
	struct conf *conf;
	struct conf_errors values; /* of this pass */
	bool failed;               /* the grammar's error, the first of this pass: */
	unsigned line;
	char section[64];
	char text[CONF_COMPLAINT_MAX];
} now;

static const struct conf_section *find_section(const char *name)
{
	for (size_t i = 0; i < conf_section_count; i++)
		if (strcmp(conf_sections[i].name, name) == 0)
			return &conf_sections[i];
	return NULL;
}

static uint64_t *count_of(const struct conf_section *section)
{
	return (void *)((char *)now.conf + section->count_at);
}

/* Where the values of the section go that is being read; NULL when there is no room for it. */
static char *base_of(const struct conf_section *section)
{
	char *base = (char *)now.conf + section->at;
	if (section->max == 0)
		return base;
	uint64_t count = *count_of(section);
	return count < section->max ? base + count * section->size : NULL;
}

static void set_defaults(const struct conf_section *section)
{
	char *base = base_of(section);
	for (size_t i = 0; i < conf_row_count && base; i++) {
		if (!conf_row_in(&conf_rows[i], section->name))
			continue;
		now.conf->lines[i] = 0;
		if (conf_rows[i].initial)
			(void)conf_value_take(&conf_rows[i], base, conf_rows[i].initial, NULL);
	}
}

static int take_value(cfg_t *cfg, cfg_opt_t *opt)
{
	const struct conf_section *section = find_section(cfg->name);
	char *base = section ? base_of(section) : NULL;
	unsigned line = (unsigned)cfg->line;
	for (size_t i = 0; base && i < conf_row_count; i++) {
		const struct conf_row *row = &conf_rows[i];
		struct error error = {""};
		if (!conf_row_in(row, cfg->name) || strcmp(conf_option_name(row), opt->name) != 0)
			continue;
		if (now.conf->lines[i])
			conf_complain(&now.values, line, "%s is set already (line %u)", row->name,
			              now.conf->lines[i]);
		now.conf->lines[i] = line;
		int err = conf_value_take(row, base, cfg_opt_getnstr(opt, 0), &error);
		char text[sizeof error.text + 64];
		(void)snprintf(text, sizeof text, "%s: %s", row->name, error.text);
		if (err || error.text[0])
			conf_add_complaint(&now.values, line, err == ERR_NONE, text);
	}
	return 0;
}

static int end_section(cfg_t *cfg, cfg_opt_t *opt)
{
	const struct conf_section *section = find_section(opt->name);
	if (!section || section->max == 0)
		return 0;
	char *base = base_of(section);
	unsigned line = (unsigned)cfg->line;
	if (!base) {
		conf_complain(&now.values, line, "more than %u %s sections", section->max, section->name);
		return 0;
	}
	for (size_t i = 0; i < conf_row_count; i++)
		if (conf_row_in(&conf_rows[i], section->name) && !conf_rows[i].initial && !now.conf->lines[i])
			conf_complain(&now.values, line, "this %s section has no %s", section->name,
			              conf_option_name(&conf_rows[i]));
	memcpy(base + section->line_at, &line, sizeof line);
	++*count_of(section);
	set_defaults(section);
	return 0;
}

__attribute__((format(printf, 2, 0))) static void take_failure(cfg_t *cfg, const char *format, va_list args)
{
	if (now.failed)
		return;
	now.failed = true;
	now.line = (unsigned)cfg->line;
	(void)snprintf(now.section, sizeof now.section, "%s", cfg->name);
	(void)vsnprintf(now.text, sizeof now.text, format, args);
}

/* libconfuse's tables, made of ours. */
struct grammar {
	cfg_opt_t sections[SECTIONS_MAX];
	cfg_opt_t options[SECTIONS_MAX][CONF_OPTIONS_MAX];
};

static cfg_t *make_parser(struct grammar *grammar)
{
	for (size_t s = 0; s < conf_section_count; s++) {
		size_t count = 0;
		for (size_t i = 0; i < conf_row_count; i++) {
			if (!conf_row_in(&conf_rows[i], conf_sections[s].name))
				continue;
			cfg_opt_t option = CFG_STR(NULL, NULL, CFGF_NONE);
			option.name = conf_option_name(&conf_rows[i]);
			grammar->options[s][count++] = option;
		}
		grammar->options[s][count] = (cfg_opt_t)CFG_END();
		cfg_opt_t section = CFG_SEC(NULL, NULL, CFGF_NONE);
		section.name = conf_sections[s].name;
		section.subopts = grammar->options[s];
		section.flags = conf_sections[s].max ? CFGF_MULTI : CFGF_NONE;
		grammar->sections[s] = section;
	}
	grammar->sections[conf_section_count] = (cfg_opt_t)CFG_END();
	cfg_t *cfg = cfg_init(grammar->sections, CFGF_NONE);
	if (!cfg)
		return NULL;
	(void)cfg_set_error_function(cfg, take_failure);
	for (size_t s = 0; s < conf_section_count; s++)
		(void)cfg_set_validate_func(cfg, conf_sections[s].name, end_section);
	for (size_t i = 0; i < conf_row_count; i++) {
		char path[80];
		(void)snprintf(path, sizeof path, "%s", conf_rows[i].name);
		*strchr(path, '.') = '|';
		(void)cfg_set_validate_func(cfg, path, take_value);
	}
	return cfg;
}

/* One pass over the text; false when the grammar's error is in `now`. */
static bool parse(const char *text)
{
	struct grammar grammar;
	memset(now.conf, 0, sizeof *now.conf);
	now.values.count = now.values.errors = 0;
	now.failed = false;
	for (size_t s = 0; s < conf_section_count; s++)
		set_defaults(&conf_sections[s]);
	cfg_t *cfg = make_parser(&grammar);
	if (!cfg) {
		now.failed = true;
		now.line = 0;
		(void)snprintf(now.text, sizeof now.text, "%s", err_text(ERR_NOMEM));
		return false;
	}
	bool good = cfg_parse_buf(cfg, text) == CFG_SUCCESS;
	(void)cfg_free(cfg);
	return good && !now.failed;
}

static bool is_name(char c)
{
	return c == '_' || c == '-' || (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') ||
	       (c >= 'a' && c <= 'z');
}

/* The name as a word of its own on the line that begins at `line`; else the line. */
static char *find_word(char *line, const char *name)
{
	size_t len = strlen(name);
	char *end = line + strcspn(line, "\n");
	for (char *at = line; len && (at = strstr(at, name)) && at < end; at++)
		if ((at == line || !is_name(at[-1])) && !is_name(at[len]))
			return at;
	return line;
}

/* Blanks the rest of the line, with the block that begins there, but not a } of the block around.
 * False when there was nothing to blank. */
static bool blank(char *text, unsigned line, const char *name)
{
	for (unsigned i = 1; i < line && *text; text++)
		i += *text == '\n';
	unsigned depth = 0;
	bool blanked = false;
	for (char *at = find_word(text, name); *at; at++) {
		if ((*at == '}' && depth == 0 && blanked) || (*at == '\n' && depth == 0))
			break;
		depth += *at == '{';
		depth -= *at == '}' && depth > 0;
		blanked |= *at != ' ' && *at != '\t' && *at != '\n';
		if (*at != '\n')
			*at = ' ';
	}
	return blanked;
}

/* How long the comment is that begins here, without the end of its line; 0 for none. */
static size_t comment_length(const char *at)
{
	if (at[0] == '#' || (at[0] == '/' && at[1] == '/'))
		return strcspn(at, "\n");
	if (at[0] != '/' || at[1] != '*')
		return 0;
	const char *end = strstr(at + 2, "*/");
	return end ? (size_t)(end + 2 - at) : strlen(at);
}

/* libconfuse 3.3 counts lines wrongly once it has seen a comment, so it is shown none. */
static void blank_comments(char *text)
{
	char quote = 0, before = ' ';
	for (char *at = text; *at; before = *at++) {
		if (quote && *at == '\\' && at[1]) {
			at++;
		} else if (quote || *at == '"' || *at == '\'') {
			quote = !quote ? *at : *at == quote ? 0 : quote;
		} else if (strchr(" \t\r\n{}=\"'", before)) {
			for (char *end = at + comment_length(at); at < end; at++)
				if (*at != '\n')
					*at = ' ';
			if (!*at)
				return;
			if (*at == '"' || *at == '\'')
				quote = *at;
		}
	}
}

static void parse_all(char *text, struct conf_errors *ret_errors)
{
	static const char unknown[] = "no such option '";
	bool grammar_told = false;
	blank_comments(text);
	for (unsigned pass = 0; pass < CONF_ERRORS_MAX && !parse(text); pass++) {
		char name[64] = "";
		if (strncmp(now.text, unknown, sizeof unknown - 1) == 0) {
			(void)snprintf(name, sizeof name, "%.*s", (int)sizeof name - 1,
			               now.text + sizeof unknown - 1);
			name[strcspn(name, "'")] = '\0';
			conf_complain_unknown(ret_errors, now.line, now.section, name);
		} else if (!grammar_told) {
			/* The blanked text makes more of these than there are: the first is the true one. */
			conf_complain(ret_errors, now.line, "%s", now.text);
			grammar_told = true;
		}
		if (!blank(text, now.line, name))
			break;
	}
	for (unsigned i = 0; i < now.values.count; i++)
		conf_add_complaint(ret_errors, now.values.list[i].line, now.values.list[i].warning,
		                   now.values.list[i].text);
}

static int read_file(const char *path, char *text, size_t size, struct error *error)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t len = 0;
	ssize_t n = fd < 0 ? -1 : 1;
	while (n > 0 && len < size && (n = read(fd, text + len, size - len)) > 0)
		len += (size_t)n;
	int err = n < 0 ? err_from_errno(errno) : ERR_NONE;
	if (err)
		error_set(error, "%s", strerror(errno));
	if (fd >= 0)
		(void)close(fd);
	if (!err && len == size) {
		error_set(error, "longer than %zu octets", size - 1);
		err = ERR_CONFIG;
	}
	if (!err) {
		text[len] = '\0';
		if (strlen(text) != len) {
			error_set(error, "has a NUL octet in it: is it the right file?");
			err = ERR_CONFIG;
		}
	}
	return err;
}

int conf_load(const char *path, struct conf *ret, struct conf_errors *ret_errors)
{
	struct error error = {""};
	ret_errors->count = ret_errors->errors = 0;
	now.conf = ret;
	memset(ret, 0, sizeof *ret);
	char *text = malloc(CONF_FILE_MAX + 1);
	int err = text ? read_file(path, text, CONF_FILE_MAX + 1, &error) : ERR_NOMEM;
	if (err) {
		conf_complain(ret_errors, 0, "%s", text ? error.text : err_text(err));
	} else {
		parse_all(text, ret_errors);
		/* Settings that were not understood fit nothing. */
		if (ret_errors->errors == 0)
			conf_check_whole(ret, ret_errors);
		err = ret_errors->errors ? ERR_CONFIG : ERR_NONE;
	}
	free(text);
	return err;
}
