/* SPDX-License-Identifier: MIT */
/* Options: one row each, from which the help comes too. Runs in restante-bench for the person who started it.
 */
#include "bench/option.h"

#include "base/num.h"

#include <arpa/inet.h>
#include <getopt.h>
#include <inttypes.h>
#include <netdb.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

enum { OPTION_FIRST = 256 }; /* options that have no letter are numbered from here */

/* Seconds are kept as milliseconds. */
enum kind { KIND_FLAG, KIND_TEXT, KIND_NUMBER, KIND_NUMBER32, KIND_SECONDS, KIND_TAKEN };

/* What a row's text or argument leads to, where it is more than a place in struct options. */
typedef void taker(struct options *options, const char *text);

static taker take_profile, take_tls, take_source, take_help, take_version;

struct option_row {
	const char *name, *argument, *about;
	char letter;
	enum kind kind;
	size_t at; /* in struct options */
	uint64_t min, max;
	taker *take;
};

/* clang-format off */
#define AT(member) .at = offsetof(struct options, member)
static const struct option_row rows[] = {
    {"accounts", "FILE", "lines of name:password; a session takes the account that rested longest", 'a',
     KIND_TEXT, AT(accounts_file)},
    {"user", "NAME", "one account instead of a file of them", 'u', KIND_TEXT, AT(user)},
    {"password-file", "FILE", "its password is the first line of FILE", 0, KIND_TEXT, AT(password_file)},
    {"per-account", "N", "sessions at once for each account (default 1: maildrops are exclusive)", 0,
     KIND_NUMBER32, AT(plan.per_account), 1, 1000000},
    {"profile", "NAME", "what a session does (default poll)", 'p', KIND_TAKEN, .take = take_profile},
    {"tls", "KIND", "none (default), stls, or tls from the first octet", 't', KIND_TAKEN, .take = take_tls},
    {"resume", NULL, "resume TLS sessions instead of full handshakes", 'r', KIND_FLAG, AT(plan.resume)},
    {"connections", "N", "sessions at the same time, at most (default 1)", 'c',
     KIND_NUMBER32, AT(plan.connections), 1, RUN_CONNECTIONS_MAX},
    {"rate", "N", "N sessions are due in each second, whatever the server does; latency counts from then", 'R',
     KIND_NUMBER32, AT(plan.rate), 1, RUN_RATE_MAX},
    {"seconds", "N", "begin no session after N seconds; profile idle: hold so long", 's',
     KIND_SECONDS, AT(plan.duration_ms), 1, 100000000},
    {"sessions", "N", "end after N sessions", 'n', KIND_NUMBER, AT(plan.sessions), 1, INT64_MAX},
    {"window", "N", "RETR and DELE: commands sent ahead of their replies (default 1)", 'w',
     KIND_NUMBER32, AT(plan.client.window), 1, CLIENT_WINDOW_MAX},
    {"passes", "N", "RETR: fetch each message N times in a session (default 1)", 0,
     KIND_NUMBER32, AT(plan.client.passes), 1, 1000000},
    {"messages", "N", "messages every maildrop has; another count is an error", 'm',
     KIND_NUMBER, AT(plan.client.messages), 0, CLIENT_MESSAGES_MAX},
    {"source", "ADDRESS", "connect from this address; give several for more than 28,000 connections", 0,
     KIND_TAKEN, .take = take_source},
    {"timeout", "N", "seconds of silence after which a session has failed (default 60)", 0,
     KIND_SECONDS, AT(plan.timeout_ms), 1, 100000},
    {"max-errors", "N", "give up when so many sessions have failed (default 100; 0: never)", 0,
     KIND_NUMBER, AT(plan.errors_max), 0, INT64_MAX},
    {"delete-mail", NULL, "needed for profile drain: it deletes all mail of the accounts", 0,
     KIND_FLAG, AT(delete_mail)},
    {"own-server", NULL, "needed unless HOST is a loopback address: the server is yours to put under load", 0,
     KIND_FLAG, AT(own_server)},
    {"json", NULL, "one JSON object on standard output", 'j', KIND_FLAG, AT(json)},
    {"svg", "FILE", "draw latency and throughput over time", 0, KIND_TEXT, AT(svg_file)},
    {"help", NULL, "this text", 'h', KIND_TAKEN, .take = take_help},
    {"version", NULL, "the version", 'V', KIND_TAKEN, .take = take_version},
};
/* clang-format on */
enum { ROWS = sizeof rows / sizeof rows[0] };

