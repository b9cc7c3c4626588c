/* SPDX-License-Identifier: MIT */
/* Prints the words of the command table as a dictionary for libFuzzer. Runs in the build; reads no input. */
#include "pop/verb.h"

#include <stdio.h>

int main(void)
{
	for (size_t i = 0; i < POP_VERBS; i++)
		printf("\"%s\"\n\"%s 1\\x0d\\x0a\"\n\"%s\\x0d\\x0a\"\n", pop_verbs[i].word, pop_verbs[i].word,
		       pop_verbs[i].word);
	puts("\"\\x0d\\x0a\"\n\"PLAIN\"\n\"LOGIN\"\n\"USER a\\x0d\\x0aPASS "
	     "b\\x0d\\x0a\"\n\"\\x0d\\x0a.\\x0d\\x0a\"");
	return 0;
}
