/* SPDX-License-Identifier: MIT */
/*
 * `restante export`: an account's messages into a Maildir, an mbox, or a folder of files; and then a look at
 * whether they all are there. Run by administrators; trusts nothing in the messages.
 *
 * An mbox is opened by who runs this. A folder that is not there is made and given to the user the maildrops
 * belong to, as whom the rest is done.
 */
#include "admin/content.h"
#include "admin/maildrop.h"
#include "admin/progress.h"
#include "admin/source.h"
#include "admin/tool.h"
#include "admin/transfer.h"
#include "drop/file.h"
#include "drop/mbox.h"
#include "drop/name.h"
#include "os/os.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <libgen.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

const char tool_name[] = "export";

struct export;

/* One way of writing messages. */
struct format {
	const char *name;
	bool reread; /* looked through in the end; else each message is when it is written */
	/* Before the user changes, and after. 0, or the exit status after complaining. */
	int (*open)(struct export *export);
	int (*begin)(struct export *export);
	/* Writes one message. ERR_EXISTS: it is there already. */
	int (*put)(struct export *export, uint32_t number, const struct source_item *item,
	           struct error *error);
	/* Makes all of it durable. */
	int (*end)(struct export *export);
};

struct export
{
	const char *config, *user, *to;
	const struct format *format;
	uint64_t wait_s;
	bool json;
	struct conf conf;
	const struct account *account;
	struct maildrop maildrop;
	struct progress progress;
	int fd;                /* of the mbox, or of the folder */
	uint64_t at;           /* in the mbox */
	char last;             /* octet of the message */
	struct drop_root root; /* the folder that holds the Maildir */
	char location[PATH_MAX + 16];
	struct keys there;  /* base names in that Maildir: how many files have each */
	struct keys wanted; /* contents that were read: how many of each */
	struct transfer sum;
	uint64_t missing;
};

static int complain_to(const struct export *export, const char *what)
{
	return tool_complain(errno == EACCES || errno == EPERM ? EX_NOPERM : EX_CANTCREAT, "%s: %s: %s.",
	                     export->to, what, strerror(errno));
}

