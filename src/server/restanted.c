/* SPDX-License-Identifier: MIT */
/*
 * restanted, the server: takes the command line, loads and checks the configuration, and
 * becomes the master. See restanted(8). Trusts its command line and its files.
 */
#include "server/master.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

static const char usage[] = "usage: restanted [-tT] [-c FILE] [--libexec DIR]\n"
                            "\n"
                            "Serves mail by POP3, in the foreground.\n"
                            "\n"
                            "  -c, --config FILE  the configuration, see restanted.conf(5);\n"
                            "                     else " RESTANTE_SYSCONFDIR "/restanted.conf\n"
                            "  -t, --test         check it, report every error, and exit\n"
                            "  -T, --show         print all settings in effect, and exit\n"
                            "      --libexec DIR  where the helper programs are; else beside restanted,\n"
                            "                     if they are there, or " RESTANTE_LIBEXECDIR "\n"
                            "      --version      print the version, and exit\n"
                            "      --help         print this, and exit\n";

struct options {
	const char *conf_path;
	const char *libexec;
	bool test, show;
};

/* -1 to go on, else the exit status. */
static int take_options(int argc, char **argv, struct options *ret)
{
	enum { OPTION_LIBEXEC = 256, OPTION_VERSION, OPTION_HELP };
	static const struct option names[] = {
	    {"config",     required_argument, NULL, 'c'},
	    {"test",        no_argument, NULL, 't'},
	    {"show",            no_argument, NULL, 'T'},
	    {"libexec",required_argument, NULL, OPTION_LIBEXEC},
	    {"version",         no_argument, NULL, OPTION_VERSION},
	    {"help",       no_argument, NULL, OPTION_HELP},
	    {0       },
	};
	*ret = (struct options){.conf_path = RESTANTE_SYSCONFDIR "/restanted.conf"};
	for (int option; (option = getopt_long(argc, argv, "c:tT", names, NULL)) != -1;) {
		switch (option) {
		case 'c':
			ret->conf_path = optarg;
			break;
		case 't':
			ret->test = true;
			break;
		case 'T':
			ret->show = true;
			break;
		case OPTION_LIBEXEC:
			ret->libexec = optarg;
			break;
		case OPTION_VERSION:
			printf("restanted " RESTANTE_VERSION "\n");
			return EX_OK;
		case OPTION_HELP:
			(void)fputs(usage, stdout);
			return EX_OK;
		default:
			(void)fputs(usage, stderr);
			return EX_USAGE;
		}
	}
	if (optind == argc)
		return -1;
	fprintf(stderr, "restanted: unexpected argument \"%s\"\n%s", argv[optind], usage);
	return EX_USAGE;
}

/* In a build folder the helpers lie beside restanted; installed, they do not. */
static const char *find_libexec(void)
{
	static char path[CONF_VALUE_MAX];
	static const char worker[] = "/restante-worker";
	ssize_t len = readlink("/proc/self/exe", path, sizeof path - sizeof worker);
	char *slash = len > 0 ? memrchr(path, '/', (size_t)len) : NULL;
	if (slash) {
		memcpy(slash, worker, sizeof worker);
		if (access(path, X_OK) == 0) {
			*slash = '\0';
			return path;
		}
	}
	return RESTANTE_LIBEXECDIR;
}

/* The configuration and its certificates, or 78 and every complaint on standard error. */
static int load(const struct options *options, struct conf *conf, struct cert_set *certs)
{
	struct conf_errors *errors = malloc(sizeof *errors);
	if (!errors)
		return EX_OSERR;
	memset(certs, 0, sizeof *certs);
	int err = conf_load(options->conf_path, conf, errors);
	if (!err && !options->show) {
		check_surroundings(conf, options->libexec, errors);
		(void)cert_load(conf, certs, errors);
		err = errors->errors ? ERR_CONFIG : ERR_NONE;
	}
	conf_print_errors(errors, options->conf_path, stderr);
	free(errors);
	return err ? EX_CONFIG : EX_OK;
}

static int exit_status(int err)
{
	return err == ERR_DENIED ? EX_NOPERM : err == ERR_BUSY ? EX_UNAVAILABLE : EX_OSERR;
}

static int serve(const struct options *options, const struct conf *conf, struct cert_set *certs)
{
	struct error error = {""};
	master.conf_path = options->conf_path;
	master.libexec = options->libexec;
	int err = log_open(conf, &error);
	if (!err)
		err = listen_open(conf, worker_count(conf), &error);
	if (!err)
		return master_run(conf, certs);
	fprintf(stderr, "restanted: %s%s\n", error.text,
	        err == ERR_BUSY     ? "; is another server running?"
	        : err == ERR_DENIED ? "; ports below 1024 need root"
	                            : "");
	listen_close_others(NULL, 0);
	cert_free(certs);
	return exit_status(err);
}

int main(int argc, char **argv)
{
	static struct conf conf;
	static struct cert_set certs;
	struct options options;
	int status = take_options(argc, argv, &options);
	if (status >= 0)
		return status;
	if (!options.libexec)
		options.libexec = find_libexec();
	status = load(&options, &conf, &certs);
	if (options.show && status == EX_OK) {
		conf_print(&conf, stdout);
	} else if (options.test && status == EX_OK) {
		printf("%s: good\n", options.conf_path);
	} else if (status == EX_OK) {
		return serve(&options, &conf, &certs);
	}
	cert_free(&certs);
	return status;
}
