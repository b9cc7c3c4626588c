/* SPDX-License-Identifier: MIT */
/*
 * Plays transcripts (README.md) against the server machine: whole, octet by octet, and in many seeded
 * random splits of input, output room and message octets. It is the machine's caller: accounts,
 * maildrop and clock are in here. Runs in tests only.
 *
 * usage: play TRANSCRIPT...              plays each (or all of a folder) in every way
 *        play -s FOLDER TRANSCRIPT...    writes what the client sends there: seeds for the fuzzer
 */
#include "pop/server.h"
#include "script/caller.h"
#include "script/script.h"

#include "base/err.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RANDOM_SPLITS = 40 };

/* One playing of one transcript in one way. */
struct play {
	const struct script *script;
	const struct step *step;
	struct caller caller;
	const char *way;
	size_t seen; /* octets of caller.got that steps have spoken for */
	bool failed;
};

static void complain(struct play *play, const char *what, struct span octets)
{
	if (play->failed)
		return;
	play->failed = true;
	fprintf(stderr, "%s:%u: %s: %s", play->script->name, play->step ? play->step->line : 0, play->way,
	        what);
	for (size_t i = 0; i < octets.len && i < 200; i++)
		fprintf(stderr, octets.ptr[i] >= ' ' && octets.ptr[i] < 0x7f ? "%c" : "\\x%02x",
		        (unsigned char)octets.ptr[i]);
	fputc('\n', stderr);
}

static struct span unseen(const struct play *play)
{
	return span_after(buf_span(&play->caller.got), play->seen);
}

static void expect_no_more(struct play *play)
{
	struct span rest = unseen(play);
	if (rest.len)
		complain(play, "the server has sent more: ", rest);
}

static void expect_octets(struct play *play, struct span expected)
{
	struct span got = unseen(play);
	if (got.len < expected.len || memcmp(got.ptr, expected.ptr, expected.len) != 0)
		complain(play, "not what the server sent: ", got);
	else
		play->seen += expected.len;
}

static struct span next_line(struct play *play)
{
	struct span got = unseen(play);
	size_t end = span_find(got, '\n');
	if (end == got.len) {
		complain(play, "no line came", got);
		return SPAN("");
	}
	play->seen += end + 1;
	return span_first(got, end + 1);
}

/* A text of the server's own choice: RFC 2449 section 8 keeps '[' for response codes. */
static void expect_prefix(struct play *play, struct span prefix)
{
	struct span line = next_line(play);
	if (play->failed)
		return;
	if (line.len < prefix.len + 2 || memcmp(line.ptr, prefix.ptr, prefix.len) != 0)
		complain(play, "not what the server sent: ", line);
	else if (span_find(prefix, '[') == prefix.len && span_find(line, '[') == prefix.len + 1)
		complain(play, "a response code was not expected: ", line);
	else if (line.len > POP_REPLY_MAX || line.ptr[line.len - 2] != '\r')
		complain(play, "no reply line: ", line);
}

static void expect_closed(struct play *play)
{
	expect_no_more(play);
	if (!play->caller.closed)
		complain(play, "the server has not closed", SPAN(""));
}

/* In the middle of a reply: the client must not be able to take what it got for the whole. */
static void expect_cut_off(struct play *play)
{
	struct span got = unseen(play);
	if (got.len >= 5 && memcmp(got.ptr + got.len - 5, "\r\n.\r\n", 5) == 0)
		complain(play, "the reply looks whole: ", got);
	play->seen += got.len;
	expect_closed(play);
}

static void expect_deleted(struct play *play, struct span expected)
{
	const struct caller *caller = &play->caller;
	for (uint32_t i = 0; i < play->script->message_count; i++)
		if (expected.ptr[i] != (char)(caller->removed && caller->removed[i]))
			complain(play, "other messages were deleted than the transcript says", SPAN(""));
}

static void expect_delivered(struct play *play, struct span expected)
{
	if (!span_equal(buf_span(&play->caller.delivered), expected))
		complain(play, "the message was delivered to others: ", buf_span(&play->caller.delivered));
}

static void expect_held(struct play *play, struct span expected)
{
	if (!span_equal(buf_span(&play->caller.stored), expected))
		complain(play, "the message is stored as: ", buf_span(&play->caller.stored));
}

static void take_step(struct play *play)
{
	const struct step *step = play->step;
	struct caller *caller = &play->caller;
	struct buf wire;
	switch (step->kind) {
	case STEP_LINE:
		expect_octets(play, buf_span(&step->text));
		break;
	case STEP_PREFIX:
		expect_prefix(play, buf_span(&step->text));
		break;
	case STEP_MESSAGE:
		buf_init(&wire, 2 * SCRIPT_TEXT_MAX);
		wire_form(buf_span(&play->script->messages[step->number - 1].raw), true, &wire);
		expect_octets(play, buf_span(&wire));
		buf_finish(&wire);
		break;
	case STEP_TLS:
		expect_no_more(play);
		if (!caller_start_tls(caller))
			complain(play, "the server does not negotiate TLS now", SPAN(""));
		break;
	case STEP_CLOSED:
		expect_closed(play);
		break;
	case STEP_CUT_OFF:
		expect_cut_off(play);
		break;
	case STEP_DELETED:
		expect_deleted(play, buf_span(&step->text));
		break;
	case STEP_DELIVERED:
		expect_delivered(play, buf_span(&step->text));
		break;
	case STEP_HOLDS:
		expect_held(play, buf_span(&step->text));
		break;
	case STEP_LEAVES:
		expect_no_more(play);
		caller->closed = true;
		break;
	case STEP_SEND: /* see below */
		break;
	default:
		caller_event(caller, step);
		break;
	}
}

