/* SPDX-License-Identifier: MIT */
/*
 * Fuzzes the parser of mboxes and their quoting (src/drop/mbox_parse.c, mbox_quote.c). Each input is taken
 * for an mbox, in two different splits, and for a message that is stored in one.
 */
#include "base/err.h"
#include "drop/mbox_parse.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MESSAGES_MAX = 1000 };

struct found {
	struct span file;
	uint64_t end; /* of the messages so far */
	uint32_t count;
	struct mbox_message messages[MESSAGES_MAX];
};

static void demand(bool holds)
{
	if (!holds)
		abort();
}

/* Messages follow one another without a gap, and their sums are of what lies there. */
static int take_message(void *owner, const struct mbox_message *message)
{
	struct found *found = owner;
	struct span rest = span_after(found->file, message->at);
	uint64_t len = message->from_len + message->stored;
	demand(found->count == 0 || message->at == found->end);
	demand(len + message->trail <= rest.len && mbox_line_is_from(rest));
	demand(sum_of(0, span_first(rest, len)) == message->sum);
	demand(message->facts.raw <= message->stored && message->facts.header <= message->facts.raw);
	demand(message->trail == 0 || mbox_line_end(span_after(rest, len)) == message->trail);
	found->end = message->at + len + message->trail;
	if (found->count == MESSAGES_MAX)
		return ERR_FULL;
	found->messages[found->count++] = *message;
	return ERR_NONE;
}

static bool may_end(void *owner, uint64_t end)
{
	const struct found *found = owner;
	return end <= found->file.len && end % 2;
}

static int parse(struct found *found, bool unquote, bool bounded, size_t piece)
{
	struct mbox_parser parser;
	size_t at = 0, used, room = MBOX_LOOK;
	int err = mbox_parser_init(&parser, 0);
	parser.unquote = unquote;
	parser.owner = found;
	parser.message = take_message;
	parser.may_end = bounded ? may_end : NULL;
	for (bool last = false; err == ERR_NONE && !last; at += err ? 0 : used) {
		size_t left = found->file.len - at;
		size_t len = left < room + piece ? left : room + piece;
		last = len == left;
		err = mbox_parser_feed(&parser, span_of(found->file.ptr + at, len), last, &used);
		demand(err || (last ? used == len : used > 0 && used <= len));
	}
	mbox_parser_finish(&parser);
	demand(err || found->count == 0 || found->end == found->file.len);
	return err;
}

static bool is_same(const struct mbox_message *a, const struct mbox_message *b)
{
	return a->at == b->at && a->stored == b->stored && a->sum == b->sum &&
	       a->facts.wire == b->facts.wire && a->facts.header == b->facts.header &&
	       memcmp(a->identity, b->identity, sizeof a->identity) == 0;
}

struct text {
	char *ptr;
	size_t len;
};

static void put(void *owner, struct span octets)
{
	struct text *text = owner;
	memcpy(text->ptr + text->len, octets.ptr, octets.len);
	text->len += octets.len;
}

static void quote(struct span from, enum mbox_quoting how, size_t piece, struct text *to)
{
	struct mbox_quoter quoter;
	mbox_quoter_init(&quoter, how, put, to);
	while (from.len) {
		size_t len = from.len < piece ? from.len : piece;
		mbox_quoter_feed(&quoter, span_first(from, len));
		from = span_after(from, len);
	}
	mbox_quoter_end(&quoter);
}

/* What is stored as a message is one message, and comes out as it went in. */
static void store(struct found *found, struct span message, size_t piece)
{
	static const char line[] = "From a@b Thu Jan  1 12:00:00 2026\n";
	struct text file = {malloc(2 * message.len + sizeof line + 2), 0},
	            back = {malloc(message.len + 1), 0};
	demand(file.ptr && back.ptr);
	put(&file, SPAN(line));
	quote(message, MBOX_QUOTE_ALL, piece, &file);
	uint64_t stored = file.len - (sizeof line - 1);
	bool ended = message.len == 0 || message.ptr[message.len - 1] == '\n';
	put(&file, ended ? SPAN("\n") : SPAN("\n\n"));
	*found = (struct found){.file = span_of(file.ptr, file.len)};
	demand(parse(found, true, false, piece) == ERR_NONE && found->count == 1);
	demand(found->messages[0].facts.raw == message.len + (ended ? 0 : 1));
	quote(span_of(file.ptr + sizeof line - 1, stored), MBOX_UNQUOTE, piece + 1, &back);
	demand(span_equal(span_of(back.ptr, back.len), message));
	free(file.ptr);
	free(back.ptr);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct found whole, pieces;
	if (size < 2)
		return 0;
	size_t piece = data[0] + 1u;
	bool unquote = data[1] & 1, bounded = data[1] & 2;
	struct span file = span_of((const char *)data + 2, size - 2);
	whole = (struct found){.file = file};
	pieces = (struct found){.file = file};
	int err = parse(&whole, unquote, bounded, size);
	demand(parse(&pieces, unquote, bounded, piece) == err);
	demand(whole.count == pieces.count);
	for (uint32_t i = 0; i < whole.count; i++)
		demand(is_same(&whole.messages[i], &pieces.messages[i]));
	store(&whole, file, piece);
	return 0;
}
