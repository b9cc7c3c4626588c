/* SPDX-License-Identifier: MIT */
/*
 * `restante deliver`: one message from standard input into an account's maildrop. Run by mail transfer
 * agents, as root or as the mail user, on messages from anybody; trusts its arguments as far as those do.
 *
 * A status other than 0 and EX_TEMPFAIL makes its caller send the message back, so it is given only where
 * that is right.
 */
#include "drop/deliver.h"
#include "admin/account.h"
#include "admin/tool.h"
#include "drop/file.h"
#include "pop/dot.h"

#include <errno.h>
#include <getopt.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

enum {
	BLOCK = 65536,     /* octets read at once */
	ADDRESS_MAX = 512, /* octets of an address that becomes a header field; RFC 5321 has 254 and some */
};

const char tool_name[] = "deliver";

struct deliver {
	const char *config, *user; /* config NULL: the default */
	const char *sender;        /* for Return-Path; NULL: none */
	const char *recipient;     /* for Delivered-To; NULL: none */
	struct conf conf;
	struct drop_incoming *incoming;
	uint64_t at; /* octets written to its file */
};

/* --- the message --- */

static int write_out(struct deliver *deliver, struct span octets)
{
	int err = file_write(drop_incoming_fd(deliver->incoming), octets.ptr, octets.len, deliver->at);
	if (err)
		return tool_complain(EX_TEMPFAIL, "the message can not be written: %s.", err_text(err));
	deliver->at += octets.len;
	return EX_OK;
}

/* A header field: "NAME", and the address as it is or in angle brackets. */
static int write_field(struct deliver *deliver, const char *name, bool brackets, const char *address)
{
	char field[ADDRESS_MAX + 32];
	int len = snprintf(field, sizeof field, brackets ? "%s: <%s>\n" : "%s: %s\n", name, address);
	return write_out(deliver, span_of(field, (size_t)len));
}

/* -1 and a complaint, or octets; 0 at the end. */
static ssize_t read_some(char *to, size_t size)
{
	ssize_t got;
	do
		got = read(STDIN_FILENO, to, size);
	while (got < 0 && errno == EINTR);
	if (got < 0)
		(void)tool_complain(EX_TEMPFAIL, "standard input can not be read: %s.", strerror(errno));
	return got;
}

/* The first block: at least as long as what begins an mbox's "From " line, if there is so much. */
static ssize_t read_first(char *to, size_t size)
{
	size_t have = 0;
	while (have < sizeof "From " - 1) {
		ssize_t got = read_some(to + have, size - have);
		if (got < 0)
			return got;
		if (got == 0)
			break;
		have += (size_t)got;
	}
	return (ssize_t)have;
}

/* Copies standard input: a leading "From " line goes, line ends become LF. */
static int copy_message(struct deliver *deliver)
{
	static char in[BLOCK], out[BLOCK + 1];
	static const struct span mark = SPAN("From ");
	struct pop_lf lf = {0};
	ssize_t got = read_first(in, sizeof in);
	bool skip = got >= (ssize_t)mark.len && memcmp(in, mark.ptr, mark.len) == 0;
	if (got == 0)
		return tool_complain(EX_NOINPUT, "standard input is empty: no message, nothing delivered.");
	for (; got > 0; got = read_some(in, sizeof in)) {
		struct span raw = span_of(in, (size_t)got);
		if (skip) {
			size_t line = span_find(raw, '\n');
			skip = line == raw.len;
			raw = span_after(raw, skip ? line : line + 1);
		}
		size_t len = pop_lf_feed(&lf, raw, out);
		int status = write_out(deliver, span_of(out, len));
		if (status)
			return status;
	}
	return got < 0 ? EX_TEMPFAIL : write_out(deliver, span_of(out, pop_lf_finish(&lf, out)));
}

static int fill(struct deliver *deliver)
{
	int status = EX_OK;
	if (deliver->sender)
		status = write_field(deliver, "Return-Path", true, deliver->sender);
	if (!status && deliver->recipient)
		status = write_field(deliver, "Delivered-To", false, deliver->recipient);
	return status ? status : copy_message(deliver);
}

/* --- the delivery --- */

static int complain_drop(const struct deliver *deliver, int err, const struct error *error)
{
	const char *what = error->text[0] ? error->text : err_text(err);
	if (err == ERR_QUOTA)
		return tool_complain(EX_CANTCREAT, "account %s: %s.", deliver->user, what);
	return tool_complain(EX_TEMPFAIL, "account %s: %s; nothing was delivered.", deliver->user, what);
}

