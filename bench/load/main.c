/* SPDX-License-Identifier: MIT */
/*
 * pop3-load: puts a POP3 server under load and checks all that comes back. Run by bench/compare and
 * by hand. It trusts its command line and its accounts file, and nothing the server says.
 */
#include "base/num.h"
#include "load/run.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <netdb.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sysexits.h>

static volatile int stop;

static void on_signal(int number)
{
	(void)number;
	stop = 1;
}

static const char *const security_names[] = {
    [SECURITY_PLAIN] = "plain",
    [SECURITY_STLS] = "stls",
    [SECURITY_TLS] = "tls",
};

struct settings {
	struct run_plan plan;
	const char *accounts_file;
	const char *host;
	const char *port;
	bool json;
};

static void print_help(FILE *to)
{
	fputs(
	    "usage: pop3-load [options] --accounts FILE HOST PORT\n"
	    "  -a, --accounts FILE     lines of name:password; a session takes the one that rested longest\n"
	    "  -p, --profile NAME      what a session does:\n",
	    to);
	for (unsigned i = 0; i < profiles_count; i++)
		fprintf(to, "                            %-6s %s\n", profiles[i].name, profiles[i].summary);
	fputs(
	    "  -t, --tls KIND          plain (default), stls or tls (from the first octet)\n"
	    "  -r, --resume            resume TLS sessions instead of full handshakes\n"
	    "  -c, --connections N     sessions at the same time (default 1)\n"
	    "  -s, --seconds N         begin no session after N seconds; profile idle: hold N seconds\n"
	    "  -n, --sessions N        end after N sessions\n"
	    "  -w, --window N          RETR and DELE: commands sent ahead of their replies (default 1)\n"
	    "  -P, --passes N          RETR: fetch each message N times in a session (default 1)\n"
	    "  -m, --messages N        messages every maildrop has; another count is an error\n"
	    "  -j, --json              one JSON object on standard output\n"
	    "Without -s or -n it runs until SIGINT or SIGTERM; sessions that have begun are ended in order.\n"
	    "TLS certificates are not checked.\n",
	    to);
}

/* A number of the command line, or the end of the program. */
static uint64_t number_of(const char *name, const char *text, uint64_t min, uint64_t max)
{
	uint64_t value;
	if (num_parse(span_str(text), max, &value) || value < min) {
		fprintf(stderr, "pop3-load: -%s %s: give a number from %" PRIu64 " to %" PRIu64 "\n", name,
		        text, min, max);
		exit(EX_USAGE);
	}
	return value;
}

static enum security security_of(const char *text)
{
	for (unsigned i = 0; i < sizeof(security_names) / sizeof(security_names[0]); i++)
		if (strcmp(text, security_names[i]) == 0)
			return (enum security)i;
	fprintf(stderr, "pop3-load: --tls %s: give plain, stls or tls\n", text);
	exit(EX_USAGE);
}

static const struct profile *profile_of(const char *text)
{
	const struct profile *profile = profile_find(text);
	if (profile)
		return profile;
	fprintf(stderr, "pop3-load: --profile %s: there is no such profile; --help lists them\n", text);
	exit(EX_USAGE);
}

static void take_option(struct settings *set, int option, const char *name)
{
	struct run_plan *plan = &set->plan;
	switch (option) {
	case 'a':
		set->accounts_file = optarg;
		break;
	case 'p':
		plan->client.profile = profile_of(optarg);
		break;
	case 't':
		plan->security = security_of(optarg);
		break;
	case 'r':
		plan->resume = true;
		break;
	case 'c':
		plan->connections = (unsigned)number_of(name, optarg, 1, RUN_CONNECTIONS_MAX);
		break;
	case 's':
		plan->duration_ms = number_of(name, optarg, 1, 1000000) * 1000;
		break;
	case 'n':
		plan->sessions = number_of(name, optarg, 1, UINT64_MAX);
		break;
	case 'w':
		plan->client.window = (uint32_t)number_of(name, optarg, 1, CLIENT_WINDOW_MAX);
		break;
	case 'P':
		plan->client.passes = (uint32_t)number_of(name, optarg, 1, 1000000);
		break;
	case 'm':
		plan->client.messages = (int64_t)number_of(name, optarg, 0, CLIENT_MESSAGES_MAX);
		break;
	case 'j':
		set->json = true;
		break;
	case 'h':
		print_help(stdout);
		exit(EX_OK);
	default:
		exit(EX_USAGE); /* getopt has said what is wrong */
	}
}

static void read_command_line(struct settings *set, int argc, char **argv)
{
	static const struct option options[] = {
	    {"accounts",         required_argument, NULL, 'a'},
	    {"profile",              required_argument, NULL, 'p'},
	    {"tls",                  required_argument, NULL, 't'},
	    {"resume",no_argument, NULL, 'r'},
	    {"connections",               required_argument, NULL, 'c'},
	    {"seconds",              required_argument, NULL, 's'},
	    {"sessions",              required_argument, NULL, 'n'},
	    {"window",                  required_argument, NULL, 'w'},
	    {"passes",                    required_argument, NULL, 'P'},
	    {"messages",               required_argument, NULL, 'm'},
	    {"json",      no_argument, NULL, 'j'},
	    {"help",              no_argument, NULL, 'h'},
	    {0	         },
	};
	set->plan = (struct run_plan){
	    .client = {.profile = &profiles[0], .window = 1, .passes = 1, .messages = -1},
              .connections = 1
        };
	int option, index;
	while ((option = getopt_long(argc, argv, "a:p:t:rc:s:n:w:P:m:jh", options, &index)) != -1) {
		char letter[2] = {(char)option, '\0'};
		take_option(set, option, letter);
	}
	if (!set->accounts_file || argc - optind != 2) {
		fputs("pop3-load: give --accounts FILE, a host and a port; --help says more\n", stderr);
		exit(EX_USAGE);
	}
	set->host = argv[optind];
	set->port = argv[optind + 1];
	set->plan.client.stls = set->plan.security == SECURITY_STLS;
}

