/* SPDX-License-Identifier: MIT */
/*
 * Fuzzes the LMTP server machine: a client that sends anything, and auth and keeper that answer anything.
 * Checked by other code than the machine's: every line gets one reply and every accepted recipient one
 * verdict, replies are framed as RFC 5321 says, and a message ends at its first CRLF.CRLF and holds what was
 * sent.
 *
 * The first four octets of the input choose the world (see begin()); the rest is what the client sends.
 */
#include "lmtp/server.h"

#include "pieces.h"

enum { OUT_MIN = POP_REPLY_MAX + LMTP_DOMAIN_MAX, ROOM_MAX = 2048, SIZE_LIMIT = 30000 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct world {
	struct lmtp_server server;
	struct lmtp_server_conf conf;
	unsigned chance;
	bool over, refused;
	unsigned lines;    /* taken outside of messages, a long one counted when it is refused */
	bool in_long;      /* in the rest of one that was refused */
	size_t line;       /* octets of the present one */
	unsigned replies;  /* whole ones */
	unsigned accepted; /* recipients of this transaction */
	unsigned verdicts; /* expected and given, all together */
	char reply[OUT_MIN];
	size_t reply_len;
	char wire[SIZE_LIMIT], stored[SIZE_LIMIT + POP_UNDOT_HELD]; /* the message */
	size_t wire_len, stored_len;
};

static unsigned pick(struct world *world, unsigned n)
{
	return pieces_pick(&world->chance, n);
}

static void read_reply_line(struct world *world)
{
	const char *line = world->reply;
	size_t len = world->reply_len;
	if (len < 6 || len > OUT_MIN || line[len - 2] != '\r' || line[0] < '2' || line[0] > '5' ||
	    line[1] < '0' || line[1] > '9' || line[2] < '0' || line[2] > '9' ||
	    (line[3] != ' ' && line[3] != '-'))
		abort();
	world->replies += line[3] == ' ';
	world->reply_len = 0;
}

static void flush(struct world *world, struct pop_output *out)
{
	for (size_t i = 0; i < out->len; i++) {
		if (world->reply_len == sizeof world->reply)
			abort();
		world->reply[world->reply_len++] = out->ptr[i];
		if (out->ptr[i] == '\n')
			read_reply_line(world);
	}
	out->len = 0;
}

/* What was taken as commands. */
static void count_lines(struct world *world, const char *octets, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		bool end = octets[i] == '\n';
		world->line++;
		if (!world->in_long && (end || world->line == LMTP_COMMAND_MAX)) {
			world->lines++;
			world->in_long = !end;
		}
		if (end) {
			world->line = 0;
			world->in_long = false;
		}
	}
}

/* The message as the words of RFC 5321 section 4.5.2 have it; `len` is up to its end. */
static void check_message(const struct world *world)
{
	const char *wire = world->wire;
	size_t len = world->wire_len, at = 0;
	if (len < 3 || memcmp(wire + len - 3, ".\r\n", 3) != 0 ||
	    (len > 3 && (len < 5 || wire[len - 5] != '\r')))
		abort();
	for (size_t i = 0; i < len - 3; i++) {
		bool begin = i == 0 || (i >= 2 && wire[i - 1] == '\n' && wire[i - 2] == '\r');
		if (begin && wire[i] == '.') {
			if (wire[i + 1] == '\r' && wire[i + 2] == '\n')
				abort(); /* it had ended here */
			continue;
		}
		bool behind_cr = i > 0 && wire[i - 1] == '\r';
		if (wire[i] == '\r' && wire[i + 1] == '\n' && !behind_cr)
			continue;
		if (at == world->stored_len || world->stored[at++] != wire[i])
			abort();
	}
	if (at != world->stored_len)
		abort();
}

