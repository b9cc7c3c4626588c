/* SPDX-License-Identifier: MIT */
/*
 * `restante user`: accounts, by the person who runs the server. Started as root it becomes
 * the user auth runs as before it touches the accounts file: so what it makes belongs to
 * auth, what it can do auth can do too, and nobody who owns the folder leads root
 * anywhere.
 */
#include "acct/acct.h"
#include "admin/password.h"
#include "admin/tool.h"
#include "base/num.h"
#include "conf/conf.h"
#include "os/os.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

const char tool_name[] = "user";

struct user {
	const char *config, *accounts, *maildrop, *password_file; /* NULL: not given */
	const char *octets, *messages;                            /* of quota */
	bool password_stdin, json;
	struct span name; /* the NAME of the command line */
	const char *name_text;
	struct conf conf; /* empty with --accounts */
	struct acct *acct;
	struct secret password; /* from --password-file */
};

struct command {
	const char *name, *about;
	bool named;    /* takes a NAME */
	bool password; /* asks for one */
	int (*run)(struct user *user);
};

/* --- messages --- */

/* What the store answered to a change of the account. */
static int complain_change(const struct user *user, int err)
{
	if (err == ERR_NOTFOUND)
		return tool_complain(EX_NOUSER, "there is no account %s; `restante user list` shows them.",
		                     user->name_text);
	if (err == ERR_EXISTS)
		return tool_complain(
		    EX_CANTCREAT,
		    "there is an account %s already; `restante user passwd` changes its password.",
		    user->name_text);
	return tool_complain(tool_status_of(err), "account %s in %s: %s; nothing was changed.",
	                     user->name_text, user->accounts, err_text(err));
}

/* --- the accounts file, as the user auth runs as --- */

static int load_config(struct user *user)
{
	int status = tool_begin(user->config, &user->conf);
	if (status)
		return status;
	user->accounts = user->conf.accounts;
	return EX_OK;
}

/* Who is to own the accounts file: the user auth runs as, or, when only the file is known, the owner of its
 * folder. */
static int find_owner(const struct user *user, uint32_t *ret_uid, uint32_t *ret_gid)
{
	const char *name = user->conf.auth_user;
	if (name[0]) {
		if (os_find_user(name, ret_uid, ret_gid) == ERR_NONE)
			return EX_OK;
		return tool_complain(EX_NOUSER,
		                     "there is no user %s (auth.user in the configuration): create it, or "
		                     "name another.",
		                     name);
	}
	char folder[CONF_VALUE_MAX] = ".";
	const char *slash = strrchr(user->accounts, '/');
	if (slash)
		(void)snprintf(folder, sizeof folder, "%.*s/", (int)(slash - user->accounts), user->accounts);
	struct stat stat_buf;
	if (stat(folder, &stat_buf) != 0)
		return tool_complain(EX_NOINPUT, "folder %s: %s.", folder, strerror(errno));
	*ret_uid = stat_buf.st_uid;
	*ret_gid = stat_buf.st_gid;
	return EX_OK;
}

static int become_owner(const struct user *user)
{
	uint32_t uid, gid;
	struct error error;
	if (geteuid() != 0)
		return EX_OK;
	int status = find_owner(user, &uid, &gid);
	if (status)
		return status;
	if (os_become(uid, gid, "", &error) != ERR_NONE)
		return tool_complain(EX_OSERR, "%s.", error.text);
	return EX_OK;
}

static int open_accounts(struct user *user, bool create)
{
	struct error error = {""};
	int err = acct_open(user->accounts, create ? ACCT_CREATE : ACCT_CHANGE, &user->acct, &error);
	if (!err)
		return EX_OK;
	(void)tool_complain(tool_status_of(err), "%s.", error.text);
	if (err == ERR_DENIED || err == ERR_READONLY)
		fprintf(stderr, "The file and its folder have to be writable for uid %u%s.\n", geteuid(),
		        user->conf.auth_user[0] ? ", which auth runs as" : "");
	return tool_status_of(err);
}

/* --- passwords --- */

static int complain_password(const char *from, int err)
{
	if (err == ERR_CHANGED)
		return tool_complain(EX_DATAERR, "the two passwords differ; nothing was changed.");
	if (err == ERR_CLOSED)
		return tool_complain(EX_NOINPUT, "%s holds no password; nothing was changed.", from);
	if (err == ERR_FULL || err == ERR_SYNTAX)
		return tool_complain(EX_DATAERR,
		                     "a password is 1 to %d octets without NUL; nothing was changed.",
		                     ACCT_PASSWORD_MAX);
	return tool_complain(tool_status_of(err), "%s: %s; nothing was changed.", from, err_text(err));
}