static void fail(int code, const char *format, ...) __attribute__((noreturn, format(printf, 2, 3)));
static void fail(int code, const char *format, ...)
{
	va_list args;
	fputs("restante bench: ", stderr);
	va_start(args, format);
	(void)vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	exit(code);
}

/* --- what options lead to --- */

static void take_help(struct options *options, const char *text)
{
	(void)options;
	(void)text;
	fputs("Usage: restante bench [OPTION ...] --accounts FILE HOST PORT\n"
	      "       restante bench [OPTION ...] --user NAME --password-file FILE HOST PORT\n\n"
	      "Puts a POP3 server under load and checks all that comes back.\n\nOptions:\n",
	      stdout);
	for (unsigned i = 0; i < ROWS; i++) {
		char name[40];
		(void)snprintf(name, sizeof name, "--%s%s%s", rows[i].name, rows[i].argument ? " " : "",
		               rows[i].argument ? rows[i].argument : "");
		printf("  %c%c%s %-21s %s\n", rows[i].letter ? '-' : ' ',
		       rows[i].letter ? rows[i].letter : ' ', rows[i].letter ? "," : " ", name,
		       rows[i].about);
	}
	fputs("\nProfiles:\n", stdout);
	for (unsigned i = 0; i < profiles_count; i++)
		printf("  %-8s %s\n", profiles[i].name, profiles[i].summary);
	fputs("\nWithout --seconds or --sessions it runs until SIGINT or SIGTERM; sessions that have begun "
	      "are ended\n"
	      "in order, and what was seen is reported; a second signal does not wait for them.\n"
	      "TLS certificates are not checked. Exit code 0: no session failed.\n",
	      stdout);
	exit(EX_OK);
}

static void take_version(struct options *options, const char *text)
{
	(void)options;
	(void)text;
	puts("restante bench " RESTANTE_VERSION);
	exit(EX_OK);
}

static void take_profile(struct options *options, const char *text)
{
	options->plan.client.profile = profile_find(text);
	if (!options->plan.client.profile)
		fail(EX_USAGE, "--profile %s: there is no such profile; --help lists them", text);
}

static void take_tls(struct options *options, const char *text)
{
	for (unsigned i = 0; i <= SECURITY_TLS; i++) {
		if (strcmp(text, security_names[i]) == 0) {
			options->plan.security = (enum security)i;
			return;
		}
	}
	fail(EX_USAGE, "--tls %s: give none, stls or tls", text);
}

static void take_source(struct options *options, const char *text)
{
	struct run_plan *plan = &options->plan;
	if (plan->sources_count == RUN_SOURCES_MAX)
		fail(EX_USAGE, "--source: at most %d of them", RUN_SOURCES_MAX);
	struct sockaddr_storage *source = &plan->sources[plan->sources_count++];
	struct sockaddr_in *v4 = (struct sockaddr_in *)source;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)source;
	*source = (struct sockaddr_storage){0};
	if (inet_pton(AF_INET, text, &v4->sin_addr) == 1)
		v4->sin_family = AF_INET;
	else if (inet_pton(AF_INET6, text, &v6->sin6_addr) == 1)
		v6->sin6_family = AF_INET6;
	else
		fail(EX_USAGE, "--source %s: give an IP address of this machine", text);
}

static uint64_t number_of(const struct option_row *row, const char *text)
{
	uint64_t value;
	if (num_parse(span_str(text), row->max, &value) || value < row->min)
		fail(EX_USAGE, "--%s %s: give a number from %" PRIu64 " to %" PRIu64, row->name, text,
		     row->min, row->max);
	return value;
}

static void take_option(struct options *options, const struct option_row *row, const char *text)
{
	char *to = (char *)options + row->at;
	switch (row->kind) {
	case KIND_FLAG:
		*(bool *)to = true;
		break;
	case KIND_TEXT:
		*(const char **)to = text;
		break;
	case KIND_NUMBER:
		*(uint64_t *)(void *)to = number_of(row, text);
		break;
	case KIND_NUMBER32:
		*(uint32_t *)(void *)to = (uint32_t)number_of(row, text);
		break;
	case KIND_SECONDS:
		*(uint64_t *)(void *)to = number_of(row, text) * 1000;
		break;
	case KIND_TAKEN:
		row->take(options, text);
		break;
	}
}

/* --- what is to be read besides --- */

static bool is_loopback(const struct sockaddr_storage *address)
{
	if (address->ss_family == AF_INET)
		return ntohl(((const struct sockaddr_in *)address)->sin_addr.s_addr) >> 24 == 127;
	return address->ss_family == AF_INET6 &&
	       IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)address)->sin6_addr);
}

