/* SPDX-License-Identifier: MIT */
/* An account's maildrop, opened and locked for an administrator's command. */
#ifndef ADMIN_MAILDROP_H
#define ADMIN_MAILDROP_H

#include "admin/account.h"
#include "drop/drop.h"

enum { MAILDROP_WAIT_S = 30, MAILDROP_WAIT_MAX_S = 86400 }; /* --wait: by default, at most */

struct maildrop {
	struct drop_root root;
	struct drop *drop;
	struct drop_report report;
	struct drop_listing listing;
};

/* Opens the folder of all maildrops. 0, or the exit status after complaining. */
int maildrop_open_root(const struct conf *conf, struct drop_root *ret);

/* Opens the account's maildrop and reads its listing; while a session has it, tries again for `wait_s`
 * seconds. 0, or the exit status after complaining; EX_TEMPFAIL: in use. */
int maildrop_open(const struct conf *conf, const struct account *account, uint64_t wait_s,
                  struct maildrop *ret);
void maildrop_close(struct maildrop *maildrop);

/* The unique-id of message `number`, 1 to drop_count(). */
struct span maildrop_unique_id(const struct maildrop *maildrop, uint32_t number);

/* Takes the number of --wait. 0, or EX_USAGE after complaining. */
int maildrop_parse_wait(const char *text, uint64_t *ret_s);

#endif