static void take_octets(struct world *world, struct pop_input *in)
{
	size_t before = in->len;
	const char *from = in->ptr;
	char *to = malloc(in->len + POP_UNDOT_HELD);
	if (!to)
		abort();
	size_t len = lmtp_server_octets(&world->server, in, to);
	size_t taken = before - in->len;
	if (!taken || len > before + POP_UNDOT_HELD || world->wire_len + taken > sizeof world->wire)
		abort();
	memcpy(world->wire + world->wire_len, from, taken);
	world->wire_len += taken;
	memcpy(world->stored + world->stored_len, to, len);
	world->stored_len += len;
	if (pick(world, 50) == 0)
		lmtp_server_fail(&world->server, (enum lmtp_verdict)(1 + pick(world, LMTP_VERDICTS - 1)));
	free(to);
}

static void answer_recipient(struct world *world)
{
	struct span mailbox = world->server.ask.mailbox;
	if (!mailbox.len || mailbox.len > LMTP_ADDRESS_MAX)
		abort();
	for (size_t i = 0; i < mailbox.len; i++)
		if ((unsigned char)mailbox.ptr[i] < ' ')
			abort();
	bool good = pick(world, 4);
	world->accepted += good;
	lmtp_server_recipient(&world->server,
	                      good ? LMTP_GOOD : (enum lmtp_verdict)(1 + pick(world, LMTP_VERDICTS - 1)));
}

static void answer_data(struct world *world)
{
	bool good = pick(world, 8);
	if (!world->accepted)
		abort();
	world->wire_len = world->stored_len = 0;
	lmtp_server_data(&world->server, good ? LMTP_GOOD : LMTP_TROUBLE);
}

static void answer_verdict(struct world *world)
{
	if (!world->accepted)
		abort();
	if (world->wire_len)
		check_message(world);
	world->wire_len = 0;
	world->accepted--;
	world->verdicts++;
	lmtp_server_verdict(&world->server, (enum lmtp_verdict)pick(world, LMTP_VERDICTS));
}

static bool run(void *user, struct pop_input *in, size_t count)
{
	struct world *world = user;
	(void)count;
	struct pop_output out = {.cap = OUT_MIN + pick(world, ROOM_MAX)};
	out.ptr = malloc(out.cap);
	if (!out.ptr)
		abort();
	for (bool on = true; on && !world->over;) {
		const char *from = in->ptr;
		enum lmtp_want want = lmtp_server_step(&world->server, in, &out, 0);
		if (out.len > out.cap)
			abort();
		count_lines(world, from, (size_t)(in->ptr - from));
		flush(world, &out);
		if (want == LMTP_WANT_RECIPIENT)
			answer_recipient(world);
		else if (want == LMTP_WANT_DATA)
			answer_data(world);
		else if (want == LMTP_WANT_OCTETS)
			take_octets(world, in);
		else if (want == LMTP_WANT_VERDICT)
			answer_verdict(world);
		else if (want == LMTP_WANT_RESET)
			world->accepted = 0;
		on = want != LMTP_WANT_INPUT;
		world->over = want == LMTP_WANT_CLOSE;
	}
	if (!world->over && world->replies != 1 + world->lines + world->verdicts)
		abort();
	free(out.ptr);
	return !world->over;
}

static void begin(struct world *world, const uint8_t *data)
{
	memset(world, 0, sizeof *world);
	world->chance = data[1] * 7919u;
	world->conf = (struct lmtp_server_conf){
	    .hostname = "mx.example.org",
	    .message_max = data[0] & 2 ? 100 : 0,
	    .bad_commands_max = data[0] & 4 ? 3 : 0,
	    .idle_ms = 1000,
	    .over_quota_defers = data[0] & 8,
	};
	lmtp_server_init(&world->server, &world->conf, !(data[0] & 16), 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct world world;
	if (size < 4 || size > SIZE_LIMIT)
		return 0;
	begin(&world, data);
	pieces_send(span_of((const char *)data + 4, size - 4), 1u + data[3], &world.chance, run, &world);
	return 0;
}
