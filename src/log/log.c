/* SPDX-License-Identifier: MIT */
/*
 * Log lines: built on the caller's stack, kept in one bounded buffer, written out
 * when the loop turns. Used by every server process; the values may be hostile
 * (user names, addresses, what a client sent), so they are escaped here.
 */
#include "log/log.h"

#include "base/err.h"
#include "base/num.h"
#include "base/time.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
	LOG_BUFFER_MAX = 256 * 1024, /* octets waiting for a slow reader; further lines are dropped */
	LOG_NOTE_MAX = 1024,         /* octets of a note's text */
	STAMP_SECOND = 19,           /* "2026-11-24T04:00:00" */
	STAMP_LEN = 24,              /* "2026-11-24T04:00:00.123Z" */
};

static const char cut_mark[] = " cut=1";

static struct {
	int fd;
	bool is_socket;
	enum log_level least;
	const char *prefix;
	size_t start, len; /* what is buffered: data[start] on */
	uint64_t dropped;
	char data[LOG_BUFFER_MAX];
} out = {.fd = -1, .least = LOG_INFO, .prefix = ""};

static const char *const level_names[] = {
    [LOG_ERROR] = "error", [LOG_WARNING] = "warning", [LOG_INFO] = "info", [LOG_DEBUG] = "debug"};
enum { LEVELS = sizeof level_names / sizeof level_names[0] };

void log_init(int fd, enum log_level least, const char *prefix)
{
	struct stat what;
	out.fd = fd;
	out.least = least;
	out.prefix = prefix;
	out.is_socket = false;
	if (fstat(fd, &what) != 0)
		return;
	out.is_socket = S_ISSOCK(what.st_mode);
	int flags = fcntl(fd, F_GETFL);
	if (S_ISFIFO(what.st_mode) && flags >= 0)
		(void)fcntl(fd, F_SETFL, flags | O_NONBLOCK);
}

enum log_level log_level_get(void)
{
	return out.least;
}

int log_level_parse(struct span name, enum log_level *ret_level)
{
	for (unsigned i = 0; i < LEVELS; i++) {
		if (span_equal(name, span_str(level_names[i]))) {
			*ret_level = (enum log_level)i;
			return ERR_NONE;
		}
	}
	return ERR_SYNTAX;
}

/* Room that stays free in a line for a closing quote, the cut mark and the line feed. */
static size_t room(const struct log_line *line)
{
	size_t full = LOG_LINE_MAX - 1 - sizeof cut_mark;
	return line->len < full ? full - line->len : 0;
}

/* Appends all of it or nothing, and then marks the line as cut. */
static bool put(struct log_line *line, struct span octets)
{
	if (line->cut || octets.len > room(line)) {
		line->cut = true;
		return false;
	}
	memcpy(line->text + line->len, octets.ptr, octets.len);
	line->len += octets.len;
	return true;
}

static void put_escaped(struct log_line *line, unsigned char octet)
{
	static const char hex[] = "0123456789abcdef";
	(void)put(line, span_of((char[]){'\\', 'x', hex[octet >> 4], hex[octet & 15]}, 4));
}

/* A second is formatted once: the calendar costs more than the rest of a line. */
static void put_time(struct log_line *line)
{
	static time_t last = -1;
	static char stamp[32];
	uint64_t now = time_real_ns();
	time_t second = (time_t)(now / 1000000000u);
	if (second != last) {
		struct tm tm;
		if (gmtime_r(&second, &tm))
			(void)strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S.", &tm);
		last = second;
	}
	unsigned ms = (unsigned)(now / 1000000u % 1000u);
	char *to = stamp + STAMP_SECOND + 1;
	to[0] = (char)('0' + ms / 100);
	to[1] = (char)('0' + ms / 10 % 10);
	to[2] = (char)('0' + ms % 10);
	to[3] = 'Z';
	(void)put(line, span_of(stamp, STAMP_LEN));
}

static void begin_raw(struct log_line *line, enum log_level level)
{
	line->level = level;
	line->unwanted = false;
	line->cut = false;
	line->len = 0;
	put_time(line);
	(void)put(line, SPAN(" "));
	(void)put(line, span_str(level_names[level]));
}

void log_begin(struct log_line *line, enum log_level level, const char *event)
{
	line->unwanted = level > out.least;
	if (line->unwanted)
		return;
	begin_raw(line, level);
	if (out.prefix[0]) {
		(void)put(line, SPAN(" "));
		(void)put(line, span_str(out.prefix));
	}
	log_text(line, "event", event);
}

static bool is_plain(unsigned char c)
{
	return c > 0x20 && c < 0x7f && c != '"' && c != '=' && c != '\\';
}

static bool put_key(struct log_line *line, const char *key)
{
	size_t before = line->len;
	bool whole = put(line, SPAN(" ")) && put(line, span_str(key)) && put(line, SPAN("="));
	if (!whole)
		line->len = before;
	return whole;
}

