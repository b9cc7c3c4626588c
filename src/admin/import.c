/* SPDX-License-Identifier: MIT */
/*
 * `restante import`: messages from Maildirs, mboxes and files into an account's maildrop, each once however
 * often it is run. Run by administrators; trusts nothing in the messages.
 *
 * What makes a message the same is its base name, where it comes from a Maildir and goes to one; it keeps
 * that name and so its unique-id. Elsewhere it is a hash of its octets and, of several same ones, which of
 * them it is. In a Maildir that is in the name it gets; in an mbox the messages that are there are hashed.
 */
#include "admin/content.h"
#include "admin/maildrop.h"
#include "admin/progress.h"
#include "admin/source.h"
#include "admin/tool.h"
#include "admin/transfer.h"
#include "drop/name.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#define SUFFIX ".import" /* of the names made here */

const char tool_name[] = "import";

enum {
	THERE = 1, /* the number of a key that is in the maildrop; others count same messages */
	KEY_MAX = DROP_UID_MAX,
};

struct import {
	const char *config, *user;
	uint64_t wait_s;
	bool dry_run, json;
	bool by_name; /* the maildrop is a Maildir */
	struct conf conf;
	const struct account *account;
	struct drop_root root;
	struct keys there; /* unique-ids, and hashes with their numbers, of what is in the maildrop */
	struct keys seen;  /* hashes of this run: how many of each */
	uint64_t at;       /* position of the message in this run, which keeps the order */
	time_t last;       /* time in the name before */
	struct progress progress;
	struct transfer sum;
};

/* --- what is in the maildrop --- */

/* "TIME.POSITION-KEY.import" -> KEY; else the unique-id as it is. */
static struct span key_of(struct span unique_id)
{
	const size_t suffix = sizeof SUFFIX - 1;
	if (unique_id.len < suffix || memcmp(unique_id.ptr + unique_id.len - suffix, SUFFIX, suffix) != 0)
		return unique_id;
	struct span name = span_first(unique_id, unique_id.len - suffix);
	size_t dash = span_find(name, '-');
	return dash < name.len ? span_after(name, dash + 1) : unique_id;
}

static int mark(struct import *import, struct span key)
{
	uint32_t *number;
	int err = keys_find(&import->there, key, &number);
	if (err == ERR_NONE)
		*number = THERE;
	return err;
}

/* HASH for the first message of this content, HASH-2, HASH-3 ... for others. */
static int make_key(struct keys *seen, const char hash[CONTENT_DIGITS + 1], char to[KEY_MAX + 1])
{
	uint32_t *number;
	int err = keys_find(seen, span_of(hash, CONTENT_DIGITS), &number);
	if (err)
		return err;
	++*number;
	if (*number == 1)
		memcpy(to, hash, CONTENT_DIGITS + 1);
	else
		(void)snprintf(to, KEY_MAX + 1, "%s-%" PRIu32, hash, *number);
	return ERR_NONE;
}

/* Of an mbox: what its messages are. One that can not be read is none that was imported. */
static int mark_contents(struct import *import, struct maildrop *maildrop)
{
	struct keys seen = {0};
	int err = ERR_NONE;
	for (uint32_t number = 1; err == ERR_NONE && number <= drop_count(maildrop->drop); number++) {
		struct drop_body body;
		char hash[CONTENT_DIGITS + 1], key[KEY_MAX + 1];
		if (drop_body(maildrop->drop, number, 0, &body) != ERR_NONE)
			continue;
		struct source_item item = {.fd = body.fd, .offset = body.offset, .length = body.length};
		err = source_hash(&item, hash);
		(void)close(body.fd);
		if (err == ERR_NONE)
			err = make_key(&seen, hash, key);
		if (err == ERR_NONE)
			err = mark(import, span_str(key));
	}
	keys_finish(&seen);
	return err;
}

