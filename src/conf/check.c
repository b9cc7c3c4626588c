/* SPDX-License-Identifier: MIT */
/* Complaints that need more than one option: settings that do not fit, and names nobody knows. */
#include "conf/option.h"

#include <string.h>

enum { NAME_MAX_COMPARED = 40 }; /* octets of a name that may be a misspelt one of ours */

/* RFC 2033 section 5: not even by mistake. */
static void check_port_25(const struct conf_listen *listen, struct conf_errors *errors)
{
	const char *colon = strrchr(listen->address, ':');
	if (listen->protocol == CONF_LMTP && colon && strcmp(colon, ":25") == 0)
		conf_complain(errors, listen->line,
		              "%s: port 25 is for SMTP; LMTP must not be served there (24 is for it)",
		              listen->address);
}

static void check_listen(const struct conf *conf, struct conf_errors *errors)
{
	if (conf->listen_count == 0)
		conf_complain(errors, 0,
		              "there is no listen section, so nothing to listen at; for example: "
		              "listen { address = \"*:110\" }");
	for (uint64_t i = 0; i < conf->listen_count; i++) {
		const struct conf_listen *listen = &conf->listen[i];
		if (listen->tls && conf->cert_count == 0)
			conf_complain(errors, listen->line,
			              "%s wants TLS, but there is no certificate section", listen->address);
		if (listen->tls && listen->protocol == CONF_LMTP)
			conf_complain(errors, listen->line, "%s: there is no TLS for LMTP", listen->address);
		check_port_25(listen, errors);
		for (uint64_t j = 0; j < i; j++)
			if (strcmp(listen->address, conf->listen[j].address) == 0)
				conf_complain(errors, listen->line, "%s is listened at already (line %u)",
				              listen->address, conf->listen[j].line);
	}
}

void conf_check_whole(const struct conf *conf, struct conf_errors *errors)
{
	check_listen(conf, errors);
	size_t len = strlen(conf->mail_root);
	const char *path = conf->mail_location + strcspn(conf->mail_location, "/");
	if (strncmp(path, conf->mail_root, len) != 0 || (len > 1 && path[len] != '/')) {
		unsigned line = conf_line(conf, "mail.location");
		conf_complain(errors, line ? line : conf_line(conf, "mail.root"),
		              "mail.location \"%s\" is not below mail.root \"%s\"", conf->mail_location,
		              conf->mail_root);
	}
}

/* Changes, insertions and deletions that make `b` of `a` (Levenshtein). */
static size_t distance(const char *a, const char *b)
{
	size_t row[NAME_MAX_COMPARED + 1];
	size_t len = strlen(b);
	if (len > NAME_MAX_COMPARED)
		return SIZE_MAX;
	for (size_t j = 0; j <= len; j++)
		row[j] = j;
	for (size_t i = 1; *a; i++, a++) {
		size_t diagonal = row[0];
		row[0] = i;
		for (size_t j = 1; j <= len; j++) {
			size_t best = diagonal + (*a != b[j - 1]);
			if (row[j] + 1 < best)
				best = row[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			diagonal = row[j];
			row[j] = best;
		}
	}
	return row[len];
}

static void take_nearer(const char *candidate, const char *name, const char **best, size_t *best_distance)
{
	size_t now = distance(candidate, name);
	if (now < *best_distance) {
		*best = candidate;
		*best_distance = now;
	}
}

/* The known name nearest to `name`, NULL when none is near. */
static const char *find_nearest(const char *section, const char *name)
{
	const char *best = NULL;
	size_t best_distance = strlen(name) / 3 + 2;
	if (!section)
		for (size_t i = 0; i < conf_section_count; i++)
			take_nearer(conf_sections[i].name, name, &best, &best_distance);
	else
		for (size_t i = 0; i < conf_row_count; i++)
			if (conf_row_in(&conf_rows[i], section))
				take_nearer(conf_option_name(&conf_rows[i]), name, &best, &best_distance);
	return best;
}

static bool is_section(const char *name)
{
	for (size_t i = 0; i < conf_section_count; i++)
		if (strcmp(conf_sections[i].name, name) == 0)
			return true;
	return false;
}

static const struct conf_row *find_elsewhere(const char *name)
{
	for (size_t i = 0; i < conf_row_count; i++)
		if (strcmp(conf_option_name(&conf_rows[i]), name) == 0)
			return &conf_rows[i];
	return NULL;
}

void conf_complain_unknown(struct conf_errors *errors, unsigned line, const char *section, const char *name)
{
	bool outside = !is_section(section);
	const char *nearest = find_nearest(outside ? NULL : section, name);
	const struct conf_row *elsewhere = find_elsewhere(name);
	char where[80] = "";
	if (!outside)
		(void)snprintf(where, sizeof where, " in section %s", section);
	if (!outside && is_section(name))
		conf_complain(errors, line, "section %s inside section %s: is a } missing before it?", name,
		              section);
	else if (elsewhere)
		conf_complain(errors, line, "there is no option %s%s; do you mean %s?", name,
		              outside ? " outside of sections" : where, elsewhere->name);
	else if (nearest)
		conf_complain(errors, line, "there is no %s %s%s; do you mean %s?",
		              outside ? "section" : "option", name, where, nearest);
	else
		conf_complain(errors, line, "there is no %s %s%s", outside ? "section" : "option", name,
		              where);
}