/* The folder's entry for what was just made there, which is not there after a crash otherwise. */
static int sync_entry(const struct export *export)
{
	char path[PATH_MAX];
	(void)snprintf(path, sizeof path, "%s", export->to);
	int folder = open(dirname(path), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int failed = folder < 0 || fsync(folder) != 0;
	int status = failed ? complain_to(export, "can not be made durable") : EX_OK;
	if (folder >= 0)
		(void)close(folder);
	return status;
}

static int write_octets(void *user, struct span octets)
{
	struct export *export = user;
	int err = file_write(export->fd, octets.ptr, octets.len, export->at);
	if (err == ERR_NONE && octets.len)
		export->last = octets.ptr[octets.len - 1];
	export->at += octets.len;
	return err;
}

/* --- an mbox --- */

static int open_mbox(struct export *export)
{
	export->fd = open(export->to, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	return export->fd < 0 ? complain_to(export, "can not be made") : sync_entry(export);
}

struct quoting {
	struct export *export;
	int err;
};

static void put_quoted(void *owner, struct span octets)
{
	struct quoting *quoting = owner;
	if (quoting->err == ERR_NONE)
		quoting->err = write_octets(quoting->export, octets);
}

static int feed_quoter(void *quoter, struct span octets)
{
	mbox_quoter_feed(quoter, octets);
	return ERR_NONE;
}

static int put_mbox(struct export *export, uint32_t number, const struct source_item *item,
                    struct error *error)
{
	(void)number;
	char line[MBOX_FROM_LINE_MAX];
	struct quoting quoting = {export, ERR_NONE};
	struct mbox_quoter quoter;
	uint64_t begin = export->at;
	size_t len = mbox_make_from_line(item->fd, item->offset, item->when.tv_sec, line);
	int err = write_octets(export, span_of(line, len));
	mbox_quoter_init(&quoter, MBOX_QUOTE_ALL, put_quoted, &quoting);
	if (err == ERR_NONE)
		err = source_copy(item, feed_quoter, &quoter);
	mbox_quoter_end(&quoter);
	err = err ? err : quoting.err;
	if (err == ERR_NONE)
		err = write_octets(export, export->last == '\n' ? SPAN("\n") : SPAN("\n\n"));
	if (err) { /* half a message is none */
		error_set(error, "can not be written or read: %s", err_text(err));
		export->at = begin;
		if (ftruncate(export->fd, (off_t)begin) != 0)
			error_set(error, "can not be written, and a part of it is left in %s: %m",
			          export->to);
	}
	return err;
}

static int end_file(struct export *export)
{
	return fsync(export->fd) == 0 ? EX_OK : complain_to(export, "can not be made durable");
}

/* --- folders --- */

/* Made if it is not there; by root for the user we are about to become. */
static int make_folder(struct export *export)
{
	uint32_t uid, gid;
	if (mkdir(export->to, 0700) != 0)
		return errno == EEXIST ? EX_OK : complain_to(export, "can not be made");
	if (geteuid() == 0 && os_find_user(export->conf.keeper_user, &uid, &gid) == ERR_NONE &&
	    lchown(export->to, uid, gid) != 0)
		return complain_to(export, "can not be given away");
	return sync_entry(export);
}

static int open_files(struct export *export)
{
	int status = make_folder(export);
	if (status)
		return status;
	export->fd = open(export->to, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return export->fd < 0 ? complain_to(export, "can not be opened") : EX_OK;
}

/* Whether the file holds this message. */
static int compare(const struct source_item *item, int fd)
{
	struct stat what;
	struct source_item copy = {.fd = fd};
	char wanted[CONTENT_DIGITS + 1], got[CONTENT_DIGITS + 1];
	if (fstat(fd, &what) != 0)
		return ERR_IO;
	copy.length = (uint64_t)what.st_size;
	int err = source_hash(item, wanted);
	if (err == ERR_NONE)
		err = source_hash(&copy, got);
	return err ? err : strcmp(wanted, got) == 0 ? ERR_NONE : ERR_CHANGED;
}

static int write_file(int folder, const char *name, const struct source_item *item)
{
	int fd = file_create(folder, name, 0600);
	if (fd < 0)
		return err_from_errno(errno);
	int err = source_fill(item, fd);
	if (err == ERR_NONE && fdatasync(fd) != 0)
		err = err_from_errno(errno);
	if (err == ERR_NONE)
		err = compare(item, fd);
	if (err)
		(void)unlinkat(folder, name, 0);
	(void)close(fd);
	return err;
}

/* "00000007-UNIQUE-ID.eml" */
static int put_file(struct export *export, uint32_t number, const struct source_item *item,
                    struct error *error)
{
	char name[DROP_UID_MAX + 32], id[DROP_UID_MAX + 1];
	(void)span_to_text(maildrop_unique_id(&export->maildrop, number), id, sizeof id);
	for (char *slash = id; (slash = strchr(slash, '/'));)
		*slash = '_';
	(void)snprintf(name, sizeof name, "%08" PRIu32 "-%s.eml", number, id);
	int err = write_file(export->fd, name, item);
	if (err == ERR_EXISTS) {
		int fd = file_open(export->fd, name, O_RDONLY | O_NONBLOCK, false);
		int differs = fd < 0 ? ERR_CHANGED : compare(item, fd);
		if (fd >= 0)
			(void)close(fd);
		err = differs ? differs : ERR_EXISTS;
	}
	if (err && err != ERR_EXISTS)
		error_set(error, "%s: %s", name,
		          err == ERR_CHANGED ? "another file is there" : err_text(err));
	return err;
}

/* --- a Maildir --- */

static int open_maildir(struct export *export)
{
	struct error error = {""};
	char path[PATH_MAX];
	int status = make_folder(export);
	if (status)
		return status;
	if (!realpath(export->to, path))
		return complain_to(export, "can not be found");
	(void)snprintf(export->location, sizeof export->location, "maildir:%s", path);
	*strrchr(path, '/') = '\0';
	if (drop_root_open(path[0] ? path : "/", &export->root, &error) != ERR_NONE)
		return tool_complain(EX_NOPERM, "%s.", error.text);
	return EX_OK;
}

static struct span base_of(const char *path)
{
	return name_base(span_str(path + sizeof "new/" - 1));
}

static int note_name(void *user, const struct source_item *item)
{
	struct export *export = user;
	uint32_t *count;
	if (keys_find(&export->there, base_of(item->name), &count) != ERR_NONE)
		return tool_complain(EX_OSERR, "no memory.");
	++*count;
	return EX_OK;
}

/* What is there by now, under whatever flags. */
static int begin_maildir(struct export *export)
{
	struct source source;
	int status = source_open(export->to, &source);
	if (status)
		return status;
	if (faccessat(source.fd, "new", F_OK, 0) == 0 && faccessat(source.fd, "cur", F_OK, 0) == 0)
		status = source_read(&source, &export->root.mbox, note_name, export);
	source_close(&source);
	return status;
}

static int put_maildir(struct export *export, uint32_t number, const struct source_item *item,
                       struct error *error)
{
	char name[DROP_NAME_MAX], id[DROP_UID_MAX + 1];
	struct drop_incoming *incoming;
	struct drop_delivered delivered;
	uint32_t *there;
	if (drop_name(export->maildrop.drop, number, name) != ERR_NONE) {
		(void)span_to_text(maildrop_unique_id(&export->maildrop, number), id, sizeof id);
		(void)snprintf(name, sizeof name, "new/%s", id);
	}
	int err = keys_find(&export->there, base_of(name), &there);
	if (err == ERR_NONE && *there) {
		--*there;
		err = ERR_EXISTS;
	}
	if (err == ERR_NONE)
		err = drop_incoming_begin(&export->root, export->location, &incoming, error);
	if (err)
		return err;
	err = source_fill(item, drop_incoming_fd(incoming));
	if (err == ERR_NONE)
		err = drop_incoming_keep_name(incoming, name);
	if (err == ERR_NONE)
		err = drop_deliver(&export->root, incoming, export->location, NULL, &delivered, error);
	drop_incoming_end(incoming);
	return err;
}

static int do_nothing(struct export *export)
{
	(void)export;
	return EX_OK;
}

static const struct format formats[] = {
  /* In a Maildir each message was made durable. */
    {"maildir", true,  open_maildir, begin_maildir, put_maildir, do_nothing},
    {"mbox",    true,  open_mbox,    do_nothing,    put_mbox,    end_file  },
    {"files",   false, open_files,   do_nothing,    put_file,    end_file  },
};

/* --- the messages --- */

static int export_message(struct export *export, uint32_t number, struct error *error)
{
	struct drop_body body;
	struct stat what;
	char hash[CONTENT_DIGITS + 1];
	uint32_t *count;
	int err = drop_body(export->maildrop.drop, number, 0, &body);
	if (err)
		return err;
	struct source_item item = {.fd = body.fd, .offset = body.offset, .length = body.length};
	if (fstat(body.fd, &what) != 0)
		err = ERR_IO;
	else
		item.when = what.st_mtim;
	if (err == ERR_NONE)
		err = source_hash(&item, hash);
	if (err == ERR_NONE)
		err = export->format->put(export, number, &item, error);
	(void)close(body.fd);
	export->sum.octets += err ? 0 : body.length;
	if ((err == ERR_NONE || err == ERR_EXISTS) &&
	    keys_find(&export->wanted, span_of(hash, CONTENT_DIGITS), &count) == ERR_NONE)
		++*count;
	return err;
}

static void export_messages(struct export *export)
{
	uint32_t count = drop_count(export->maildrop.drop);
	for (uint32_t number = 1; number <= count; number++) {
		struct error error = {""};
		progress_show(&export->progress, export->account->name, number, count);
		int err = export_message(export, number, &error);
		export->sum.done += err == ERR_NONE;
		export->sum.present += err == ERR_EXISTS;
		if (err == ERR_NONE || err == ERR_EXISTS)
			continue;
		export->sum.failed++;
		progress_clear(&export->progress);
		(void)tool_complain(EX_OK, "message %" PRIu32 ": %s.", number,
		                    error.text[0] ? error.text : err_text(err));
	}
	progress_clear(&export->progress);
}

/* --- and whether they are there --- */

static int tick_off(void *user, const struct source_item *item)
{
	struct export *export = user;
	char hash[CONTENT_DIGITS + 1];
	uint32_t *count;
	progress_show(&export->progress, "looking at what was written", item->number, item->all);
	if (item->fd >= 0 && source_hash(item, hash) == ERR_NONE &&
	    keys_find(&export->wanted, span_of(hash, CONTENT_DIGITS), &count) == ERR_NONE && *count)
		--*count;
	return EX_OK;
}

static void count_missing(void *export, uint32_t number)
{
	((struct export *)export)->missing += number;
}

static int verify(struct export *export)
{
	static const struct drop_mbox_rules mboxrd;
	/* The mbox may not be ours to open any more. */
	struct source source = {.path = export->to, .fd = export->fd};
	int status = export->fd < 0 ? source_open(export->to, &source) : EX_OK;
	if (status)
		return status;
	status = source_read(&source, &mboxrd, tick_off, export);
	progress_clear(&export->progress);
	if (export->fd < 0)
		source_close(&source);
	keys_each(&export->wanted, count_missing, export);
	if (!status && export->missing)
		status = tool_complain(EX_IOERR, "%s: %" PRIu64 " messages that were written are not there.",
		                       export->to, export->missing);
	return status;
}

/* --- all of it --- */

static int export_account(struct export *export)
{
	int status = maildrop_open(&export->conf, export->account, export->wait_s, &export->maildrop);
	if (status)
		return status;
	export_messages(export);
	status = export->format->end(export);
	maildrop_close(&export->maildrop);
	if (!status && export->format->reread)
		status = verify(export);
	return transfer_report(&export->sum, "", "from", export->account, export->json, status);
}

static int run(struct export *export)
{
	struct accounts accounts = {NULL, 0};
	int status = tool_begin(export->config, &export->conf);
	if (!status)
		status = accounts_read(&export->conf, export->user, &accounts);
	if (!status)
		status = export->format->open(export);
	if (!status)
		status = accounts_become_keeper(&export->conf);
	if (!status)
		status = export->format->begin(export);
	if (!status) {
		export->account = accounts.list[0];
		status = export_account(export);
	}
	if (export->fd >= 0)
		(void)close(export->fd);
	drop_root_close(&export->root);
	keys_finish(&export->there);
	keys_finish(&export->wanted);
	accounts_finish(&accounts);
	return status;
}

/* --- the command line --- */

static void print_help(FILE *to)
{
	fprintf(to,
	        "Usage: restante export [OPTION ...] USER DESTINATION\n\n"
	        "  -t, --format FORMAT  maildir (the default): a Maildir, which may be there already;\n"
	        "                       mbox: a new file; files: a folder, one file for each message\n"
	        "  -w, --wait SECONDS   wait so long for a session to end (%d)\n"
	        "  --json               say what was done as JSON\n"
	        "  -c, --config FILE    configuration of restanted\n"
	        "                       (%s)\n",
	        MAILDROP_WAIT_S, tool_default_config);
}

static int choose_format(const char *name, const struct format **ret)
{
	for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++)
		if (strcmp(name, formats[i].name) == 0) {
			*ret = &formats[i];
			return EX_OK;
		}
	return tool_complain(EX_USAGE, "%s is no format: maildir, mbox or files.", name);
}

/* -1: go on; else the exit status. */
static int parse_options(int argc, char **argv, struct export *export)
{
	enum { JSON = 256 };
	static const struct option options[] = {
	    {"format", required_argument, NULL, 't' },
            {"wait",   required_argument, NULL, 'w' },
	    {"json",   no_argument,       NULL, JSON},
            {"config", required_argument, NULL, 'c' },
	    {"help",   no_argument,       NULL, 'h' },
            {NULL,     0,                 NULL, 0   },
	};
	for (int option; (option = getopt_long(argc, argv, "t:w:c:h", options, NULL)) != -1;) {
		int status = EX_OK;
		if (option == JSON)
			export->json = true;
		else if (option == 'c')
			export->config = optarg;
		else if (option == 't')
			status = choose_format(optarg, &export->format);
		else if (option == 'w')
			status = maildrop_parse_wait(optarg, &export->wait_s);
		else
			return option == 'h' ? (print_help(stdout), EX_OK) : EX_USAGE;
		if (status)
			return status;
	}
	if (argc - optind != 2)
		return tool_complain(EX_USAGE,
		                     "an account and a destination are needed; `restante export --help` says "
		                     "how.");
	export->user = argv[optind];
	export->to = argv[optind + 1];
	return -1;
}

int main(int argc, char **argv)
{
	static struct export export = {
	    .wait_s = MAILDROP_WAIT_S, .format = formats, .fd = -1, .root.fd = -1, .maildrop.root.fd = -1};
	int status = parse_options(argc, argv, &export);
	return status >= 0 ? status : run(&export);
}
