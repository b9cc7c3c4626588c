/* SPDX-License-Identifier: MIT */
/*
 * `restante verify`: holds what the index of a maildrop says against the messages: every size, every fact,
 * every unique-id, and how many there are. Run by administrators; changes nothing that a login would not.
 */
#include "admin/content.h"
#include "admin/maildrops.h"
#include "admin/tool.h"
#include "drop/file.h"
#include "drop/measure.h"
#include "drop/name.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

const char tool_name[] = "verify";

enum {
	BLOCK = 131072,
	OPENS_MAX = 3, /* of a maildrop that changes while it is counted */
};

struct verify {
	struct maildrops *maildrops;
	const struct account *account;
	struct maildrop maildrop;
	struct keys unique_ids;
	uint64_t problems;
	json_t *list; /* of the problems; NULL: printed */
};

/* `number` 0: with the maildrop as a whole. */
static void __attribute__((format(printf, 3, 4)))
note(struct verify *verify, uint32_t number, const char *format, ...)
{
	char text[300], id[DROP_UID_MAX + 1] = "";
	va_list arguments;
	va_start(arguments, format);
	(void)vsnprintf(text, sizeof text, format, arguments);
	va_end(arguments);
	verify->problems++;
	if (number)
		(void)span_to_text(maildrop_unique_id(&verify->maildrop, number), id, sizeof id);
	if (verify->list) {
		(void)json_array_append_new(verify->list,
		                            json_pack("{s:I, s:s, s:s}", "number", (json_int_t)number,
		                                      "unique_id", id, "problem", text));
		return;
	}
	progress_clear(&verify->maildrops->progress);
	if (number)
		printf("%s: message %" PRIu32 ", %s: %s\n", verify->account->name, number, id, text);
	else
		printf("%s: %s\n", verify->account->name, text);
}

/* --- one message --- */

static int measure_body(const struct drop_body *body, struct facts *ret)
{
	static char block[BLOCK];
	struct measure measure = {0};
	for (uint64_t at = 0; at < body->length;) {
		uint64_t left = body->length - at;
		size_t size = left < BLOCK ? (size_t)left : BLOCK;
		int err = file_read(body->fd, false, block, size, body->offset + at);
		if (err)
			return err;
		measure_add(&measure, span_of(block, size));
		at += size;
	}
	*ret = measure_end(&measure);
	return ERR_NONE;
}

static void check_facts(struct verify *verify, uint32_t number, const struct drop_body *body)
{
	struct facts facts;
	uint64_t listed = verify->maildrop.listing.octets[number - 1];
	int err = measure_body(body, &facts);
	if (err)
		note(verify, number, "can not be read: %s", err_text(err));
	else if (facts.wire != listed || facts.wire != body->wire)
		note(verify, number, "has %" PRIu64 " octets on the wire; the index says %" PRIu64,
		     facts.wire, listed);
	else if (facts.header != body->header || facts.crlf != body->crlf || facts.no_dots != body->no_dots)
		note(verify, number, "the index has other facts of its lines");
}

/* In a Maildir the unique-id comes from the file's name. */
static void check_name(struct verify *verify, uint32_t number, int fd)
{
	char path[DROP_NAME_MAX], first[DROP_UID_MAX], second[DROP_UID_MAX];
	size_t first_len, second_len;
	struct stat what;
	struct span id = maildrop_unique_id(&verify->maildrop, number);
	int err = drop_name(verify->maildrop.drop, number, path);
	if (err == ERR_UNSUPPORTED)
		return;
	struct span base = err ? SPAN("") : name_base(span_str(path + 4));
	if (err == ERR_NONE && fstat(fd, &what) != 0)
		err = ERR_IO;
	if (err == ERR_NONE)
		err = name_unique_id(base, first, &first_len);
	if (err == ERR_NONE)
		err = name_second_unique_id(base, what.st_ino, second, &second_len);
	if (err)
		note(verify, number, "its name can not be read: %s", err_text(err));
	else if (!span_equal(id, span_of(first, first_len)) && !span_equal(id, span_of(second, second_len)))
		note(verify, number, "the unique-id is not that of %s", path);
}

