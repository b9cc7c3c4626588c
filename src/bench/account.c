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

/* "name:password"; nothing and comments are fine. */
static int add_line(struct accounts *accounts, char *line)
{
	if (line[0] == '\0' || line[0] == '#')
		return ERR_NONE;
	char *colon = strchr(line, ':');
	if (!colon)
		return ERR_SYNTAX;
	*colon = '\0';
	return accounts_add(accounts, line, colon + 1);
}

int accounts_read(struct accounts *accounts, const char *path, const char *user, struct error *error)
{
	int err = ERR_NONE;
	char *line = NULL;
	size_t room = 0;
	FILE *file = fopen(path, "re");
	for (unsigned number = 1; file && !err && next_line(file, &line, &room); number++) {
		err = user ? accounts_add(accounts, user, line) : add_line(accounts, line);
		if (err == ERR_SYNTAX)
			error_set(error, "%s:%u: the line is not name:password", path, number);
		if (user)
			break;
	}
	if (!file || ferror(file)) {
		err = err_from_errno(errno);
		error_set(error, "%s: %s", path, strerror(errno));
	} else if (!err && !accounts->count) {
		err = ERR_SYNTAX;
		error_set(error, "%s: there is no %s in it", path, user ? "password" : "account");
	}
	if (line)
		secret_wipe(line, room);
	free(line);
	if (file)
		(void)fclose(file);
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
