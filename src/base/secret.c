/* SPDX-License-Identifier: MIT */
/* Secrets. Used by workers and auth on passwords from the network. */
#include "base/secret.h"

#include "base/err.h"

#include <stdlib.h>
#include <string.h>

int secret_init(struct secret *ret, struct span octets)
{
	*ret = (struct secret){0};
	if (octets.len > SECRET_MAX)
		return ERR_FULL;
	char *copy = malloc(octets.len + 1);
	if (!copy)
		return ERR_NOMEM;
	if (octets.len)
		memcpy(copy, octets.ptr, octets.len);
	copy[octets.len] = '\0'; /* crypt(3) wants a C string */
	*ret = (struct secret){copy, octets.len};
	return ERR_NONE;
}

void secret_finish(struct secret *secret)
{
	if (secret->hidden)
		secret_wipe(secret->hidden, secret->len + 1);
	free(secret->hidden);
	*secret = (struct secret){0};
}

struct span secret_reveal(const struct secret *secret)
{
	return span_of(secret->hidden ? secret->hidden : "", secret->len);
}

bool secret_equal(struct span a, struct span b)
{
	if (a.len != b.len)
		return false;
	volatile unsigned char differ = 0;
	for (size_t i = 0; i < a.len; i++)
		differ = (unsigned char)(differ | (a.ptr[i] ^ b.ptr[i]));
	return differ == 0;
}

void secret_wipe(void *memory, size_t size)
{
	explicit_bzero(memory, size);
}
