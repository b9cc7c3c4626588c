/* SPDX-License-Identifier: MIT */
/*
 * `restante SUB ARGUMENTS` runs restante-SUB, so that each subcommand links only what it
 * needs. Run by people; trusts its arguments as far as the shell does.
 *
 * The helper is looked for beside this program (as in a build folder) and then in the libexec folder.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

enum { PATH_SIZE = 4096 };

static const struct {
	const char *name, *about;
} subcommands[] = {
    {"bench",   "put a POP3 server under load"                     },
    {"deliver", "put a message from standard input into a maildrop"},
    {"export",  "copy the messages of a maildrop elsewhere"        },
    {"import",  "put messages from elsewhere into a maildrop"      },
    {"reindex", "make the index of a maildrop anew"                },
    {"user",    "add, change, list and delete accounts"            },
    {"verify",  "hold the index of a maildrop against its messages"},
};

static void print_help(FILE *to)
{
	fprintf(to, "Usage: restante SUBCOMMAND [ARGUMENT ...]\n"
	            "       restante --help | --version\n\n"
	            "Subcommands; `restante SUBCOMMAND --help` says more:\n");
	for (size_t i = 0; i < sizeof subcommands / sizeof subcommands[0]; i++)
		fprintf(to, "  %-8s %s\n", subcommands[i].name, subcommands[i].about);
}

static bool is_subcommand(const char *name)
{
	for (size_t i = 0; i < sizeof subcommands / sizeof subcommands[0]; i++)
		if (strcmp(subcommands[i].name, name) == 0)
			return true;
	return false;
}

/* The folder of this program, with its slash; "" if the kernel does not tell. */
static void find_own_folder(char *to, size_t size)
{
	ssize_t len = readlink("/proc/self/exe", to, size - 1);
	to[len > 0 ? len : 0] = '\0';
	char *slash = strrchr(to, '/');
	if (slash)
		slash[1] = '\0';
}

/* Comes back on failure only. */
static int run(const char *folder, const char *name, char **arguments)
{
	char path[PATH_SIZE + 64], helper[64];
	(void)snprintf(helper, sizeof helper, "restante-%s", name);
	(void)snprintf(path, sizeof path, "%s%s", folder, helper);
	arguments[0] = helper;
	(void)execv(path, arguments);
	return errno;
}

int main(int argc, char **argv)
{
	char own[PATH_SIZE];
	if (argc < 2) {
		print_help(stderr);
		return EX_USAGE;
	}
	const char *name = argv[1];
	if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0) {
		print_help(stdout);
		return EX_OK;
	}
	if (strcmp(name, "--version") == 0) {
		printf("restante %s\n", RESTANTE_VERSION);
		return EX_OK;
	}
	if (!is_subcommand(name)) {
		fprintf(stderr, "restante: there is no subcommand \"%s\"; `restante --help` lists them.\n",
		        name);
		return EX_USAGE;
	}
	find_own_folder(own, sizeof own);
	int errnum = own[0] ? run(own, name, argv + 1) : ENOENT;
	if (errnum == ENOENT)
		errnum = run(RESTANTE_LIBEXECDIR "/", name, argv + 1);
	fprintf(stderr,
	        "restante: cannot run restante-%s from %s or %s: %s. Is Restante installed completely?\n",
	        name, own, RESTANTE_LIBEXECDIR, strerror(errnum));
	return EX_UNAVAILABLE;
}