static void read_accounts(struct settings *set)
{
	FILE *file = fopen(set->accounts_file, "re");
	if (!file) {
		fprintf(stderr, "pop3-load: %s: %s\n", set->accounts_file, strerror(errno));
		exit(EX_NOINPUT);
	}
	struct run_plan *plan = &set->plan;
	char *line = NULL;
	size_t room = 0;
	while (getline(&line, &room, file) > 0) {
		line[strcspn(line, "\r\n")] = '\0';
		char *colon = strchr(line, ':');
		if (!colon)
			continue;
		*colon = '\0';
		struct account account = {.name = strdup(line), .password = strdup(colon + 1)};
		struct account *more = reallocarray(plan->accounts, plan->accounts_count + 1, sizeof(*more));
		if (!account.name || !account.password || !more) {
			fputs("pop3-load: no memory for the accounts\n", stderr);
			exit(EX_OSERR);
		}
		plan->accounts = more;
		plan->accounts[plan->accounts_count++] = account;
	}
	free(line);
	fclose(file);
	if (plan->accounts_count < plan->connections) {
		fprintf(stderr,
		        "pop3-load: %s: %zu accounts for %u connections; give each its own maildrop\n",
		        set->accounts_file, plan->accounts_count, plan->connections);
		exit(EX_DATAERR);
	}
}

static void resolve_address(struct settings *set)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
	struct addrinfo *found;
	int err = getaddrinfo(set->host, set->port, &hints, &found);
	if (err) {
		fprintf(stderr, "pop3-load: %s port %s: %s\n", set->host, set->port, gai_strerror(err));
		exit(EX_NOHOST);
	}
	memcpy(&set->plan.address, found->ai_addr, found->ai_addrlen);
	set->plan.address_len = found->ai_addrlen;
	freeaddrinfo(found);
}

static double cpu_seconds(void)
{
	struct rusage usage;
	getrusage(RUSAGE_SELF, &usage);
	return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
	       (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

/* As a JSON string; the text may hold what a server said. */
static void print_string(const char *text)
{
	putchar('"');
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			putchar('\\');
		putchar((unsigned char)*text < 0x20 || (unsigned char)*text >= 0x7f ? '?' : *text);
	}
	putchar('"');
}

static void print_json(const struct settings *set, const struct run_result *result)
{
	const struct run_plan *plan = &set->plan;
	printf("{\"profile\": \"%s\", \"security\": \"%s\", \"connections\": %u, \"window\": %" PRIu32
	       ", \"passes\": %" PRIu32
	       ", \"seconds\": %.3f, \"client_cpu_seconds\": %.3f, \"sessions\": %" PRIu64
	       ", \"resumed\": %" PRIu64 ", \"held\": %" PRIu64 ", \"messages\": %" PRIu64
	       ", \"octets\": %" PRIu64 ", \"errors\": %" PRIu64 ", \"first_error\": ",
	       plan->client.profile->name, security_names[plan->security], plan->connections,
	       plan->client.window, plan->client.passes, (double)result->nanoseconds / 1e9, cpu_seconds(),
	       result->sessions, result->resumed, result->held, result->messages, result->octets,
	       result->errors);
	print_string(result->first_error.text);
	puts("}");
}

static void print_line(const struct settings *set, const struct run_result *result)
{
	double seconds = (double)result->nanoseconds / 1e9;
	printf("%s %s: %" PRIu64 " sessions, %.1f/s; %" PRIu64 " messages, %.1f MB/s; %" PRIu64
	       " resumed, %" PRIu64 " held; %" PRIu64 " errors; %.2f s, %.2f s of CPU here\n",
	       set->plan.client.profile->name, security_names[set->plan.security], result->sessions,
	       (double)result->sessions / seconds, result->messages, (double)result->octets / seconds / 1e6,
	       result->resumed, result->held, result->errors, seconds, cpu_seconds());
}

static void free_accounts(struct run_plan *plan)
{
	for (size_t i = 0; i < plan->accounts_count; i++) {
		free(plan->accounts[i].name);
		free(plan->accounts[i].password);
	}
	free(plan->accounts);
}

int main(int argc, char **argv)
{
	struct settings set = {0};
	read_command_line(&set, argc, argv);
	resolve_address(&set);
	read_accounts(&set);
	struct sigaction action = {.sa_handler = on_signal};
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	struct run_result result;
	struct error error = {.text = ""};
	int err = run_load(&set.plan, &stop, &result, &error);
	free_accounts(&set.plan);
	if (err) {
		fprintf(stderr, "pop3-load: %s\n", error.text);
		return EX_OSERR;
	}
	if (set.json)
		print_json(&set, &result);
	else
		print_line(&set, &result);
	if (result.errors)
		fprintf(stderr, "pop3-load: %" PRIu64 " sessions failed; the first: %s\n", result.errors,
		        result.first_error.text);
	return result.errors || !result.sessions ? EX_PROTOCOL : EX_OK;
}
