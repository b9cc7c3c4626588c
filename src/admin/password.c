/* SPDX-License-Identifier: MIT */
/* Reading a new password. Runs in `restante user`, for the person or script that
 * started it. */
#include "admin/password.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <termios.h>
#include <unistd.h>

static volatile sig_atomic_t caught;

static void note_signal(int number)
{
	caught = number;
}

/* read(2) of one octet. With `unblocked`, signals come while it waits and at no other time: one that came
 * between the prompt and a plain read would be noticed after the next line only. */
static ssize_t read_octet(int fd, const sigset_t *unblocked, char *to)
{
	struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
	if (unblocked && ppoll(&poll_fd, 1, NULL, unblocked) < 0)
		return -1;
	return read(fd, to, 1);
}

static int read_line(int fd, const sigset_t *unblocked, struct secret *ret)
{
	char line[SECRET_MAX + 2]; /* with a CR, and one more that shows it is too long */
	size_t len = 0;
	int err = ERR_NONE;
	for (;;) {
		/* One octet at a time: what follows the line is not ours. */
		ssize_t got = read_octet(fd, unblocked, line + len);
		if (got < 0) {
			err = errno == EINTR ? ERR_CLOSED : ERR_IO;
			break;
		}
		if (got == 0 || line[len] == '\n') {
			err = got == 0 && len == 0 ? ERR_CLOSED : ERR_NONE;
			break;
		}
		if (++len == sizeof line) {
			err = ERR_FULL;
			break;
		}
	}
	if (!err && len > 0 && line[len - 1] == '\r')
		len--;
	if (!err)
		err = secret_init(ret, span_of(line, len));
	secret_wipe(line, sizeof line);
	return err;
}

int password_read(int fd, struct secret *ret)
{
	return read_line(fd, NULL, ret);
}

static int ask(const char *prompt, const char *name, const sigset_t *unblocked, struct secret *ret)
{
	fprintf(stderr, "%s %s: ", prompt, name);
	(void)fflush(stderr);
	int err = read_line(STDIN_FILENO, unblocked, ret);
	fprintf(stderr, "\n"); /* the one typed was not echoed */
	return err;
}

static int ask_twice(const char *name, const sigset_t *unblocked, struct secret *ret)
{
	struct secret first = {0}, second = {0};
	int err = ask("New password for", name, unblocked, &first);
	if (!err)
		err = ask("The same again for", name, unblocked, &second);
	if (!err && !secret_equal(secret_reveal(&first), secret_reveal(&second)))
		err = ERR_CHANGED;
	secret_finish(&second);
	if (err)
		secret_finish(&first);
	else
		*ret = first;
	return err;
}

int password_ask(const char *name, struct secret *ret)
{
	static const int signals[] = {SIGINT, SIGQUIT, SIGTERM, SIGHUP, SIGTSTP};
	enum { SIGNALS = sizeof signals / sizeof signals[0] };
	struct sigaction before[SIGNALS], handler = {.sa_handler = note_signal};
	struct termios shown, hidden;
	sigset_t blocked, unblocked;
	if (tcgetattr(STDIN_FILENO, &shown) != 0)
		return ERR_IO;
	hidden = shown;
	hidden.c_lflag &= ~(tcflag_t)ECHO;
	caught = 0;
	(void)sigemptyset(&blocked);
	for (unsigned i = 0; i < SIGNALS; i++)
		(void)sigaddset(&blocked, signals[i]);
	(void)sigprocmask(SIG_BLOCK, &blocked, &unblocked);
	for (unsigned i = 0; i < SIGNALS; i++)
		(void)sigaction(signals[i], &handler, &before[i]);
	int err =
	    tcsetattr(STDIN_FILENO, TCSAFLUSH, &hidden) == 0 ? ask_twice(name, &unblocked, ret) : ERR_IO;
	/* A signal is obeyed when the echo is on again. */
	(void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &shown);
	for (unsigned i = 0; i < SIGNALS; i++)
		(void)sigaction(signals[i], &before[i], NULL);
	(void)sigprocmask(SIG_SETMASK, &unblocked, NULL);
	if (caught)
		(void)raise(caught);
	return err;
}
