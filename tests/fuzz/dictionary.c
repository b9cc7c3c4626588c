/* SPDX-License-Identifier: MIT */
/* Prints the words of a command table as a dictionary for libFuzzer: POP's, or with "lmtp" as its argument
 * LMTP's. Runs in the build; reads no input. */
#include "lmtp/command.h"
#include "pop/verb.h"

#include <stdio.h>
#include <string.h>

static void print_lmtp(void)
{
	for (size_t i = 0; i < LMTP_VERBS; i++)
		printf("\"%s\"\n\"%s\\x0d\\x0a\"\n", lmtp_verbs[i].word, lmtp_verbs[i].word);
	puts("\"\\x0d\\x0a.\\x0d\\x0a\"\n\"LHLO x\\x0d\\x0aMAIL FROM:<a@b>\\x0d\\x0aRCPT "
	     "TO:<a>\\x0d\\x0aDATA\\x0d\\x0a\"\n"
	     "\"SIZE=1\"\n\"BODY=8BITMIME\"\n\"SMTPUTF8\"\n\"\\x0a.\\x0d\\x0a\"\n\"\\x0d.\\x0d\\x0a\"\n\"<"
	     "\\\"a\\\"@b>\"");
}

static void print_pop(void)
{
	for (size_t i = 0; i < POP_VERBS; i++)
		printf("\"%s\"\n\"%s 1\\x0d\\x0a\"\n\"%s\\x0d\\x0a\"\n", pop_verbs[i].word, pop_verbs[i].word,
		       pop_verbs[i].word);
	puts("\"\\x0d\\x0a\"\n\"PLAIN\"\n\"LOGIN\"\n\"USER a\\x0d\\x0aPASS "
	     "b\\x0d\\x0a\"\n\"\\x0d\\x0a.\\x0d\\x0a\"");
}

int main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "lmtp") == 0)
		print_lmtp();
	else
		print_pop();
	return 0;
}
