/* SPDX-License-Identifier: MIT */
/* Accounts. Runs in restante-bench on files of the person who started it. */
#include "bench/account.h"

#include "base/secret.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void wipe(char *text)
{
	if (text)
		secret_wipe(text, strlen(text));
	free(text);
}

int accounts_add(struct accounts *accounts, const char *name, const char *password)
{
	if (accounts->count == accounts->room) {
		size_t room = accounts->room ? accounts->room * 2 : 16;
		struct account *rows = reallocarray(accounts->rows, room, sizeof *rows);
		if (!rows)
			return ERR_NOMEM;
		accounts->rows = rows;
		accounts->room = room;
	}
	struct account account = {.name = strdup(name), .password = strdup(password)};
	if (!account.name || !account.password) {
		free(account.name);
		wipe(account.password);
		return ERR_NOMEM;
	}
	accounts->rows[accounts->count++] = account;
	return ERR_NONE;
}

static FILE *open_file(const char *path, int *ret_err, struct error *error)
{
	FILE *file = fopen(path, "re");
	if (!file) {
		*ret_err = err_from_errno(errno);
		error_set(error, "%s: %s", path, strerror(errno));
	}
	return file;
}

/* One line without its end; the memory is wiped before it is used again. False: there is none. */
static bool next_line(FILE *file, char **line, size_t *room)
{
	if (*line)
		secret_wipe(*line, *room);
	if (getline(line, room, file) <= 0)
		return false;
	(*line)[strcspn(*line, "\r\n")] = '\0';
	return true;
}

static void end_file(FILE *file, char *line, size_t room)
{
	if (line)
		secret_wipe(line, room);
	free(line);
	(void)fclose(file);
}

int accounts_read(struct accounts *accounts, const char *path, struct error *error)
{
	int err = ERR_NONE;
	FILE *file = open_file(path, &err, error);
	if (!file)
		return err;
	char *line = NULL;
	size_t room = 0;
	for (unsigned number = 1; !err && next_line(file, &line, &room); number++) {
		if (line[0] == '\0' || line[0] == '#')
			continue;
		char *colon = strchr(line, ':');
		if (colon)
			*colon = '\0';
		else
			error_set(error, "%s:%u: the line is not name:password", path, number);
		err = colon ? accounts_add(accounts, line, colon + 1) : ERR_SYNTAX;
	}
	end_file(file, line, room);
	return err;
}

int accounts_read_password(struct accounts *accounts, const char *name, const char *path, struct error *error)
{
	int err = ERR_NONE;
	FILE *file = open_file(path, &err, error);
	if (!file)
		return err;
	char *line = NULL;
	size_t room = 0;
	if (next_line(file, &line, &room)) {
		err = accounts_add(accounts, name, line);
	} else {
		error_set(error, "%s: there is no line in it", path);
		err = ERR_SYNTAX;
	}
	end_file(file, line, room);
	return err;
}

void accounts_finish(struct accounts *accounts)
{
	for (size_t i = 0; i < accounts->count; i++) {
		free(accounts->rows[i].name);
		wipe(accounts->rows[i].password);
	}
	free(accounts->rows);
	*accounts = (struct accounts){0};
}
