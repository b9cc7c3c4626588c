/* SPDX-License-Identifier: MIT */
/* What single lines of an mbox mean; mbox(5) of Restante's manual has the rules in words. */
#ifndef DROP_MBOX_LINE_H
#define DROP_MBOX_LINE_H

#include "base/span.h"

enum { MBOX_SEPARATOR_MAX = 1000 }; /* octets of the longest From_ line, its line end included */

/* Begins with "From ". */
bool mbox_line_is_from(struct span line);

/* A From_ line: "From ", a sender, and the date and time as asctime(3) writes them. `line` is the whole line.
 */
bool mbox_line_is_separator(struct span line);

/* Octets of the line end that `octets` begin with: 1 for LF, 2 for CRLF, 0 for none. */
size_t mbox_line_end(struct span octets);

/* A header field that programs add to messages in an mbox and rewrite there. `line` is its beginning, up
 * to the colon at least. */
bool mbox_line_is_mutable(struct span line);
enum { MBOX_FIELD_MAX = 16 }; /* octets that say so */

#endif
