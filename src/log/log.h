/* SPDX-License-Identifier: MIT */
/*
 * Log lines: one line per event, `key=value`, hostile text escaped, no secret
 * ever (there is no function here that takes one). Programs log; libraries do
 * not, except that they may be handed a struct log_line to fill.
 *
 * One thread of a process logs: the one that runs the loop.
 *
 * A line is built on the stack and added to a per-process buffer; log_flush()
 * writes the buffer out. A full or stuck log never
 * blocks the process: lines are dropped and counted, and the count is the first
 * thing logged when there is room again.
 *
 *   2026-11-24T04:00:00.123Z info event=login session=1.17 user=alice ...
 */
#ifndef LOG_LOG_H
#define LOG_LOG_H

#include "base/span.h"

#include <stdint.h>

enum { LOG_LINE_MAX = 2048 }; /* octets of one line; longer ones are cut and end in " cut=1" */

enum log_level { LOG_ERROR, LOG_WARNING, LOG_INFO, LOG_DEBUG };

struct log_line {
	enum log_level level;
	bool unwanted; /* less urgent than what is written: nothing is built */
	bool cut;      /* something did not fit; nothing more is added */
	size_t len;
	char text[LOG_LINE_MAX];
};

/* Where this process's lines go: a pipe or file descriptor (made non-blocking here
 * when it is a pipe), and the least urgent level that is written. `prefix` (a literal), e.g.
 * "proc=master", is put after the level; may be "". Called again it keeps what is buffered: a log
 * file is reopened so. The descriptor stays the caller's. */
void log_init(int fd, enum log_level least, const char *prefix);
enum log_level log_level_get(void);

/* "error", "warning", "info", "debug" -> level; ERR_SYNTAX. */
int log_level_parse(struct span name, enum log_level *ret_level);

/* Begins a line for `event` (a lower-case literal such as "login"). */
void log_begin(struct log_line *line, enum log_level level, const char *event);
/* Adds ` key=value`. Values with octets outside 0x21-0x7e, `"`, `=` or `\` are
 * quoted, and such octets written as \xHH (space stays inside quotes). */
void log_span(struct log_line *line, const char *key, struct span value);
void log_text(struct log_line *line, const char *key, const char *value);
void log_num(struct log_line *line, const char *key, uint64_t value);
/* Adds ` key="error text"` for an enum err. */
void log_err(struct log_line *line, const char *key, int err);
/* Ends the line and puts it into the process's buffer. */
void log_end(struct log_line *line);

/* A line with nothing but a message: event=note text="...". */
void log_note(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* For the master: adds one line of a child, without its line feed, with `proc=NAME` put after the level, so
 * that no child speaks in another's name. Octets outside 0x20-0x7e are escaped. What does not begin
 * like a line of ours (a library's last words on standard error) becomes event=stderr text="...". */
void log_relay(const char *name, struct span line);

/* Writes what is buffered; called in time by the loop and before exit. log_end() calls it for an error. */
void log_flush(void);

/* Octets that are buffered. */
size_t log_pending(void);

#endif
