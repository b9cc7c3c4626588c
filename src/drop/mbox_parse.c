/* SPDX-License-Identifier: MIT */
/* Finding messages in an mbox. Runs in the keeper's disk threads. The octets may be anything: programs of
 * all ages wrote them, and anybody who sends mail. */
#include "drop/mbox_parse.h"

#include "base/err.h"
#include "base/num.h"

#include <openssl/evp.h>
#include <string.h>

void mbox_sum_begin(struct mbox_sum *sum)
{
	sum_begin(&sum->sum, 0);
	sum->carried = 0;
}

void mbox_sum_add(struct mbox_sum *sum, struct span octets)
{
	if (sum->carried) {
		size_t room = SUM_BLOCK - sum->carried;
		size_t len = octets.len < room ? octets.len : room;
		memcpy(sum->carry + sum->carried, octets.ptr, len);
		sum->carried += (unsigned)len;
		octets = span_after(octets, len);
		if (sum->carried < SUM_BLOCK)
			return;
		sum_add(&sum->sum, span_of(sum->carry, SUM_BLOCK));
	}
	size_t whole = octets.len - octets.len % SUM_BLOCK;
	sum_add(&sum->sum, span_first(octets, whole));
	sum->carried = (unsigned)(octets.len - whole);
	if (sum->carried)
		memcpy(sum->carry, octets.ptr + whole, sum->carried);
}

uint64_t mbox_sum_end(struct mbox_sum *sum)
{
	sum_add(&sum->sum, span_of(sum->carry, sum->carried));
	sum->carried = 0;
	return sum_end(&sum->sum);
}

static void measure_octets(void *owner, struct span octets)
{
	measure_add(owner, octets);
}

int mbox_parser_init(struct mbox_parser *parser, uint64_t at)
{
	*parser = (struct mbox_parser){.at = at, .hash = EVP_MD_CTX_new()};
	return parser->hash ? ERR_NONE : ERR_NOMEM;
}

void mbox_parser_finish(struct mbox_parser *parser)
{
	EVP_MD_CTX_free(parser->hash);
	parser->hash = NULL;
}

/* --- one message --- */

static int hash_octets(struct mbox_parser *parser, struct span octets)
{
	return EVP_DigestUpdate(parser->hash, octets.ptr, octets.len) == 1 ? ERR_NONE : ERR_NOMEM;
}

/* The next `len` octets belong to the content of the message. */
static int add_content(struct mbox_parser *parser, struct span octets)
{
	int err = ERR_NONE;
	mbox_sum_add(&parser->sum, octets);
	if (!parser->in_header)
		mbox_sum_add(&parser->body_sum, octets);
	else if (!parser->mutable)
		err = hash_octets(parser, octets);
	mbox_quoter_feed(&parser->quoter, octets);
	parser->now.stored += octets.len;
	parser->at += octets.len;
	return err;
}

static int begin_message(struct mbox_parser *parser, struct span from_line)
{
	parser->now = (struct mbox_message){.at = parser->at, .from_len = (uint16_t)from_line.len};
	parser->open = parser->in_header = true;
	parser->in_line = parser->mutable = false;
	parser->bound = 0;
	parser->content_length = UINT64_MAX;
	parser->measure = (struct measure){0};
	mbox_quoter_init(&parser->quoter, parser->unquote ? MBOX_UNQUOTE : MBOX_AS_IS, measure_octets,
	                 &parser->measure);
	mbox_sum_begin(&parser->sum);
	mbox_sum_begin(&parser->body_sum);
	mbox_sum_add(&parser->sum, from_line);
	parser->at += from_line.len;
	if (EVP_DigestInit_ex(parser->hash, EVP_sha256(), NULL) != 1)
		return ERR_NOMEM;
	return hash_octets(parser, from_line);
}

/* The body counts by its length and sum: they keep apart what differs, and need not withstand anybody. */
static int set_identity(struct mbox_parser *parser)
{
	static const char hex[] = "0123456789abcdef";
	unsigned char hash[EVP_MAX_MD_SIZE];
	uint64_t sum = mbox_sum_end(&parser->body_sum);
	int err = hash_octets(parser, span_of((const char *)&sum, sizeof sum));
	if (err || EVP_DigestFinal_ex(parser->hash, hash, NULL) != 1)
		return ERR_NOMEM;
	for (unsigned i = 0; i < MBOX_IDENTITY / 2; i++) {
		parser->now.identity[2 * i] = hex[hash[i] >> 4];
		parser->now.identity[2 * i + 1] = hex[hash[i] & 15];
	}
	return ERR_NONE;
}

static int end_message(struct mbox_parser *parser, size_t trail)
{
	mbox_quoter_end(&parser->quoter);
	parser->now.facts = measure_end(&parser->measure);
	parser->now.sum = mbox_sum_end(&parser->sum);
	parser->now.trail = (uint8_t)trail;
	parser->at += trail;
	parser->open = false;
	int err = set_identity(parser);
	return err ? err : parser->message(parser->owner, &parser->now);
}

/* --- lines --- */