static int deliver_into(struct deliver *deliver, const struct drop_root *root, const struct account *account)
{
	struct error error = {""};
	struct drop_delivered delivered;
	int err = drop_incoming_begin(root, account->location, &deliver->incoming, &error);
	if (err)
		return complain_drop(deliver, err, &error);
	int status = fill(deliver);
	if (!status) {
		err = drop_deliver(root, deliver->incoming, account->location, &account->quota, &delivered,
		                   &error);
		status = err ? complain_drop(deliver, err, &error) : EX_OK;
	}
	drop_incoming_end(deliver->incoming);
	return status;
}

static int run(struct deliver *deliver)
{
	struct drop_root root;
	struct error error = {""};
	struct accounts accounts = {NULL, 0};
	int status = tool_begin(deliver->config, &deliver->conf);
	if (!status)
		status = accounts_read(&deliver->conf, deliver->user, &accounts);
	if (!status)
		status = accounts_become_keeper(&deliver->conf);
	if (status)
		return status == EX_NOUSER ? EX_NOUSER : EX_TEMPFAIL;
	if (accounts.list[0]->disabled) {
		status = tool_complain(EX_NOUSER, "account %s takes no mail.", deliver->user);
	} else if (account_open_root(&deliver->conf, &root, &error) != ERR_NONE) {
		status = tool_complain(EX_TEMPFAIL, "%s.", error.text);
	} else {
		status = deliver_into(deliver, &root, accounts.list[0]);
		drop_root_close(&root);
	}
	accounts_finish(&accounts);
	return status;
}

/* --- the command line --- */

static void print_help(FILE *to)
{
	fprintf(
	    to,
	    "Usage: restante deliver [OPTION ...] USER < MESSAGE\n\n"
	    "  -f, --from SENDER           put \"Return-Path: <SENDER>\" first; \"\" is the null sender\n"
	    "  -a, --delivered-to ADDRESS  put \"Delivered-To: ADDRESS\" behind it\n"
	    "  -c, --config FILE           configuration of restanted\n"
	    "                              (%s)\n\n"
	    "Exits 0 once the message is on the disk for good, 67 when there is no such account, 73 when\n"
	    "it is over quota, and 75 when trying again later may help.\n",
	    tool_default_config);
}

/* What would break the header, or is no address for its length. */
static bool is_address(const char *text)
{
	size_t len = strlen(text);
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
			return false;
	return len <= ADDRESS_MAX;
}

/* "<a@b>", "a@b"; and the names Postfix and others have for the null sender. */
static const char *bare_address(char *text)
{
	size_t len = strlen(text);
	if (len >= 2 && text[0] == '<' && text[len - 1] == '>') {
		text[len - 1] = '\0';
		text++;
	}
	return strcasecmp(text, "MAILER-DAEMON") == 0 ? "" : text;
}

/* -1: go on; else the exit status. */
static int parse_options(int argc, char **argv, struct deliver *deliver)
{
	static const struct option options[] = {
	    {"from",         required_argument, NULL, 'f'},
	    {"delivered-to", required_argument, NULL, 'a'},
	    {"config",       required_argument, NULL, 'c'},
	    {"help",         no_argument,       NULL, 'h'},
	    {NULL,           0,                 NULL, 0  },
	};
	for (int option; (option = getopt_long(argc, argv, "f:a:c:h", options, NULL)) != -1;) {
		if (option == 'h')
			return print_help(stdout), EX_OK;
		if (option == '?')
			return EX_USAGE; /* getopt has said what is wrong */
		if (option != 'c' && !is_address(optarg))
			return tool_complain(EX_USAGE, "what -%c is given can be no address.", option);
		if (option == 'f')
			deliver->sender = bare_address(optarg);
		else if (option == 'a')
			deliver->recipient = bare_address(optarg);
		else
			deliver->config = optarg;
	}
	if (argc - optind != 1)
		return tool_complain(EX_USAGE, "one account is needed; `restante deliver --help` says how.");
	deliver->user = argv[optind];
	return -1;
}

int main(int argc, char **argv)
{
	static struct deliver deliver;
	int status = parse_options(argc, argv, &deliver);
	return status >= 0 ? status : run(&deliver);
}
