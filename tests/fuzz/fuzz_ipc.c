/* SPDX-License-Identifier: MIT */
/*
 * Fuzzes ipc_check(): the octets of one datagram from a peer that was taken over. The first octet
 * of the input says between whom it travels, the second how many descriptors ride on it.
 */
#include "base/err.h"
#include "ipc/channel.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 2)
		return 0;
	enum ipc_kind from = data[0] & 3, to = data[0] >> 2 & 3;
	unsigned fd_count = data[1] % (IPC_FDS_MAX + 2);
	char *datagram = malloc(size); /* aligned, as the channel's buffer is, and exactly as long */
	if (!datagram)
		return 0;
	memcpy(datagram, data + 2, size - 2);
	struct ipc_in in = {0};
	const char *why = NULL;
	int err = ipc_check(span_of(datagram, size - 2), from, to, fd_count, &in, &why);
	if (err == ERR_NONE) {
		const struct ipc_row *row = &ipc_rows[in.type];
		if (!(row->from >> from & 1) || !(row->to >> to & 1) || in.tail.len > row->tail_max)
			abort();
		if (in.tail.len && in.tail.ptr + in.tail.len != datagram + size - 2)
			abort();
	} else if (!why) {
		abort();
	}
	free(datagram);
	return 0;
}
