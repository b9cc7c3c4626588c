/* SPDX-License-Identifier: MIT */
/* Networks of clients. Runs in the worker; addresses come from the kernel. */
#include "base/network.h"

#include <netinet/in.h>
#include <string.h>

enum { PREFIX = 8 }; /* octets of an IPv6 address */

static void put_v4(struct network *network, const void *address)
{
	memset(network->octets + 10, 0xff, 2);
	memcpy(network->octets + 12, address, 4);
}

struct network network_of(const struct sockaddr *address)
{
	const union {
		struct sockaddr any;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
	} *from = (const void *)address;
	struct network network = {{0}};
	if (address->sa_family == AF_INET)
		put_v4(&network, &from->v4.sin_addr);
	else if (address->sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&from->v6.sin6_addr))
		put_v4(&network, from->v6.sin6_addr.s6_addr + 12);
	else if (address->sa_family == AF_INET6) /* of ::1 nothing is left */
		memcpy(network.octets, from->v6.sin6_addr.s6_addr, PREFIX);
	if (network.octets[10] && network.octets[12] == 127)
		network = (struct network){{0}};
	return network;
}
