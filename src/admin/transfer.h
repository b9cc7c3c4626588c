/* SPDX-License-Identifier: MIT */
/* What `import` and `export` say in the end. */
#ifndef ADMIN_TRANSFER_H
#define ADMIN_TRANSFER_H

#include "admin/account.h"

struct transfer {
	uint64_t done, present, failed; /* messages */
	uint64_t octets;                /* of those done */
};

/* As text, "..." + "messages imported", or as JSON. `status` is what went wrong otherwise. Returns the exit
 * status: not 0 when a message failed, or this could not be written. */
int transfer_report(const struct transfer *transfer, const char *begin, const char *into,
                    const struct account *account, bool json, int status);

#endif
