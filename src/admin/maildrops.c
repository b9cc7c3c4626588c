/* SPDX-License-Identifier: MIT */
/* Rounds through maildrops, by the administrator. */
#include "admin/maildrops.h"

#include "admin/tool.h"

#include <getopt.h>
#include <string.h>
#include <sysexits.h>

static void print_help(const struct maildrops *maildrops, FILE *to)
{
	fprintf(to,
	        "Usage: restante %s [OPTION ...] USER | --all\n\n"
	        "%s\n\n"
	        "  -a, --all          the maildrops of all accounts\n"
	        "  -w, --wait SECONDS wait so long for a session to end (%d)\n"
	        "  --json             print the result as JSON\n"
	        "  -c, --config FILE  configuration of restanted\n"
	        "                     (%s)\n",
	        tool_name, maildrops->about, MAILDROP_WAIT_S, tool_default_config);
}

/* -1: go on; else the exit status. */
static int parse_options(int argc, char **argv, struct maildrops *maildrops)
{
	enum { JSON = 256 };
	static const struct option options[] = {
	    {"all",    no_argument,       NULL, 'a' },
            {"wait",   required_argument, NULL, 'w' },
	    {"json",   no_argument,       NULL, JSON},
            {"config", required_argument, NULL, 'c' },
	    {"help",   no_argument,       NULL, 'h' },
            {NULL,     0,                 NULL, 0   },
	};
	bool all = false;
	maildrops->wait_s = MAILDROP_WAIT_S;
	for (int option; (option = getopt_long(argc, argv, "aw:c:h", options, NULL)) != -1;) {
		if (option == 'a')
			all = true;
		else if (option == JSON)
			maildrops->json = true;
		else if (option == 'c')
			maildrops->config = optarg;
		else if (option == 'h')
			return print_help(maildrops, stdout), EX_OK;
		else if (option != 'w' || maildrop_parse_wait(optarg, &maildrops->wait_s) != EX_OK)
			return EX_USAGE; /* it is said what is wrong */
	}
	if (argc - optind != (all ? 0 : 1))
		return tool_complain(EX_USAGE, "either one account or --all; `restante %s --help` says how.",
		                     tool_name);
	maildrops->user = all ? NULL : argv[optind];
	return -1;
}

/* The gravest is what the whole exits with: what is wrong with mail, before what could not be looked at. */
static int graver(int a, int b)
{
	return a == EX_DATAERR || b == EX_DATAERR ? EX_DATAERR : a ? a : b;
}

static int work_on(struct maildrops *maildrops, const struct account *account, json_t *results)
{
	json_t *result = results ? json_object() : NULL;
	if (result && (json_array_append_new(results, result) != 0 ||
	               json_object_set_new(result, "account", json_string(account->name)) != 0))
		return tool_complain(EX_OSERR, "no memory.");
	int status =
	    account->location[0]
	        ? maildrops->work(maildrops, account, result)
	        : tool_complain(EX_CONFIG, "account %s has no maildrop by mail.location.", account->name);
	progress_clear(&maildrops->progress);
	if (result && json_object_set_new(result, "status", json_integer(status)) != 0)
		return tool_complain(EX_OSERR, "no memory.");
	return status;
}

static int run(struct maildrops *maildrops)
{
	struct accounts accounts = {NULL, 0};
	json_t *results = maildrops->json ? json_array() : NULL;
	int status = tool_begin(maildrops->config, &maildrops->conf);
	if (!status)
		status = accounts_read(&maildrops->conf, maildrops->user, &accounts);
	if (!status)
		status = accounts_become_keeper(&maildrops->conf);
	for (size_t i = 0; i < accounts.count; i++)
		status = graver(status, work_on(maildrops, accounts.list[i], results));
	if (results && accounts.count && json_dumpf(results, stdout, JSON_INDENT(2)) == 0)
		printf("\n");
	json_decref(results);
	accounts_finish(&accounts);
	int flushed = tool_flush();
	return status ? status : flushed;
}

int maildrops_main(int argc, char **argv, struct maildrops *maildrops)
{
	int status = parse_options(argc, argv, maildrops);
	return status >= 0 ? status : run(maildrops);
}
