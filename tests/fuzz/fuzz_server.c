/* SPDX-License-Identifier: MIT */
/*
 * Fuzzes the server machine: a client that sends anything, and auth and keeper that answer anything.
 * An independent reader of the replies checks that each command gets one reply, framed as its row says, that
 * RETR sends the octets it announces, and that nothing is deleted without QUIT.
 *
 * The first four octets of the input choose the world (see begin()); the rest is what the client sends.
 */
#include "base/err.h"
#include "pop/line.h"
#include "pop/server.h"

#include "pieces.h"

enum { MESSAGES_MAX = 20, ROOM_MAX = 2048 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* --- the client's side: reads replies, knowing only what was sent --- */

struct reader {
	struct span sent; /* commands that have no reply yet */
	bool greeted;
	bool skipping;     /* the rest of a line that was refused before it ended is no command */
	bool multi;        /* in a multi-line reply */
	bool response;     /* the next line of `sent` answers a challenge */
	bool announced;    /* RETR said how many octets come */
	uint64_t octets;   /* of the multi-line reply so far, dots removed */
	uint64_t expected; /* what RETR announced */
	struct pop_command command;
	char line[1 << 15]; /* of the reply */
	size_t len;
};

static bool begins(const struct reader *reader, const char *text)
{
	size_t len = strlen(text);
	return reader->len >= len && memcmp(reader->line, text, len) == 0;
}

/* Which command is this the reply to? */
static void next_command(struct reader *reader)
{
	struct span line;
	reader->command = (struct pop_command){0};
	if (pop_line_cut(&reader->sent, SIZE_MAX, &line) != ERR_NONE) {
		if (reader->sent.len < POP_COMMAND_MAX || begins(reader, "+"))
			abort(); /* a reply to nothing */
		reader->sent = span_after(reader->sent, reader->sent.len);
		reader->skipping = true;
	} else if (!reader->response) {
		(void)pop_parse(line, &reader->command);
	}
}

static void read_status(struct reader *reader)
{
	if (reader->len > POP_REPLY_MAX)
		abort();
	if (!reader->greeted) {
		reader->greeted = true;
		return;
	}
	next_command(reader);
	reader->response = begins(reader, "+ ");
	if (reader->response)
		return;
	if (!begins(reader, "+OK ")) {
		if (!begins(reader, "-ERR "))
			abort();
		return;
	}
	const struct pop_verb_row *row = reader->command.row;
	reader->multi =
	    row && (row->reply == POP_REPLY_MULTI ||
	            ((row->reply == POP_REPLY_MULTI_IF_BARE || row->reply == POP_REPLY_EXCHANGE) &&
	             reader->command.bare));
	reader->octets = 0;
	reader->announced = row == &pop_verbs[POP_RETR];
	reader->expected = reader->announced ? strtoull(reader->line + 4, NULL, 10) : 0;
}

static void read_multi(struct reader *reader)
{
	if (reader->len == 3 && reader->line[0] == '.') {
		reader->multi = false;
		if (reader->announced && reader->octets != reader->expected)
			abort();
		return;
	}
	reader->octets += reader->len - (reader->line[0] == '.');
}

/* Lines of replies end in CRLF; a bare LF never comes, for messages have none in wire form. */
static void read_output(struct reader *reader, struct span octets)
{
	for (size_t i = 0; i < octets.len; i++) {
		if (reader->len == sizeof reader->line)
			abort();
		reader->line[reader->len++] = octets.ptr[i];
		if (octets.ptr[i] != '\n')
			continue;
		if (reader->len < 2 || reader->line[reader->len - 2] != '\r')
			abort();
		if (reader->multi)
			read_multi(reader);
		else
			read_status(reader);
		reader->len = 0;
	}
}

/* --- the world --- */

struct world {
	struct pop_server server;
	struct pop_server_conf conf;
	struct reader reader;
	bool over;
	unsigned chance;
	uint32_t count;
	struct span raw[MESSAGES_MAX]; /* message files: pieces of the input */
	uint64_t octets[MESSAGES_MAX];
	uint32_t uid_at[MESSAGES_MAX + 1];
	char uids[MESSAGES_MAX * 70];
	_Alignas(8) char listing[MESSAGES_MAX * (16 + 2 * POP_LINE_MAX) + 8];
	uint64_t listing_size;
	unsigned char marks[(MESSAGES_MAX + 7) / 8];
	uint32_t sending; /* the message being sent */
	uint64_t sent;    /* raw octets of it that are gone */
};

static unsigned pick(struct world *world, unsigned n)
{
	return pieces_pick(&world->chance, n);
}

static void flush(struct world *world, struct pop_output *out)
{
	read_output(&world->reader, span_of(out->ptr, out->len));
	out->len = 0;
}

static uint64_t wire_octets(struct span raw)
{
	uint64_t octets = raw.len;
	for (size_t i = 0; i < raw.len; i++)
		octets += raw.ptr[i] == '\n' && (i == 0 || raw.ptr[i - 1] != '\r');
	return raw.len && raw.ptr[raw.len - 1] != '\n' ? octets + 2 : octets;
}

static void make_maildrop(struct world *world, const uint8_t *data, size_t size)
{
	for (uint32_t i = 0; i < world->count; i++) {
		size_t at = size ? pick(world, (unsigned)size) : 0;
		size_t len = size ? pick(world, (unsigned)(size - at) + 1) : 0;
		world->raw[i] = span_of((const char *)data + at, len < 4096 ? len : 4096);
		world->octets[i] = wire_octets(world->raw[i]);
		uint32_t uid_len = 1 + pick(world, 70);
		memset(world->uids + world->uid_at[i], '!' + (int)i, uid_len);
		world->uid_at[i + 1] = world->uid_at[i] + uid_len;
	}
	struct pop_source source = {world->count, world->octets, world->uid_at, world->uids};
	world->listing_size = pop_listing_size(&source);
	if (world->listing_size > sizeof world->listing)
		abort();
	pop_listing_make(&source, world->listing);
}

static int some_error(struct world *world)
{
	return -1 - (int)pick(world, -ERR_LAST);
}

static void open_listing(struct world *world, struct pop_listing *listing)
{
	if (pop_listing_open(span_of(world->listing, world->listing_size), listing) != ERR_NONE)
		abort();
}

static void log_in(struct world *world)
{
	struct pop_listing listing = {.count = world->count};
	for (uint32_t i = 0; i < world->count; i++)
		listing.total += world->octets[i];
	if (pick(world, 2))
		open_listing(world, &listing);
	if (pick(world, 4) == 0)
		pop_server_not_logged_in(&world->server, some_error(world));
	else
		pop_server_logged_in(&world->server, &listing);
}

static void answer_listing(struct world *world)
{
	struct pop_listing listing = {.count = world->count};
	open_listing(world, &listing);
	if (pick(world, 8) == 0)
		pop_server_not_listed(&world->server);
	else
		pop_server_listed(&world->server, &listing);
}

static void answer_sasl(struct world *world, struct pop_output *out)
{
	char challenge[64] = "challenge";
	if (pick(world, 2)) {
		log_in(world);
		return;
	}
	if (pop_server_challenge(&world->server, span_of(challenge, pick(world, sizeof challenge)), out) !=
	    ERR_NONE)
		pop_server_not_logged_in(&world->server, ERR_FULL);
}

static void answer_body(struct world *world)
{
	uint32_t number = world->server.ask.number;
	if (number == 0 || number > world->count || world->marks[(number - 1) / 8] >> (number - 1) % 8 & 1)
		abort();
	if (pick(world, 6) == 0) {
		pop_server_no_body(&world->server, some_error(world));
		return;
	}
	struct pop_body body = {.length = world->raw[number - 1].len};
	body.header = pick(world, (unsigned)body.length + 2); /* one more than there is, too */
	if (pick(world, 8) == 0)
		body.length = pick(world, (unsigned)body.length + 1); /* cut short meanwhile */
	world->sending = number;
	world->sent = 0;
	pop_server_body(&world->server, &body);
}

static void give_octets(struct world *world, struct pop_output *out)
{
	struct span raw = span_after(world->raw[world->sending - 1], (size_t)world->sent);
	uint64_t left = pop_server_octets_left(&world->server);
	if (left == 0 || left > raw.len)
		abort();
	if (out->cap - out->len < 2)
		flush(world, out);
	raw = span_first(raw, 1 + pick(world, (unsigned)raw.len));
	size_t before = raw.len;
	if (pop_server_octets(&world->server, &raw, out) != ERR_NONE)
		world->over = true; /* not as listed: the caller closes */
	else if (raw.len == before)
		abort();
	world->sent += before - raw.len;
}

static void answer_commit(struct world *world)
{
	struct reader *reader = &world->reader;
	struct span sent = reader->sent, line;
	struct pop_command command;
	uint32_t marked = 0;
	for (uint32_t i = 0; i < world->count; i++)
		marked += world->marks[i / 8] >> i % 8 & 1;
	if (pop_line_cut(&sent, SIZE_MAX, &line) != ERR_NONE || pop_parse(line, &command) != ERR_NONE ||
	    command.row != &pop_verbs[POP_QUIT] || !world->server.quit || marked != world->server.marked)
		abort();
	bool fails = pick(world, 4) == 0;
	pop_server_committed(&world->server, fails ? some_error(world) : ERR_NONE,
	                     fails && marked ? pick(world, marked) : marked);
}

/* False: more input is wanted, or it is over. */
static bool fulfil(struct world *world, enum pop_want want, struct pop_output *out)
{
	if (want != POP_WANT_LOGIN && want != POP_WANT_BODY) /* these let output wait for more */
		flush(world, out);
	switch (want) {
	case POP_WANT_LOGIN:
		log_in(world);
		return true;
	case POP_WANT_SASL:
		answer_sasl(world, out);
		return true;
	case POP_WANT_BODY:
		answer_body(world);
		return true;
	case POP_WANT_OCTETS:
		give_octets(world, out);
		return !world->over;
	case POP_WANT_LISTING:
		answer_listing(world);
		return true;
	case POP_WANT_MARKS:
		pop_server_marks(&world->server, world->marks);
		return true;
	case POP_WANT_TEXT:
		abort(); /* so few lines are the machine's to copy */
	case POP_WANT_COMMIT:
		answer_commit(world);
		return true;
	case POP_WANT_TLS:
		pop_server_tls(&world->server);
		return true;
	case POP_WANT_CLOSE:
		world->over = true;
		return false;
	case POP_WANT_INPUT:
		return false;
	case POP_WANT_ROOM:
	case POP_WANT_CANCEL:
		return true;
	}
	abort();
}

/* `count` of the octets are new. */
static bool run(void *user, struct pop_input *in, size_t count)
{
	struct world *world = user;
	world->reader.sent.len += count;
	if (world->reader.skipping)
		world->reader.skipping = !pop_line_skip(&world->reader.sent);
	struct pop_output out = {.cap = POP_REPLY_MAX + pick(world, ROOM_MAX)};
	enum pop_want want;
	out.ptr = malloc(out.cap);
	if (!out.ptr)
		abort();
	do {
		want = pop_server_step(&world->server, in, &out, 0);
		if (out.len > out.cap)
			abort();
	} while (fulfil(world, want, &out));
	flush(world, &out);
	free(out.ptr);
	return !world->over;
}

static void begin(struct world *world, const uint8_t *data, size_t size)
{
	*world = (struct world){.chance = data[1] * 7919u, .count = data[2] % (MESSAGES_MAX + 1)};
	world->conf = (struct pop_server_conf){
	    .mechanisms = data[0] & 8 ? "" : "PLAIN LOGIN",
	    .bad_commands_max = data[0] & 16 ? 3 : 0,
	    .login_timeout_ms = 1000,
	    .autologout_ms = 1000,
	};
	bool tls = data[0] & 1;
	make_maildrop(world, data + 4, size - 4);
	pop_server_init(&world->server, &world->conf, tls, !tls && !(data[0] & 2), !(data[0] & 4), 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct world world;
	if (size < 4 || size > 30000)
		return 0;
	begin(&world, data, size);
	char *all = malloc(size); /* the machine decodes responses in its input: the reader looks here */
	if (!all)
		abort();
	memcpy(all, data, size);
	world.reader.sent = span_of(all + 4, 0);
	pieces_send(span_of((const char *)data + 4, size - 4), 1u + data[3], &world.chance, run, &world);
	free(all);
	return 0;
}
