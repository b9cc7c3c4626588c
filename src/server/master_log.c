/* SPDX-License-Identifier: MIT */
/*
 * The master's log file, and the pipes its children log into. Runs in the master. What a
 * child writes is relayed as text under the child's name, and trusted no further.
 */
#include "server/master.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	LOG_FILE_MODE = 0640,
	LOG_READ_MAX = 16 * 1024, /* octets taken from one child before the others get their turn */
};

struct log_pipe {
	uv_poll_t poll;
	int fd;
	char name[32];
	size_t len;
	bool skipping; /* the rest of a line that was too long */
	char line[LOG_LINE_MAX];
};

/* A pipe or terminal is opened anew, if it can be: then our non-blocking mode is not forced on others who
 * have it. Not a file: a second description of it would have an offset of its own. */
static int open_stderr(void)
{
	struct stat what;
	bool may_block =
	    fstat(STDERR_FILENO, &what) == 0 && (S_ISFIFO(what.st_mode) || S_ISCHR(what.st_mode));
	int fd = may_block ? open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC) : -1;
	return fd >= 0 ? fd : fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0);
}

int log_open(const struct conf *conf, struct error *error)
{
	static int current = -1;
	bool to_stderr = strcmp(conf->log_file, "-") == 0;
	int fd = to_stderr ? open_stderr()
	                   : open(conf->log_file, O_WRONLY | O_CREAT | O_APPEND | O_NOCTTY | O_CLOEXEC,
	                          LOG_FILE_MODE);
	if (fd < 0) {
		error_set(error, "opening the log \"%s\": %s", conf->log_file, strerror(errno));
		return err_from_errno(errno);
	}
	log_flush();
	log_init(fd, (enum log_level)conf->log_level, "proc=master");
	if (current >= 0)
		(void)close(current);
	current = fd;
	return ERR_NONE;
}

static void relay_line(struct log_pipe *pipe)
{
	if (!pipe->skipping)
		log_relay(pipe->name, span_of(pipe->line, pipe->len));
	pipe->len = 0;
}

static void take_octets(struct log_pipe *pipe, struct span octets)
{
	for (size_t i = 0; i < octets.len; i++) {
		if (octets.ptr[i] == '\n') {
			relay_line(pipe);
			pipe->skipping = false;
		} else if (pipe->len < sizeof pipe->line) {
			pipe->line[pipe->len++] = octets.ptr[i];
		} else {
			relay_line(pipe);
			pipe->skipping = true;
		}
	}
}

/* One read; false at the end of file. */
static bool read_once(struct log_pipe *pipe)
{
	char octets[LOG_READ_MAX];
	ssize_t n = read(pipe->fd, octets, sizeof octets);
	if (n > 0)
		take_octets(pipe, span_of(octets, (size_t)n));
	return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
}

static void handle_readable(uv_poll_t *poll, int status, int events)
{
	struct log_pipe *pipe = poll->data;
	(void)status;
	(void)events;
	if (!read_once(pipe))
		(void)uv_poll_stop(poll);
}

struct log_pipe *log_pipe_open(uv_loop_t *loop, int fd, const char *name)
{
	struct log_pipe *pipe = calloc(1, sizeof *pipe);
	if (!pipe || uv_poll_init(loop, &pipe->poll, fd) != 0) {
		free(pipe);
		(void)close(fd);
		return NULL;
	}
	pipe->fd = fd;
	pipe->poll.data = pipe;
	(void)snprintf(pipe->name, sizeof pipe->name, "%s", name);
	(void)uv_poll_start(&pipe->poll, UV_READABLE, handle_readable);
	return pipe;
}

static void free_pipe(uv_handle_t *handle)
{
	free(handle->data);
}

void log_pipe_close(struct log_pipe *pipe)
{
	if (!pipe)
		return;
	char octets[LOG_READ_MAX];
	ssize_t n;
	while ((n = read(pipe->fd, octets, sizeof octets)) > 0)
		take_octets(pipe, span_of(octets, (size_t)n));
	if (pipe->len)
		relay_line(pipe);
	uv_close((uv_handle_t *)&pipe->poll, free_pipe);
	(void)close(pipe->fd);
}