/* The length of the From_ line that `octets` begin with, 0 for none. `strict`: one with a date. */
static size_t find_from_line(struct span octets, bool last, bool strict)
{
	if (!mbox_line_is_from(octets))
		return 0;
	size_t look = octets.len < MBOX_SEPARATOR_MAX ? octets.len : MBOX_SEPARATOR_MAX;
	size_t lf = span_find(span_first(octets, look), '\n');
	if (lf == look && !(last && look == octets.len))
		return 0;
	size_t len = lf < look ? lf + 1 : lf;
	return !strict || mbox_line_is_separator(span_first(octets, len)) ? len : 0;
}

static void note_content_length(struct mbox_parser *parser, struct span line)
{
	struct span value = line;
	if (!parser->may_end || !span_equal_nocase(span_cut(&value, ':'), SPAN("Content-Length")))
		return;
	while (value.len && (value.ptr[0] == ' ' || value.ptr[0] == '\t'))
		value = span_after(value, 1);
	while (value.len && strchr(" \t\r\n", value.ptr[value.len - 1]))
		value.len--;
	(void)num_parse(value, UINT64_MAX / 4, &parser->content_length);
}

/* At the beginning of a line of the header that is not empty. */
static int take_field(struct mbox_parser *parser, struct span rest, size_t *ret_used)
{
	size_t lf = span_find(rest, '\n');
	struct span line = span_first(rest, lf < rest.len ? lf + 1 : lf);
	if (line.ptr[0] != ' ' && line.ptr[0] != '\t') {
		parser->mutable = mbox_line_is_mutable(
		    span_first(line, line.len < MBOX_FIELD_MAX ? line.len : MBOX_FIELD_MAX));
		note_content_length(parser, line);
	}
	parser->in_line = lf == rest.len;
	*ret_used = line.len;
	return add_content(parser, line);
}

/* The empty line behind the header. */
static int end_header(struct mbox_parser *parser, struct span line)
{
	parser->mutable = false;
	int err = add_content(parser, line);
	parser->in_header = false;
	if (parser->content_length != UINT64_MAX &&
	    parser->may_end(parser->owner, parser->at + parser->content_length))
		parser->bound = parser->at + parser->content_length;
	return err;
}

/* Octets of body up to an empty line that a From_ line or the end may follow. */
static size_t find_empty_line(struct span octets, bool *ret_in_line)
{
	size_t at = 0;
	*ret_in_line = false;
	while (at < octets.len) {
		size_t lf = span_find(span_after(octets, at), '\n');
		if (lf == octets.len - at) {
			*ret_in_line = true;
			return octets.len;
		}
		at += lf + 1;
		size_t end = mbox_line_end(span_after(octets, at));
		if (at == octets.len || octets.len - at <= 2 || (end && octets.ptr[at + end] == 'F'))
			return at;
	}
	return at;
}

/* In the middle of a line, or at the beginning of one that is no separator. */
static int take_body(struct mbox_parser *parser, struct span rest, size_t *ret_used)
{
	if (parser->bound) {
		uint64_t left = parser->bound - parser->at;
		*ret_used = rest.len < left ? rest.len : (size_t)left;
		parser->in_line = *ret_used < left;
		if (*ret_used == left)
			parser->bound = 0;
	} else {
		*ret_used = find_empty_line(rest, &parser->in_line);
	}
	return add_content(parser, span_first(rest, *ret_used));
}

static int take_rest_of_line(struct mbox_parser *parser, struct span rest, size_t *ret_used)
{
	if (!parser->in_header)
		return take_body(parser, rest, ret_used);
	size_t lf = span_find(rest, '\n');
	parser->in_line = lf == rest.len;
	*ret_used = parser->in_line ? lf : lf + 1;
	return add_content(parser, span_first(rest, *ret_used));
}

/* Before the first message. */
static int take_beginning(struct mbox_parser *parser, struct span rest, bool last, size_t *ret_used)
{
	size_t len = mbox_line_end(rest);
	if (len) {
		parser->at += len;
		*ret_used = len;
		return ERR_NONE;
	}
	len = find_from_line(rest, last, false);
	*ret_used = len;
	return len ? begin_message(parser, span_first(rest, len)) : ERR_CORRUPT;
}

/* At the beginning of a line, with all that decides about it. */
static int take_line(struct mbox_parser *parser, struct span rest, bool last, size_t *ret_used)
{
	if (!parser->open)
		return take_beginning(parser, rest, last, ret_used);
	size_t end = parser->bound ? 0 : mbox_line_end(rest);
	size_t from_len = end ? find_from_line(span_after(rest, end), last, true) : 0;
	if (from_len || (end && last && end == rest.len)) {
		*ret_used = end;
		return end_message(parser, end);
	}
	if (!parser->in_header)
		return take_body(parser, rest, ret_used);
	if (!end)
		return take_field(parser, rest, ret_used);
	*ret_used = end;
	return end_header(parser, span_first(rest, end));
}

int mbox_parser_feed(struct mbox_parser *parser, struct span octets, bool last, size_t *ret_used)
{
	size_t at = 0;
	int err = ERR_NONE;
	while (err == ERR_NONE && at < octets.len) {
		struct span rest = span_after(octets, at);
		size_t used = 0;
		if (parser->in_line)
			err = take_rest_of_line(parser, rest, &used);
		else if (rest.len < MBOX_LOOK && !last)
			break;
		else
			err = take_line(parser, rest, last, &used);
		at += used;
	}
	if (err == ERR_NONE && last && parser->open)
		err = end_message(parser, 0);
	if (err == ERR_NONE)
		*ret_used = at;
	return err;
}
