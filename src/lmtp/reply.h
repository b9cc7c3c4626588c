/* SPDX-License-Identifier: MIT */
/* What the LMTP server says of recipients and messages: one row per verdict. Inside src/lmtp only. */
#ifndef LMTP_REPLY_H
#define LMTP_REPLY_H

#include "lmtp/server.h"

struct lmtp_reply {
	const char *text;                         /* for the log */
	struct span recipient, message, deferred; /* at RCPT; after the message; instead of both, if set,
	                                           * where the configuration defers */
};

extern const struct lmtp_reply lmtp_replies[LMTP_VERDICTS];

#endif