/* The lock is held for this only: then sessions may go on, and no name is given twice. */
static int read_maildrop(struct import *import)
{
	struct maildrop maildrop;
	int status = maildrop_open(&import->conf, import->account, import->wait_s, &maildrop);
	if (status)
		return status;
	uint32_t count = drop_count(maildrop.drop);
	int err = ERR_NONE;
	for (uint32_t number = 1; err == ERR_NONE && number <= count; number++)
		err = mark(import, key_of(maildrop_unique_id(&maildrop, number)));
	if (err == ERR_NONE && !import->by_name)
		err = mark_contents(import, &maildrop);
	maildrop_close(&maildrop);
	if (err)
		return tool_complain(tool_status_of(err), "account %s: %s.", import->account->name,
		                     err_text(err));
	return EX_OK;
}

/* --- one message --- */

static int deliver(struct import *import, const struct source_item *item, const char *name,
                   struct error *error)
{
	struct drop_incoming *incoming;
	struct drop_delivered delivered;
	int err = drop_incoming_begin(&import->root, import->account->location, &incoming, error);
	if (err)
		return err;
	err = source_fill(item, drop_incoming_fd(incoming));
	if (err == ERR_NONE)
		err = drop_incoming_keep_name(incoming, name);
	if (err == ERR_NONE)
		err =
		    drop_deliver(&import->root, incoming, import->account->location, NULL, &delivered, error);
	drop_incoming_end(incoming);
	if (err == ERR_NONE)
		import->sum.octets += delivered.raw;
	return err;
}

/* The key of a message, and the name it is to have. */
static int identify(struct import *import, const struct source_item *item, char key[KEY_MAX + 1],
                    char name[DROP_NAME_MAX])
{
	char hash[CONTENT_DIGITS + 1];
	size_t len;
	int err;
	if (import->by_name && item->name) {
		err = name_unique_id(name_base(span_str(item->name + 4)), key, &len);
		if (err == ERR_NONE) {
			key[len] = '\0';
			(void)snprintf(name, DROP_NAME_MAX, "%s", item->name);
		}
		return err;
	}
	err = source_hash(item, hash);
	if (err == ERR_NONE)
		err = make_key(&import->seen, hash, key);
	/* Times that do not go back keep messages in the order they have in the source. */
	if (item->when.tv_sec > import->last)
		import->last = item->when.tv_sec;
	if (err == ERR_NONE)
		(void)snprintf(name, DROP_NAME_MAX, "new/%lld.P%08" PRIu64 "-%s" SUFFIX,
		               (long long)import->last, import->at, key);
	return err;
}

static int import_item(struct import *import, const struct source_item *item, struct error *error)
{
	char key[KEY_MAX + 1], name[DROP_NAME_MAX];
	uint32_t *number;
	int err = identify(import, item, key, name);
	if (err == ERR_NONE)
		err = keys_find(&import->there, span_str(key), &number);
	if (err)
		return err;
	if (*number == THERE)
		err = ERR_EXISTS;
	else if (import->dry_run)
		import->sum.octets += item->length;
	else
		err = deliver(import, item, name, error);
	if (err == ERR_NONE)
		*number = THERE;
	return err;
}

/* After which the next message would fare no better. */
static bool is_fatal(int err)
{
	return err == ERR_NOSPACE || err == ERR_READONLY || err == ERR_DENIED || err == ERR_NOMEM ||
	       err == ERR_BUSY || err == ERR_SYNTAX;
}

static int take_item(void *user, const struct source_item *item)
{
	struct import *import = user;
	struct error error = {""};
	int err = ERR_NOTFOUND;
	import->at++;
	progress_show(&import->progress, item->path, item->number, item->all);
	if (item->fd < 0)
		error_set(&error, "can not be opened: %m");
	else
		err = import_item(import, item, &error);
	if (err == ERR_NONE)
		import->sum.done++;
	else if (err == ERR_EXISTS)
		import->sum.present++;
	if (err == ERR_NONE || err == ERR_EXISTS)
		return EX_OK;
	import->sum.failed++;
	progress_clear(&import->progress);
	(void)tool_complain(EX_OK, "%s: message %" PRIu64 "%s%s: %s.", item->path, item->number,
	                    item->name ? ", " : "", item->name ? item->name : "",
	                    error.text[0] ? error.text : err_text(err));
	return is_fatal(err) ? tool_status_of(err) : EX_OK;
}

