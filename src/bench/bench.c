/* SPDX-License-Identifier: MIT */
/*
 * restante-bench: puts a POP3 server under load and checks all that comes back. Run by people and by
 * bench/compare. It trusts its command line and its accounts file, and nothing the server says.
 */
#include "bench/option.h"
#include "bench/plot.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sysexits.h>
#include <unistd.h>

enum { OWN_FILES = 32 }; /* descriptors besides the connections */

static double cpu_seconds(void)
{
	struct rusage usage;
	(void)getrusage(RUSAGE_SELF, &usage);
	return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
	       (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

/* As many descriptors as there are connections, by the privilege we may have. */
static bool raise_files(unsigned connections)
{
	struct rlimit limit;
	rlim_t want = connections + OWN_FILES;
	if (getrlimit(RLIMIT_NOFILE, &limit))
		return false;
	if (limit.rlim_cur >= want)
		return true;
	limit.rlim_cur = want;
	if (limit.rlim_max < want)
		limit.rlim_max = want;
	if (setrlimit(RLIMIT_NOFILE, &limit) == 0)
		return true;
	fprintf(stderr,
	        "restante bench: %u connections need %" PRIu64
	        " open files; raise the limit (ulimit -n), or divide the "
	        "load among several of these programs\n",
	        connections, (uint64_t)want);
	return false;
}

/* For who starts us and waits for it: the sessions are in and the time of the hold runs. */
static void tell_hold(unsigned held)
{
	if (isatty(STDERR_FILENO))
		report_wipe();
	fprintf(stderr, "holding %u sessions\n", held);
}

/* 0, or how the program exits. */
static int write_svg(const char *path, const struct report_subject *subject, const struct tally *tally)
{
	FILE *file = fopen(path, "we");
	int err = file ? plot_svg(file, subject, tally) : ERR_IO;
	if (file && fclose(file))
		err = ERR_IO;
	if (!err)
		return EX_OK;
	fprintf(stderr, "restante bench: %s: %s\n", path, strerror(errno));
	return EX_CANTCREAT;
}

static int report(const struct options *options, const struct tally *tally)
{
	struct report_subject subject = {&options->plan, options->host, options->port};
	int status = EX_OK, err = ERR_NONE;
	if (options->json)
		err = report_json(stdout, &subject, tally);
	else
		report_text(stdout, &subject, tally);
	if (err || fflush(stdout) || ferror(stdout)) {
		fprintf(stderr, "restante bench: standard output: %s\n",
		        err == ERR_NOMEM ? err_text(err) : strerror(errno));
		status = EX_IOERR;
	}
	if (options->svg_file && !status)
		status = write_svg(options->svg_file, &subject, tally);
	return status ? status : tally_exit(tally);
}

int main(int argc, char **argv)
{
	static struct tally tally; /* large */
	struct options options;
	struct error error = {.text = ""};
	options_read(&options, argc, argv);
	(void)signal(SIGPIPE, SIG_IGN); /* OpenSSL writes to sockets that the server has reset */
	const struct profile *profile = options.plan.client.profile;
	tally.shown = profile_has(profile, STEP_RETR)   ? METRIC_MESSAGE
	              : profile_has(profile, STEP_HOLD) ? METRIC_LOGIN
	                                                : METRIC_SESSION;
	int status = EX_OSERR;
	if (raise_files(options.plan.connections)) {
		bool terminal = isatty(STDERR_FILENO);
		int err =
		    run_load(&options.plan, terminal ? report_progress : NULL, tell_hold, &tally, &error);
		if (terminal)
			report_wipe();
		tally.cpu_seconds = cpu_seconds();
		if (err)
			fprintf(stderr, "restante bench: %s\n", error.text);
		else
			status = report(&options, &tally);
	}
	options_finish(&options);
	tally_finish(&tally);
	return status;
}
