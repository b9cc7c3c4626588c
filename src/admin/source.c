/* SPDX-License-Identifier: MIT */
/* Reading messages from elsewhere. Run by administrators, who say what to read; what is in there is
 * anybody's. */
#include "admin/source.h"

#include "admin/tool.h"
#include "drop/file.h"
#include "drop/mbox.h"
#include "drop/message.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

enum { BLOCK = 65536 };

/* --- opening --- */

static int complain_path(const char *path, int errnum)
{
	if (errnum == EACCES || errnum == EPERM)
		return tool_complain(EX_NOPERM, "%s: %s: it has to be readable for uid %u.", path,
		                     strerror(errnum), geteuid());
	return tool_complain(errnum == ENOENT ? EX_NOINPUT : EX_IOERR, "%s: %s.", path, strerror(errnum));
}

/* A pipe can be read once only: what comes out goes to a file without a name first. */
static int spool(int from, int *ret_fd)
{
	static char block[BLOCK];
	const char *tmp = getenv("TMPDIR");
	int fd = open(tmp ? tmp : "/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	uint64_t at = 0;
	ssize_t got = -1;
	while (fd >= 0 && ((got = read(from, block, sizeof block)) > 0 || (got < 0 && errno == EINTR))) {
		if (got < 0)
			continue;
		if (file_write(fd, block, (size_t)got, at) != ERR_NONE) {
			got = -1;
			break;
		}
		at += (uint64_t)got;
	}
	if (got == 0) {
		*ret_fd = fd;
		return ERR_NONE;
	}
	int errnum = errno;
	if (fd >= 0)
		(void)close(fd);
	errno = errnum;
	return ERR_IO;
}

int source_open(const char *path, struct source *ret)
{
	struct stat what;
	struct source source = {.path = path, .fd = -1};
	if (strcmp(path, "-") == 0) {
		source.path = "standard input";
		if (spool(STDIN_FILENO, &source.fd) != ERR_NONE)
			return complain_path(source.path, errno);
	} else {
		source.fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
		if (source.fd < 0)
			return complain_path(path, errno);
	}
	int failed = fstat(source.fd, &what);
	source.folder = !failed && S_ISDIR(what.st_mode);
	if (failed || (!source.folder && !S_ISREG(what.st_mode))) {
		source_close(&source);
		return tool_complain(EX_NOINPUT, "%s is neither a Maildir nor a file.", path);
	}
	*ret = source;
	return EX_OK;
}

void source_close(struct source *source)
{
	if (source->fd >= 0)
		(void)close(source->fd);
	source->fd = -1;
}

/* --- a Maildir --- */

struct names {
	char (*list)[INDEX_PATH_MAX];
	size_t count, room;
};

static int add_name(struct names *names, const char *part, const char *name)
{
	if (names->count == names->room) {
		size_t room = names->room ? 2 * names->room : 256;
		void *list = realloc(names->list, room * sizeof *names->list);
		if (!list)
			return ERR_NOMEM;
		names->list = list;
		names->room = room;
	}
	(void)snprintf(names->list[names->count++], sizeof *names->list, "%s/%s", part, name);
	return ERR_NONE;
}

static int compare_names(const void *a, const void *b)
{
	const char *left = a, *right = b;
	return name_compare(span_str(left + 4), span_str(right + 4));
}

/* new/ before cur/: a message that is moved in between is seen twice rather than never. */
static int read_names(int folder, const char *part, struct names *names)
{
	int fd = file_open(folder, part, O_RDONLY | O_DIRECTORY, false);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir) {
		int err = err_from_errno(errno);
		if (fd >= 0)
			(void)close(fd);
		return err;
	}
	int err = ERR_NONE;
	for (const struct dirent *entry; err == ERR_NONE && (entry = readdir(dir));)
		if (name_is_message(span_str(entry->d_name)) &&
		    (entry->d_type == DT_REG || entry->d_type == DT_UNKNOWN))
			err = add_name(names, part, entry->d_name);
	(void)closedir(dir);
	return err;
}

static int read_file(struct source_item *item, int folder, source_each *each, void *user)
{
	struct stat what;
	int err = message_open(folder, item->name, false, &item->fd, &what);
	if (err == ERR_NOTREGULAR)
		return EX_OK;
	if (err) {
		item->fd = -1;
		errno = err == ERR_DENIED ? EACCES : ENOENT;
	} else {
		item->length = (uint64_t)what.st_size;
		item->when = what.st_mtim;
	}
	int status = each(user, item);
	if (item->fd >= 0)
		(void)close(item->fd);
	return status;
}

static int read_maildir(const struct source *source, source_each *each, void *user)
{
	struct names names = {0};
	int err = read_names(source->fd, "new", &names);
	if (err == ERR_NONE)
		err = read_names(source->fd, "cur", &names);
	int status = EX_OK;
	if (err == ERR_NOTFOUND)
		status =
		    tool_complain(EX_NOINPUT, "%s is no Maildir: it has no new/ and cur/.", source->path);
	else if (err == ERR_DENIED)
		status = complain_path(source->path, EACCES);
	else if (err)
		status = tool_complain(tool_status_of(err), "%s: %s.", source->path, err_text(err));
	else if (names.count)
		qsort(names.list, names.count, sizeof *names.list, compare_names);
	for (size_t i = 0; !status && i < names.count; i++) {
		struct source_item item = {
		    .path = source->path, .name = names.list[i], .number = i + 1, .all = names.count};
		status = read_file(&item, source->fd, each, user);
	}
	free(names.list);
	return status;
}