static int read_password_file(struct user *user)
{
	int fd = open(user->password_file, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return tool_complain(EX_NOINPUT, "%s: %s.", user->password_file, strerror(errno));
	int err = password_read(fd, &user->password);
	(void)close(fd);
	return err ? complain_password(user->password_file, err) : EX_OK;
}

static int make_hash(struct user *user, char ret[ACCT_HASH_MAX])
{
	const char *from = "standard input";
	int err = ERR_NONE;
	if (user->password_file)
		from = user->password_file;
	else if (!user->password_stdin && isatty(STDIN_FILENO))
		err = password_ask(user->name_text, &user->password);
	else
		err = password_read(STDIN_FILENO, &user->password);
	if (!err)
		err = acct_hash(&user->password, ret);
	return err ? complain_password(from, err) : EX_OK;
}

/* --- the commands --- */

static int check_maildrop(const struct user *user)
{
	const char *root = user->conf.mail_root;
	const char *path = user->maildrop + strcspn(user->maildrop, "/");
	struct span kind = span_first(span_str(user->maildrop), (size_t)(path - user->maildrop));
	if ((!span_equal(kind, SPAN("maildir:")) && !span_equal(kind, SPAN("mbox:"))) ||
	    acct_location_check(user->maildrop) || strlen(user->maildrop) >= ACCT_LOCATION_MAX)
		return tool_complain(
		    EX_DATAERR,
		    "a maildrop is given like maildir:/srv/mail/alice or mbox:/var/mail/alice, not like %s.",
		    user->maildrop);
	size_t len = strlen(root);
	if (root[0] && (strncmp(path, root, len) != 0 || (len > 1 && path[len] != '/')))
		return tool_complain(EX_DATAERR, "%s does not lie below %s (mail.root in the configuration).",
		                     path, root);
	return EX_OK;
}

static int add(struct user *user)
{
	char hash[ACCT_HASH_MAX], location[ACCT_LOCATION_MAX] = "";
	char name[ACCT_NAME_MAX + 1];
	struct acct_row row;
	if (acct_name_prepare(user->name, name) != ERR_NONE)
		return tool_complain(
		    EX_DATAERR,
		    "%s cannot be the name of an account: 1 to %d octets of printable UTF-8 without / "
		    "and %%, not beginning with . or -.",
		    user->name_text, ACCT_NAME_MAX);
	int status = user->maildrop ? check_maildrop(user) : EX_OK;
	if (status)
		return status;
	if (user->maildrop)
		memcpy(location, user->maildrop, strlen(user->maildrop) + 1);
	else if (user->conf.mail_location[0] &&
	         acct_location(user->conf.mail_location, span_str(name), location, sizeof location))
		return tool_complain(EX_DATAERR,
		                     "mail.location in the configuration, %s, gives account %s no maildrop.",
		                     user->conf.mail_location, name);
	int err = acct_find(user->acct, user->name, &row);
	if (err != ERR_NOTFOUND)
		return complain_change(user, err ? err : ERR_EXISTS);
	status = make_hash(user, hash);
	if (status)
		return status;
	err = acct_add(user->acct, user->name, hash, user->maildrop ? user->maildrop : "");
	if (err)
		return complain_change(user, err);
	printf("Account %s added%s%s.\n", name, location[0] ? "; its maildrop is " : "", location);
	return EX_OK;
}

static int set_password(struct user *user)
{
	char hash[ACCT_HASH_MAX];
	struct acct_row row;
	int err = acct_find(user->acct, user->name, &row);
	if (err)
		return complain_change(user, err);
	int status = make_hash(user, hash);
	if (status)
		return status;
	err = acct_set_hash(user->acct, user->name, hash);
	if (err)
		return complain_change(user, err);
	printf("Password of account %s changed%s.\n", row.name, row.disabled ? "; it is disabled still" : "");
	return EX_OK;
}

/* Says what was done to an account that exists. */
static int conclude(struct user *user, int err, const char *done)
{
	if (err)
		return complain_change(user, err);
	printf("Account %s %s.\n", user->name_text, done);
	return EX_OK;
}

static int del(struct user *user)
{
	return conclude(user, acct_del(user->acct, user->name), "deleted; its mail is left where it is");
}

static int disable(struct user *user)
{
	return conclude(user, acct_set_disabled(user->acct, user->name, true),
	                "disabled: it cannot log in; sessions that are open go on");
}

static int enable(struct user *user)
{
	return conclude(user, acct_set_disabled(user->acct, user->name, false), "enabled");
}

/* "10G", "none", "default", or NULL for what it was. */
static int parse_limit(int (*parse)(struct span, uint64_t, uint64_t *), const char *text, uint64_t *limit)
{
	if (!text)
		return EX_OK;
	if (strcmp(text, "none") == 0)
		*limit = 0;
	else if (strcmp(text, "default") == 0)
		*limit = ACCT_QUOTA_DEFAULT;
	else if (parse(span_str(text), ACCT_QUOTA_MAX, limit) != ERR_NONE || *limit == 0)
		return tool_complain(
		    EX_DATAERR, "%s is no limit: a number (octets also like 500M or 10G), none, or default.",
		    text);
	return EX_OK;
}

static void print_limit(const char *what, bool units, uint64_t limit, uint64_t initial, const char *option)
{
	char text[NUM_TEXT_MAX + 1] = "none";
	uint64_t holds = limit == ACCT_QUOTA_DEFAULT ? initial : limit;
	if (holds && units)
		num_print_octets(text, holds);
	else if (holds)
		text[num_print(text, holds)] = '\0';
	printf("%-9s %s%s%s\n", what, text, limit == ACCT_QUOTA_DEFAULT ? ", by " : "",
	       limit == ACCT_QUOTA_DEFAULT ? option : "");
}

static json_t *pack_limit(uint64_t limit)
{
	return limit == ACCT_QUOTA_DEFAULT ? json_null() : json_integer((json_int_t)limit);
}

static int quota(struct user *user)
{
	struct acct_row row;
	int err = acct_find(user->acct, user->name, &row);
	secret_wipe(row.hash, sizeof row.hash);
	if (err)
		return complain_change(user, err);
	int status = parse_limit(num_parse_octets, user->octets, &row.quota_octets);
	if (!status)
		status = parse_limit(num_parse, user->messages, &row.quota_messages);
	if (status)
		return status;
	if (user->octets || user->messages)
		err = acct_set_quota(user->acct, user->name, row.quota_octets, row.quota_messages);
	if (err)
		return complain_change(user, err);
	print_limit("octets", true, row.quota_octets, user->conf.quota_octets, "mail.quota_octets");
	print_limit("messages", false, row.quota_messages, user->conf.quota_messages, "mail.quota_messages");
	return EX_OK;
}

static int print_row(void *unused, const struct acct_row *row)
{
	(void)unused;
	printf("%-24s %-8s %s\n", row->name, row->disabled ? "disabled" : "enabled",
	       row->location[0] ? row->location : "-");
	return ERR_NONE;
}

static int add_json(void *array, const struct acct_row *row)
{
	json_t *object =
	    json_pack("{s:s, s:b, s:s?, s:o, s:o}", "name", row->name, "enabled", !row->disabled, "maildrop",
	              row->location[0] ? row->location : NULL, "quota_octets", pack_limit(row->quota_octets),
	              "quota_messages", pack_limit(row->quota_messages));
	return object && json_array_append_new(array, object) == 0 ? ERR_NONE : ERR_NOMEM;
}

static int list(struct user *user)
{
	json_t *array = user->json ? json_array() : NULL;
	int err =
	    user->json ? acct_list(user->acct, add_json, array) : acct_list(user->acct, print_row, NULL);
	if (!err && array && json_dumpf(array, stdout, JSON_INDENT(2)) == 0)
		printf("\n");
	json_decref(array);
	if (err)
		return tool_complain(tool_status_of(err), "%s: %s.", user->accounts, err_text(err));
	return EX_OK;
}

static const struct command commands[] = {
    {"add",     "make an account",                       true,  true,  add         },
    {"passwd",  "change its password",                   true,  true,  set_password},
    {"quota",   "show or set how much mail it may have", true,  false, quota       },
    {"list",    "show all accounts",                     false, false, list        },
    {"del",     "delete an account; its mail stays",     true,  false, del         },
    {"disable", "refuse its logins",                     true,  false, disable     },
    {"enable",  "accept its logins again",               true,  false, enable      },
};

/* --- the command line --- */

static void print_help(FILE *to)
{
	fprintf(to, "Usage: restante user COMMAND [NAME] [OPTION ...]\n\n");
	for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
		fprintf(to, "  %-8s %-5s %s\n", commands[i].name, commands[i].named ? "NAME" : "",
		        commands[i].about);
	fprintf(to,
	        "\n"
	        "  -c, --config FILE     configuration of restanted, which names the accounts file\n"
	        "                        (%s)\n"
	        "  --accounts FILE       the accounts file itself\n"
	        "  --maildrop LOCATION   add: maildir:/PATH or mbox:/PATH, instead of mail.location\n"
	        "  --password-file FILE  add, passwd: the password is the first line of FILE\n"
	        "  --password-stdin      add, passwd: ... of standard input, as whenever it is no terminal\n"
	        "  --octets LIMIT        quota: octets, like 500M or 10G, or none, or default\n"
	        "  --messages LIMIT      quota: messages, or none, or default\n"
	        "  --json                list: as JSON\n\n"
	        "A password is asked for at the terminal; it is never given as an argument.\n",
	        tool_default_config);
}

static int refuse_usage(const char *reason, const char *what)
{
	return tool_complain(EX_USAGE, "%s%s; `restante user --help` says how.", reason, what);
}

/* -1: go on; else the exit status. */
static int parse_options(int argc, char **argv, struct user *user)
{
	enum { ACCOUNTS = 256, MAILDROP, PASSWORD_FILE, PASSWORD_STDIN, OCTETS, MESSAGES, JSON };
	static const struct option options[] = {
	    {"config",         required_argument, NULL, 'c'           },
	    {"accounts",       required_argument, NULL, ACCOUNTS      },
	    {"maildrop",       required_argument, NULL, MAILDROP      },
	    {"password-file",  required_argument, NULL, PASSWORD_FILE },
	    {"password-stdin", no_argument,       NULL, PASSWORD_STDIN},
	    {"octets",         required_argument, NULL, OCTETS        },
	    {"messages",       required_argument, NULL, MESSAGES      },
	    {"json",           no_argument,       NULL, JSON          },
	    {"help",           no_argument,       NULL, 'h'           },
	    {NULL,             0,                 NULL, 0             },
	};
	for (int option; (option = getopt_long(argc, argv, "c:h", options, NULL)) != -1;) {
		if (option == 'c')
			user->config = optarg;
		else if (option == ACCOUNTS)
			user->accounts = optarg;
		else if (option == MAILDROP)
			user->maildrop = optarg;
		else if (option == PASSWORD_FILE)
			user->password_file = optarg;
		else if (option == PASSWORD_STDIN)
			user->password_stdin = true;
		else if (option == OCTETS)
			user->octets = optarg;
		else if (option == MESSAGES)
			user->messages = optarg;
		else if (option == JSON)
			user->json = true;
		else if (option == 'h')
			return print_help(stdout), EX_OK;
		else
			return EX_USAGE; /* getopt has said what is wrong */
	}
	return -1;
}

/* Options that mean nothing to this command are mistakes. */
static int check_usage(const struct command *command, const struct user *user, int arguments)
{
	if (user->config && user->accounts)
		return refuse_usage("either --config or --accounts", "");
	if (user->password_file && user->password_stdin)
		return refuse_usage("either --password-file or --password-stdin", "");
	if (!command->password && (user->password_file || user->password_stdin))
		return refuse_usage("no password is needed for ", command->name);
	if (user->maildrop && command->run != add)
		return refuse_usage("--maildrop is for add, not for ", command->name);
	if ((user->octets || user->messages) && command->run != quota)
		return refuse_usage("--octets and --messages are for quota, not for ", command->name);
	if (user->json && command->run != list)
		return refuse_usage("--json is for list, not for ", command->name);
	if (arguments < (command->named ? 1 : 0))
		return refuse_usage("the name of the account is missing after ", command->name);
	if (arguments > (command->named ? 1 : 0)) /* not repeated here: it may be a password */
		return refuse_usage("too many arguments for ", command->name);
	return EX_OK;
}

static int run(const struct command *command, struct user *user)
{
	int status = user->accounts ? EX_OK : load_config(user);
	if (!status && user->password_file)
		status = read_password_file(user);
	if (!status)
		status = become_owner(user);
	if (!status)
		status = open_accounts(user, command->run == add);
	if (!status)
		status = command->run(user);
	if (!status)
		status = tool_flush();
	secret_finish(&user->password);
	acct_close(user->acct);
	return status;
}

int main(int argc, char **argv)
{
	static struct user user;
	int status = parse_options(argc, argv, &user);
	if (status >= 0)
		return status;
	if (optind == argc) {
		print_help(stderr);
		return EX_USAGE;
	}
	const char *name = argv[optind++];
	for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
		if (strcmp(commands[i].name, name) != 0)
			continue;
		status = check_usage(&commands[i], &user, argc - optind);
		user.name_text = optind < argc ? argv[optind] : "";
		user.name = span_str(user.name_text);
		return status ? status : run(&commands[i], &user);
	}
	return refuse_usage("there is no command ", name);
}