static void find_address(struct options *options)
{
	struct run_plan *plan = &options->plan;
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
	struct addrinfo *found;
	int err = getaddrinfo(options->host, options->port, &hints, &found);
	if (err)
		fail(EX_NOHOST, "%s port %s: %s", options->host, options->port, gai_strerror(err));
	memcpy(&plan->address, found->ai_addr, found->ai_addrlen);
	plan->address_len = found->ai_addrlen;
	freeaddrinfo(found);
	if (!is_loopback(&plan->address) && !options->own_server)
		fail(EX_USAGE,
		     "%s is another machine. A load generator stops a server from serving others: give "
		     "--own-server if it "
		     "is yours to put under load",
		     options->host);
	for (unsigned i = 0; i < plan->sources_count; i++)
		if (plan->sources[i].ss_family != plan->address.ss_family)
			fail(EX_USAGE, "--source: %s and its address are not both IPv4 or both IPv6",
			     options->host);
}

static void read_accounts(struct options *options)
{
	struct run_plan *plan = &options->plan;
	struct accounts *accounts = &options->accounts;
	struct error error = {.text = ""};
	int err = accounts_read(accounts, options->user ? options->password_file : options->accounts_file,
	                        options->user, &error);
	if (err)
		fail(err == ERR_SYNTAX ? EX_DATAERR : EX_NOINPUT, "%s",
		     error.text[0] ? error.text : err_text(err));
	if (accounts->count * plan->per_account < plan->connections)
		fail(EX_DATAERR,
		     "%zu accounts for %u connections: a maildrop serves one session at a time; if the "
		     "server shares them, "
		     "give --per-account",
		     accounts->count, plan->connections);
	plan->accounts = accounts;
}

static void check(const struct options *options)
{
	const struct run_plan *plan = &options->plan;
	if (!options->host || (options->accounts_file != NULL) == (options->user != NULL) ||
	    (options->user != NULL) != (options->password_file != NULL))
		fail(EX_USAGE,
		     "give --accounts FILE, or --user NAME and --password-file FILE, and a host and a port; "
		     "--help says more");
	if (profile_has(plan->client.profile, STEP_DELE) && !options->delete_mail)
		fail(EX_USAGE,
		     "profile %s deletes all mail of the accounts: give --delete-mail if that is right",
		     plan->client.profile->name);
	if (profile_has(plan->client.profile, STEP_HOLD) && (plan->rate || plan->sessions))
		fail(EX_USAGE, "profile %s holds all connections: --rate and --sessions say nothing to it",
		     plan->client.profile->name);
	if (plan->resume && plan->security == SECURITY_PLAIN)
		fail(EX_USAGE, "--resume is for TLS: give --tls stls or --tls tls");
}

static void make_long_options(struct option to[ROWS + 1], char *letters)
{
	for (unsigned i = 0; i < ROWS; i++) {
		to[i] = (struct option){rows[i].name, rows[i].argument ? required_argument : no_argument,
		                        NULL, OPTION_FIRST + (int)i};
		if (!rows[i].letter)
			continue;
		*letters++ = rows[i].letter;
		if (rows[i].argument)
			*letters++ = ':';
	}
	to[ROWS] = (struct option){0};
	*letters = '\0';
}

static const struct option_row *row_of(int found)
{
	if (found >= OPTION_FIRST)
		return &rows[found - OPTION_FIRST];
	for (unsigned i = 0; i < ROWS; i++)
		if (found && rows[i].letter == found)
			return &rows[i];
	return NULL;
}

void options_read(struct options *ret, int argc, char **argv)
{
	struct option long_options[ROWS + 1];
	char letters[2 * ROWS + 1], self[] = "restante bench";
	*ret = (struct options){
	    .plan = {.client = {.profile = profile_find("poll"), .window = 1, .passes = 1, .messages = -1},
	             .connections = 1,
	             .per_account = 1,
	             .errors_max = 100,
	             .timeout_ms = 60000}
        };
	make_long_options(long_options, letters);
	argv[0] = self; /* getopt's complaints name it */
	int found;
	while ((found = getopt_long(argc, argv, letters, long_options, NULL)) != -1) {
		const struct option_row *row = row_of(found);
		if (!row)
			exit(EX_USAGE); /* getopt has said what is wrong */
		take_option(ret, row, optarg);
	}
	if (argc - optind == 2) {
		ret->host = argv[optind];
		ret->port = argv[optind + 1];
	}
	check(ret);
	find_address(ret);
	read_accounts(ret);
	ret->plan.client.stls = ret->plan.security == SECURITY_STLS;
}

void options_finish(struct options *options)
{
	accounts_finish(&options->accounts);
}
