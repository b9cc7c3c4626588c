/* SPDX-License-Identifier: MIT */
/* The LMTP server's words (RFC 5321 section 4.2, RFC 3463). No input. */
#include "lmtp/reply.h"

/* clang-format off */
#define LINE(text) {text "\r\n", sizeof(text "\r\n") - 1}
#define BOTH(text) .recipient = LINE(text), .message = LINE(text)
const struct lmtp_reply lmtp_replies[LMTP_VERDICTS] = {
    [LMTP_GOOD] = {"delivered", .recipient = LINE("250 2.1.5 recipient ok"), .message = LINE("250 2.0.0 delivered")},
    [LMTP_UNKNOWN] = {"unknown", BOTH("550 5.1.1 no such mailbox here")},
    [LMTP_DISABLED] = {"disabled", BOTH("550 5.2.1 this mailbox takes no mail")},
    [LMTP_OVER_QUOTA] = {"over quota", BOTH("552 5.2.2 mailbox is over quota"),
                         .deferred = LINE("452 4.2.2 mailbox is over quota")},
    [LMTP_TOO_LARGE] = {"too large", BOTH("552 5.3.4 message too large")},
    [LMTP_NO_SPACE] = {"no space", BOTH("452 4.3.1 no space on the disk")},
    [LMTP_BUSY] = {"busy", BOTH("451 4.3.2 too much at once, try again later")},
    [LMTP_MAILDROP] = {"maildrop trouble", BOTH("451 4.2.0 trouble with this mailbox, try again later")},
    [LMTP_TROUBLE] = {"trouble", BOTH("451 4.3.0 trouble here, try again later")},
};
/* clang-format on */

const char *lmtp_verdict_text(enum lmtp_verdict verdict)
{
	return lmtp_replies[verdict].text;
}