/* --- all of them --- */

static int import_sources(struct import *import, struct source *sources, size_t count)
{
	import->by_name = strncmp(import->account->location, "maildir:", strlen("maildir:")) == 0;
	int status = maildrop_open_root(&import->conf, &import->root);
	if (status)
		return status;
	status = read_maildrop(import);
	if (!status) {
		for (size_t i = 0; !status && i < count; i++)
			status = source_read(&sources[i], &import->root.mbox, take_item, import);
		progress_clear(&import->progress);
		status = transfer_report(&import->sum, import->dry_run ? "Would be: " : "", "into",
		                         import->account, import->json, status);
	}
	keys_finish(&import->there);
	keys_finish(&import->seen);
	drop_root_close(&import->root);
	return status;
}

/* Sources are opened by who runs this; as the user the maildrops belong to he could perhaps not. */
static int run(struct import *import, char **paths, size_t count)
{
	struct accounts accounts = {NULL, 0};
	struct source *sources = calloc(count, sizeof *sources);
	int status = sources ? tool_begin(import->config, &import->conf) : EX_OSERR;
	size_t opened = 0;
	for (; !status && opened < count; opened++) {
		status = source_open(paths[opened], &sources[opened]);
		if (status)
			break;
	}
	if (!status)
		status = accounts_read(&import->conf, import->user, &accounts);
	if (!status)
		status = accounts_become_keeper(&import->conf);
	if (!status) {
		import->account = accounts.list[0];
		status = import_sources(import, sources, count);
	}
	accounts_finish(&accounts);
	for (size_t i = 0; i < opened; i++)
		source_close(&sources[i]);
	free(sources);
	return status;
}

/* --- the command line --- */

static void print_help(FILE *to)
{
	fprintf(to,
	        "Usage: restante import [OPTION ...] USER [SOURCE ...]\n\n"
	        "A SOURCE is a Maildir, an mbox, a file with one message, or - for standard input, which\n"
	        "is read when none is given. Messages that were imported before are left out.\n\n"
	        "  -n, --dry-run      say what would be done\n"
	        "  -w, --wait SECONDS wait so long for a session to end (%d)\n"
	        "  --json             say what was done as JSON\n"
	        "  -c, --config FILE  configuration of restanted\n"
	        "                     (%s)\n",
	        MAILDROP_WAIT_S, tool_default_config);
}

/* -1: go on; else the exit status. */
static int parse_options(int argc, char **argv, struct import *import)
{
	enum { JSON = 256 };
	static const struct option options[] = {
	    {"dry-run", no_argument,       NULL, 'n' },
            {"wait",    required_argument, NULL, 'w' },
	    {"json",    no_argument,       NULL, JSON},
            {"config",  required_argument, NULL, 'c' },
	    {"help",    no_argument,       NULL, 'h' },
            {NULL,      0,                 NULL, 0   },
	};
	for (int option; (option = getopt_long(argc, argv, "nw:c:h", options, NULL)) != -1;) {
		if (option == 'n')
			import->dry_run = true;
		else if (option == JSON)
			import->json = true;
		else if (option == 'c')
			import->config = optarg;
		else if (option == 'h')
			return print_help(stdout), EX_OK;
		else if (option != 'w' || maildrop_parse_wait(optarg, &import->wait_s) != EX_OK)
			return EX_USAGE; /* it is said what is wrong */
	}
	if (argc == optind)
		return tool_complain(EX_USAGE, "an account is needed; `restante import --help` says how.");
	import->user = argv[optind];
	return -1;
}

int main(int argc, char **argv)
{
	static struct import import = {.wait_s = MAILDROP_WAIT_S};
	static char input[] = "-";
	char *standard[] = {input};
	int status = parse_options(argc, argv, &import);
	if (status >= 0)
		return status;
	size_t count = (size_t)(argc - optind - 1);
	if (count == 0 && isatty(STDIN_FILENO))
		return tool_complain(EX_USAGE, "a source is needed: a Maildir, an mbox, or a file.");
	return count ? run(&import, argv + optind + 1, count) : run(&import, standard, 1);
}
