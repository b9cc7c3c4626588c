/* SPDX-License-Identifier: MIT */
/* The command table. No input is trusted: a word is looked up, nothing else. */
#include "pop/verb.h"

#define A    POP_AUTHORIZATION
#define T    POP_TRANSACTION
#define LINE POP_COMMAND_MAX

const struct pop_verb_row pop_verbs[POP_VERBS] = {
    [POP_APOP] = {"APOP", 0, A,     POP_ARGS_NAME_DIGEST, POP_REPLY_LINE,          0, LINE,              "APOP name digest", "1939 7"   },
    [POP_AUTH] = {"AUTH", 1, A,     POP_ARGS_MECHANISM,   POP_REPLY_EXCHANGE,      1, POP_AUTH_LINE_MAX,
                  "AUTH [mechanism [initial-response]]",                                                                     "5034 4"   },
    [POP_CAPA] = {"CAPA", 1, A | T, POP_ARGS_NONE,        POP_REPLY_MULTI,         0, LINE,              "CAPA",             "2449 5"   },
    [POP_DELE] = {"DELE", 1, T,     POP_ARGS_MSG,         POP_REPLY_LINE,          0, LINE,              "DELE msg",         "1939 5"   },
    [POP_LIST] = {"LIST", 1, T,     POP_ARGS_MSG_OR_NONE, POP_REPLY_MULTI_IF_BARE, 0, LINE,              "LIST [msg]",
                  "1939 5"                                                                                                              },
    [POP_NOOP] = {"NOOP", 1, T,     POP_ARGS_NONE,        POP_REPLY_LINE,          0, LINE,              "NOOP",             "1939 5"   },
    [POP_PASS] = {"PASS", 1, A,     POP_ARGS_TEXT,        POP_REPLY_LINE,          0, LINE,              "PASS string",      "1939 7"   },
    [POP_QUIT] = {"QUIT", 1, A | T, POP_ARGS_NONE,        POP_REPLY_LINE,          1, LINE,              "QUIT",             "1939 4, 6"},
    [POP_RETR] = {"RETR", 1, T,     POP_ARGS_MSG,         POP_REPLY_MULTI,         0, LINE,              "RETR msg",         "1939 5"   },
    [POP_RSET] = {"RSET", 1, T,     POP_ARGS_NONE,        POP_REPLY_LINE,          0, LINE,              "RSET",             "1939 5"   },
    [POP_STAT] = {"STAT", 1, T,     POP_ARGS_NONE,        POP_REPLY_LINE,          0, LINE,              "STAT",             "1939 5"   },
    [POP_STLS] = {"STLS", 1, A,     POP_ARGS_NONE,        POP_REPLY_LINE,          1, LINE,              "STLS",             "2595 4"   },
    [POP_TOP] = {"TOP",  1, T,     POP_ARGS_MSG_LINES,   POP_REPLY_MULTI,         0, LINE,              "TOP msg n",        "1939 7"   },
    [POP_UIDL] = {"UIDL", 1, T,     POP_ARGS_MSG_OR_NONE, POP_REPLY_MULTI_IF_BARE, 0, LINE,              "UIDL [msg]",
                  "1939 7"                                                                                                              },
    [POP_USER] = {"USER", 1, A,     POP_ARGS_NAME,        POP_REPLY_LINE,          0, LINE,              "USER name",        "1939 7"   },
};

const struct pop_verb_row *pop_verb_find(struct span word)
{
	if (word.len < 3 || word.len > 4)
		return NULL; /* RFC 1939 section 3: keywords are three or four characters */
	for (size_t i = 0; i < POP_VERBS; i++)
		if (span_equal_nocase(word, span_str(pop_verbs[i].word)))
			return &pop_verbs[i];
	return NULL;
}
