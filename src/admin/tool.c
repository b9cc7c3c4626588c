/* SPDX-License-Identifier: MIT */
/* Common to the subcommands of `restante`. Run by people and by mail programs; trusts the configuration. */
#include "admin/tool.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sysexits.h>

const char tool_default_config[] = RESTANTE_SYSCONFDIR "/restanted.conf";

int tool_complain(int status, const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	fprintf(stderr, "restante %s: ", tool_name);
	vfprintf(stderr, format, arguments);
	fprintf(stderr, "\n");
	va_end(arguments);
	return status;
}

int tool_status_of(int err)
{
	switch (err) {
	case ERR_NOTFOUND:
		return EX_NOINPUT;
	case ERR_DENIED:
	case ERR_READONLY:
		return EX_NOPERM;
	case ERR_BUSY:
		return EX_TEMPFAIL;
	case ERR_NOMEM:
		return EX_OSERR;
	case ERR_CORRUPT:
	case ERR_SYNTAX:
		return EX_DATAERR;
	case ERR_QUOTA:
		return EX_CANTCREAT;
	default:
		return EX_IOERR;
	}
}

int tool_begin(const char *path, struct conf *ret)
{
	static struct conf_errors errors;
	(void)signal(SIGXFSZ, SIG_IGN);
	const char *from = path ? path : tool_default_config;
	int err = conf_load(from, ret, &errors);
	if (err == ERR_NONE)
		return EX_OK;
	if (err == ERR_NOTFOUND && !path)
		return tool_complain(EX_CONFIG, "there is no %s: name the configuration with --config FILE.",
		                     from);
	conf_print_errors(&errors, from, stderr);
	return EX_CONFIG;
}

int tool_flush(void)
{
	return fflush(stdout) == 0 ? EX_OK : tool_complain(EX_IOERR, "standard output: %s.", strerror(errno));
}