/* --- an mbox --- */

struct mbox_source {
	struct source_item item;
	source_each *each;
	void *user;
	int status;
};

/* The date in a From_ line; 0 if strptime() does not know it, which is stricter than whoever wrote it. */
static time_t from_date(int fd, const struct mbox_message *message)
{
	char line[MBOX_SEPARATOR_MAX + 1];
	struct tm parts = {0};
	if (file_read(fd, false, line, message->from_len, message->at) != ERR_NONE)
		return 0;
	line[message->from_len] = '\0';
	for (const char *at = strchr(line, ' '); at; at = strchr(at + 1, ' '))
		if (strptime(at + 1, "%a %b %d %H:%M:%S %Y", &parts) ||
		    strptime(at + 1, "%a %b %d %H:%M %Y", &parts))
			return timegm(&parts);
	return 0;
}

static int take_message(void *owner, const struct mbox_message *message)
{
	struct mbox_source *mbox = owner;
	struct source_item *item = &mbox->item;
	item->number++;
	item->offset = message->at + message->from_len;
	item->length = message->stored;
	item->when = (struct timespec){.tv_sec = from_date(item->fd, message)};
	mbox->status = mbox->each(mbox->user, item);
	return mbox->status ? ERR_CLOSED : ERR_NONE;
}

static int read_mbox(const struct source_item *whole, const struct drop_mbox_rules *rules, source_each *each,
                     void *user)
{
	struct mbox_source mbox = {.item = *whole, .each = each, .user = user};
	struct mbox_parser parser;
	mbox.item.all = mbox.item.number = 0;
	mbox.item.quoted = !rules->keep_quotes;
	int err = mbox_parser_init(&parser, 0);
	parser.unquote = mbox.item.quoted;
	parser.owner = &mbox;
	parser.message = take_message;
	if (err == ERR_NONE)
		err = mbox_read_file(whole->fd, whole->length, 0, &parser);
	mbox_parser_finish(&parser);
	if (err && !mbox.status)
		return tool_complain(tool_status_of(err), "%s: %s.", whole->path, err_text(err));
	return mbox.status;
}

/* Begins with a From_ line; empty lines before it count for nothing. */
static bool is_mbox(int fd)
{
	char head[2 * MBOX_SEPARATOR_MAX];
	ssize_t got = pread(fd, head, sizeof head, 0);
	struct span rest = span_of(head, got > 0 ? (size_t)got : 0);
	while (rest.len && mbox_line_end(rest))
		rest = span_after(rest, mbox_line_end(rest));
	size_t lf = span_find(rest, '\n');
	return lf < rest.len && mbox_line_is_separator(span_first(rest, lf + 1));
}

/* --- files --- */

int source_read(const struct source *source, const struct drop_mbox_rules *rules, source_each *each,
                void *user)
{
	struct stat what;
	if (source->folder)
		return read_maildir(source, each, user);
	if (fstat(source->fd, &what) != 0)
		return complain_path(source->path, errno);
	struct source_item item = {
	    .path = source->path,
	    .number = 1,
	    .all = 1,
	    .when = what.st_mtim,
	    .fd = source->fd,
	    .length = (uint64_t)what.st_size,
	};
	return is_mbox(source->fd) ? read_mbox(&item, rules, each, user) : each(user, &item);
}

struct unquoting {
	int (*sink)(void *user, struct span octets);
	void *user;
	int err;
};

static void put_octets(void *owner, struct span octets)
{
	struct unquoting *to = owner;
	if (to->err == ERR_NONE && octets.len)
		to->err = to->sink(to->user, octets);
}

int source_copy(const struct source_item *item, int (*sink)(void *user, struct span octets), void *user)
{
	struct unquoting to = {sink, user, ERR_NONE};
	struct mbox_quoter quoter;
	char *block = malloc(BLOCK);
	int err = block ? ERR_NONE : ERR_NOMEM;
	mbox_quoter_init(&quoter, item->quoted ? MBOX_UNQUOTE : MBOX_AS_IS, put_octets, &to);
	for (uint64_t at = 0; err == ERR_NONE && at < item->length;) {
		uint64_t left = item->length - at;
		size_t size = left < BLOCK ? (size_t)left : BLOCK;
		err = file_read(item->fd, false, block, size, item->offset + at);
		if (err == ERR_NONE)
			mbox_quoter_feed(&quoter, span_of(block, size));
		err = err ? err : to.err;
		at += size;
	}
	mbox_quoter_end(&quoter);
	free(block);
	return err ? err : to.err;
}

static int add_block(void *content, struct span octets)
{
	return content_add(content, octets);
}

int source_hash(const struct source_item *item, char ret[CONTENT_DIGITS + 1])
{
	struct content content;
	int err = content_begin(&content);
	if (err)
		return err;
	err = source_copy(item, add_block, &content);
	int end = content_end(&content, ret);
	return err ? err : end;
}

struct filling {
	int fd;
	uint64_t at;
};

static int fill_block(void *user, struct span octets)
{
	struct filling *filling = user;
	int err = file_write(filling->fd, octets.ptr, octets.len, filling->at);
	filling->at += octets.len;
	return err;
}

int source_fill(const struct source_item *item, int fd)
{
	struct filling filling = {.fd = fd};
	const struct timespec times[2] = {item->when, item->when};
	int err = source_copy(item, fill_block, &filling);
	return err == ERR_NONE && futimens(fd, times) != 0 ? ERR_IO : err;
}