void log_span(struct log_line *line, const char *key, struct span value)
{
	if (line->unwanted || !put_key(line, key))
		return;
	bool plain = value.len > 0;
	for (size_t i = 0; plain && i < value.len; i++)
		plain = is_plain((unsigned char)value.ptr[i]);
	if (plain && value.len <= room(line)) {
		(void)put(line, value);
		return;
	}
	if (!put(line, SPAN("\"")))
		return;
	for (size_t i = 0; i < value.len && !line->cut; i++) {
		unsigned char c = (unsigned char)value.ptr[i];
		if (is_plain(c) || c == ' ')
			(void)put(line, span_of(&value.ptr[i], 1));
		else
			put_escaped(line, c);
	}
	line->text[line->len++] = '"'; /* room() keeps a place for it */
}

void log_text(struct log_line *line, const char *key, const char *value)
{
	log_span(line, key, span_str(value));
}

void log_num(struct log_line *line, const char *key, uint64_t value)
{
	char digits[NUM_TEXT_MAX];
	log_span(line, key, span_of(digits, num_print(digits, value)));
}

void log_err(struct log_line *line, const char *key, int err)
{
	log_text(line, key, err_text(err));
}

/* Appends a finished line to the buffer; false when it does not fit. */
static bool keep(struct span line)
{
	if (line.len > LOG_BUFFER_MAX - out.len)
		return false;
	if (line.len > LOG_BUFFER_MAX - out.start - out.len) {
		memmove(out.data, out.data + out.start, out.len);
		out.start = 0;
	}
	memcpy(out.data + out.start + out.len, line.ptr, line.len);
	out.len += line.len;
	return true;
}

static struct span finish_line(struct log_line *line)
{
	if (line->cut) {
		memcpy(line->text + line->len, cut_mark, sizeof cut_mark - 1);
		line->len += sizeof cut_mark - 1;
	}
	line->text[line->len++] = '\n';
	return span_of(line->text, line->len);
}

/* Lines were lost: says so first, as soon as there is room again. */
static bool report_dropped(void)
{
	if (out.dropped == 0)
		return true;
	struct log_line line;
	begin_raw(&line, LOG_WARNING);
	if (out.prefix[0]) {
		(void)put(&line, SPAN(" "));
		(void)put(&line, span_str(out.prefix));
	}
	log_text(&line, "event", "log-dropped");
	log_num(&line, "lines", out.dropped);
	if (!keep(finish_line(&line)))
		return false;
	out.dropped = 0;
	return true;
}

void log_end(struct log_line *line)
{
	if (line->unwanted)
		return;
	if (!report_dropped() || !keep(finish_line(line)))
		out.dropped++;
	line->unwanted = true; /* ended: a second end adds nothing */
	if (line->level == LOG_ERROR)
		log_flush();
}

void log_note(enum log_level level, const char *format, ...)
{
	struct log_line line;
	char text[LOG_NOTE_MAX];
	va_list args;
	va_start(args, format);
	(void)vsnprintf(text, sizeof text, format, args);
	va_end(args);
	log_begin(&line, level, "note");
	log_text(&line, "text", text);
	log_end(&line);
}

/* The length of "TIME level" at the front of a line of ours, or 0. */
static size_t find_head(struct span line)
{
	static const char shape[] = "dddd-dd-ddTdd:dd:dd.dddZ ";
	if (line.len < sizeof shape)
		return 0;
	for (size_t i = 0; i < sizeof shape - 1; i++) {
		bool digit = line.ptr[i] >= '0' && line.ptr[i] <= '9';
		if (shape[i] == 'd' ? !digit : line.ptr[i] != shape[i])
			return 0;
	}
	struct span rest = span_after(line, sizeof shape - 1);
	enum log_level level;
	size_t len = span_find(rest, ' ');
	if (log_level_parse(span_first(rest, len), &level) != ERR_NONE)
		return 0;
	return sizeof shape - 1 + len;
}

void log_relay(const char *name, struct span text)
{
	struct log_line line;
	size_t head = find_head(text);
	if (head == 0) {
		begin_raw(&line, LOG_WARNING);
		log_text(&line, "proc", name);
		log_text(&line, "event", "stderr");
		log_span(&line, "text", text);
		log_end(&line);
		return;
	}
	line.unwanted = line.cut = false;
	line.len = 0;
	(void)put(&line, span_first(text, head));
	log_text(&line, "proc", name);
	for (size_t i = head; i < text.len && !line.cut; i++) {
		unsigned char c = (unsigned char)text.ptr[i];
		if (c >= 0x20 && c < 0x7f)
			(void)put(&line, span_of(&text.ptr[i], 1));
		else
			put_escaped(&line, c);
	}
	log_end(&line);
}

static void discard(void)
{
	for (size_t i = 0; i < out.len; i++)
		out.dropped += out.data[out.start + i] == '\n';
	out.start = out.len = 0;
}

size_t log_pending(void)
{
	return out.len;
}

void log_flush(void)
{
	while (out.len > 0) {
		const char *from = out.data + out.start;
		ssize_t n = out.is_socket ? send(out.fd, from, out.len, MSG_DONTWAIT | MSG_NOSIGNAL)
		                          : write(out.fd, from, out.len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0) {
			discard(); /* a full disk or a reader that is gone: nobody is to wait for it */
			return;
		}
		out.start += (size_t)n;
		out.len -= (size_t)n;
		if (out.len == 0) {
			out.start = 0;
			if (!report_dropped())
				return;
		}
	}
}