static int check_message(struct verify *verify, uint32_t number)
{
	struct drop_body body;
	uint32_t *before;
	int err = keys_find(&verify->unique_ids, maildrop_unique_id(&verify->maildrop, number), &before);
	if (err)
		return err;
	if (*before)
		note(verify, number, "message %" PRIu32 " has the same unique-id", *before);
	*before = number;
	err = drop_body(verify->maildrop.drop, number, 0, &body);
	if (err) {
		note(verify, number, "can not be had: %s", err_text(err));
		return ERR_NONE;
	}
	check_facts(verify, number, &body);
	check_name(verify, number, body.fd);
	(void)close(body.fd);
	return ERR_NONE;
}

/* --- the maildrop --- */

static int check_count(struct verify *verify)
{
	uint64_t there;
	for (unsigned opens = 0;; opens++) {
		uint32_t count = drop_count(verify->maildrop.drop);
		int err = drop_recount(verify->maildrop.drop, &there);
		if (err == ERR_UNSUPPORTED || (err == ERR_NONE && there == count))
			return EX_OK;
		if (err)
			note(verify, 0, "the messages can not be counted: %s", err_text(err));
		else if (opens == OPENS_MAX)
			note(verify, 0, "the index has %" PRIu32 " messages, and %" PRIu64 " are there",
			     count, there);
		if (err || opens == OPENS_MAX)
			return EX_OK;
		/* Mail that came in meanwhile is no problem: an open finds it, if the index is right. */
		maildrop_close(&verify->maildrop);
		int status = maildrop_open(&verify->maildrops->conf, verify->account,
		                           verify->maildrops->wait_s, &verify->maildrop);
		if (status)
			return status;
	}
}

static int check_messages(struct verify *verify)
{
	uint32_t count = drop_count(verify->maildrop.drop);
	int err = ERR_NONE;
	for (uint32_t number = 1; err == ERR_NONE && number <= count; number++) {
		progress_show(&verify->maildrops->progress, verify->account->name, number, count);
		err = check_message(verify, number);
	}
	if (err)
		return tool_complain(tool_status_of(err), "account %s: %s.", verify->account->name,
		                     err_text(err));
	return check_count(verify);
}

static int report(struct verify *verify, json_t *result)
{
	uint32_t count = drop_count(verify->maildrop.drop);
	uint64_t octets = drop_octets(verify->maildrop.drop);
	if (result)
		(void)json_object_update_new(result, json_pack("{s:I, s:I, s:O}", "messages",
		                                               (json_int_t)count, "octets",
		                                               (json_int_t)octets, "problems", verify->list));
	else if (verify->problems)
		printf("%s: %" PRIu64 " problems; `restante reindex` makes the index anew\n",
		       verify->account->name, verify->problems);
	else
		printf("%s: %" PRIu32 " messages, %" PRIu64 " octets, no problem\n", verify->account->name,
		       count, octets);
	return verify->problems ? EX_DATAERR : EX_OK;
}

static int work(struct maildrops *maildrops, const struct account *account, json_t *result)
{
	struct verify verify = {.maildrops = maildrops, .account = account};
	int status = maildrop_open(&maildrops->conf, account, maildrops->wait_s, &verify.maildrop);
	if (status)
		return status;
	verify.list = result ? json_array() : NULL;
	status = check_messages(&verify);
	progress_clear(&maildrops->progress);
	if (!status)
		status = report(&verify, result);
	json_decref(verify.list);
	keys_finish(&verify.unique_ids);
	maildrop_close(&verify.maildrop);
	return status;
}

int main(int argc, char **argv)
{
	static struct maildrops maildrops = {
	    .about =
	        "Holds what the index of a maildrop says against its messages, and reports what differs.",
	    .work = work,
	};
	return maildrops_main(argc, argv, &maildrops);
}
