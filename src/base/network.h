/* SPDX-License-Identifier: MIT */
/* The network a client comes from, as far as it is one client's: an IPv4 address, or the first 64 bits of an
 * IPv6 one, of which anybody has as many as he likes. Used by the worker, and as a mere key by the keeper. */
#ifndef BASE_NETWORK_H
#define BASE_NETWORK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

struct network {
	uint8_t octets[16]; /* as in an IPv6 address; all zeros: none */
};

/* None for this machine itself (loopback, local sockets): its programs are not limited by where they are. */
struct network network_of(const struct sockaddr *address);

static inline bool network_is_none(const struct network *network)
{
	for (unsigned i = 0; i < sizeof network->octets; i++)
		if (network->octets[i])
			return false;
	return true;
}

#endif