/* Sends what lies between two expectations in one burst; the caller splits it. Returns the step after it. */
static uint32_t send_burst(struct play *play, uint32_t at)
{
	const struct script *script = play->script;
	struct buf burst;
	expect_no_more(play);
	buf_init(&burst, SCRIPT_TEXT_MAX);
	for (; at < script->step_count && script->steps[at].kind == STEP_SEND; at++)
		(void)buf_add(&burst, buf_span(&script->steps[at].text));
	if (play->caller.closed)
		complain(play, "the server has closed before this", SPAN(""));
	else
		caller_feed(&play->caller, buf_span(&burst));
	if (play->caller.fault)
		complain(play, play->caller.fault, SPAN(""));
	buf_finish(&burst);
	return at;
}

static bool play_once(const struct script *script, const char *way, const struct caller_way *how, bool tls)
{
	struct play play = {.script = script, .way = way};
	bool deletions_told = false;
	caller_init(&play.caller, script, how, tls);
	for (uint32_t at = 0; at < script->step_count && !play.failed;) {
		play.step = &script->steps[at];
		deletions_told = deletions_told || play.step->kind == STEP_DELETED;
		if (play.step->kind == STEP_SEND) {
			at = send_burst(&play, at);
		} else {
			take_step(&play);
			at++;
		}
	}
	expect_no_more(&play);
	if (!deletions_told && play.caller.removed &&
	    memchr(play.caller.removed, true, play.script->message_count))
		complain(&play, "messages were deleted", SPAN(""));
	caller_finish(&play.caller);
	return !play.failed;
}

/* Over TLS from the beginning the conversation is the same, as far as the transcript allows. */
static bool play_all_ways(const struct script *script)
{
	bool good = true;
	for (unsigned tls = 0; tls < 2; tls++) {
		if (!(script->over & (tls ? OVER_TLS | OVER_STLS : OVER_PLAIN)))
			continue;
		struct caller_way whole = {.split = SPLIT_NONE}, octets = {.split = SPLIT_OCTETS};
		good = play_once(script, tls ? "whole, TLS" : "whole", &whole, tls) && good;
		if (script->whole)
			continue;
		good =
		    play_once(script, tls ? "octet by octet, TLS" : "octet by octet", &octets, tls) && good;
		for (unsigned seed = 1; good && seed <= RANDOM_SPLITS; seed++) {
			char way[32];
			static const size_t usual[] = {3, 20, 300, 5000};
			struct caller_way random = {
			    .split = SPLIT_RANDOM, .seed = seed, .usual = usual[seed % 4]};
			(void)snprintf(way, sizeof way, "seed %u%s", seed, tls ? ", TLS" : "");
			good = play_once(script, way, &random, tls);
		}
	}
	return good;
}

/* What the client of a transcript sends, behind the octets by which the fuzzer picks its world. */
static void write_seed(const char *folder, const struct script *script)
{
	char path[4096];
	(void)snprintf(path, sizeof path, "%s/%s", folder, script->name);
	FILE *file = fopen(path, "wb");
	if (!file) {
		perror(path);
		exit(2);
	}
	unsigned char world[4] = {(unsigned char)(script->over == OVER_TLS), 3, 7, 1};
	(void)fwrite(world, 1, sizeof world, file);
	for (uint32_t i = 0; i < script->step_count; i++)
		if (script->steps[i].kind == STEP_SEND)
			(void)fwrite(script->steps[i].text.ptr, 1, script->steps[i].text.len, file);
	if (fclose(file) != 0) {
		perror(path);
		exit(2);
	}
}

static int play_file(const char *path, const char *seeds)
{
	struct script *script = script_read(path);
	bool good = true;
	if (seeds)
		write_seed(seeds, script);
	else
		good = play_all_ways(script);
	script_free(script);
	return good ? 0 : 1;
}

/* A file, or every transcript of a folder. */
static int play_path(const char *path, const char *seeds)
{
	DIR *dir = opendir(path);
	if (!dir)
		return play_file(path, seeds);
	int failed = 0, played = 0;
	for (struct dirent *entry; (entry = readdir(dir));) {
		const char *end = strrchr(entry->d_name, '.');
		char inner[4096];
		if (!end || (strcmp(end, ".pop") != 0 && strcmp(end, ".lmtp") != 0))
			continue;
		(void)snprintf(inner, sizeof inner, "%s/%s", path, entry->d_name);
		failed |= play_file(inner, seeds);
		played++;
	}
	(void)closedir(dir);
	printf("%d transcripts\n", played);
	return played ? failed : 1;
}

int main(int argc, char **argv)
{
	bool seeds = argc > 3 && strcmp(argv[1], "-s") == 0;
	int failed = argc < 2;
	for (int i = seeds ? 3 : 1; i < argc; i++)
		failed |= play_path(argv[i], seeds ? argv[2] : NULL);
	return failed;
}
