/* SPDX-License-Identifier: MIT */
/* Accounts for the commands that work on maildrops, and becoming the user those belong to. */
#ifndef ADMIN_ACCOUNT_H
#define ADMIN_ACCOUNT_H

#include "acct/acct.h"
#include "conf/conf.h"
#include "drop/deliver.h"

struct account {
	struct drop_quota quota; /* what holds for it, by itself or by the configuration */
	bool disabled;
	char name[ACCT_NAME_MAX + 1]; /* as stored */
	char location[];              /* of its maildrop */
};

struct accounts {
	struct account **list;
	size_t count;
};

/* Finds the account `name`, or all when that is NULL, in order of name. As root the accounts file is read by
 * a process that becomes the user auth runs as. 0, or the exit status after complaining; EX_NOUSER: no such
 * account. */
int accounts_read(const struct conf *conf, const char *name, struct accounts *ret);
void accounts_finish(struct accounts *accounts);

/* As root: becomes the user the keeper runs as, for good, before any maildrop is touched. 0, or the exit
 * status after complaining. */
int accounts_become_keeper(const struct conf *conf);

/* Opens the folder of the maildrops, with the rules the configuration has for them. As drop_root_open(). */
int account_open_root(const struct conf *conf, struct drop_root *ret, struct error *error);

#endif
