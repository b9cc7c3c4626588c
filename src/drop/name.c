/* SPDX-License-Identifier: MIT */
/* Names of Maildir files. Runs in the keeper; whoever may write into a maildrop may choose any name. */
#include "drop/name.h"

#include "base/num.h"

#include <inttypes.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

enum { HASH_ID_OCTETS = 33, HASH_OCTETS = 32, HOST_OCTETS_MAX = 24 };

static const char hex[] = "0123456789abcdef";

bool name_is_message(struct span name)
{
	return name.len >= 1 && name.len <= NAME_OCTETS_MAX && name.ptr[0] != '.' &&
	       !memchr(name.ptr, '/', name.len) && !memchr(name.ptr, '\0', name.len);
}

struct span name_base(struct span name)
{
	size_t at = 0; /* memmem() would set itself up for longer than names are */
	while ((at += span_find(span_after(name, at), ':')) + 3 <= name.len) {
		if (name.ptr[at + 1] == '2' && name.ptr[at + 2] == ',')
			return span_first(name, at);
		at++;
	}
	return name;
}

/* The digits a name begins with, without leading zeros: any length, so no number type holds it. */
static struct span leading_number(struct span name)
{
	size_t len = 0, zeros = 0;
	while (len < name.len && name.ptr[len] >= '0' && name.ptr[len] <= '9')
		len++;
	while (zeros < len && name.ptr[zeros] == '0')
		zeros++;
	return span_of(name.ptr + zeros, len - zeros);
}

uint64_t name_number(struct span name)
{
	uint64_t number = 0;
	struct span digits = leading_number(name);
	if (digits.len > NUM_TEXT_MAX - 1)
		return UINT64_MAX;
	for (size_t i = 0; i < digits.len; i++)
		number = number * 10 + (uint64_t)(digits.ptr[i] - '0');
	return number;
}

static int compare_octets(struct span a, struct span b)
{
	int order = memcmp(a.ptr, b.ptr, a.len < b.len ? a.len : b.len);
	if (order == 0)
		order = a.len < b.len ? -1 : a.len > b.len;
	return order;
}

int name_compare(struct span a, struct span b)
{
	struct span number_a = leading_number(a), number_b = leading_number(b);
	if (number_a.len != number_b.len)
		return number_a.len < number_b.len ? -1 : 1;
	int order = memcmp(number_a.ptr, number_b.ptr, number_a.len);
	return order ? order : compare_octets(a, b);
}

bool name_is_legal(struct span octets)
{
	enum { BLOCK = 64 }; /* a constant, so that compilers make vector instructions of the loop */
	uint8_t bad = 0;
	for (; octets.len >= BLOCK; octets = span_after(octets, BLOCK))
		for (unsigned i = 0; i < BLOCK; i++)
			bad |= (uint8_t)((uint8_t)(octets.ptr[i] - 0x21) > 0x7e - 0x21);
	for (size_t i = 0; i < octets.len; i++)
		bad |= (uint8_t)((uint8_t)(octets.ptr[i] - 0x21) > 0x7e - 0x21);
	return bad == 0;
}

bool name_is_unique_id(struct span id)
{
	return id.len >= 1 && id.len <= DROP_UID_MAX && name_is_legal(id);
}

/* A base name of the very form our hashes have is hashed too: so no base name equals a hash. */
static bool looks_hashed(struct span base)
{
	if (base.len != HASH_ID_OCTETS || base.ptr[0] != 'h')
		return false;
	for (size_t i = 1; i < base.len; i++)
		if (!memchr(hex, base.ptr[i], sizeof hex - 1))
			return false;
	return true;
}

static int hash_id(struct span octets, char to[DROP_UID_MAX], size_t *ret_len)
{
	unsigned char hash[HASH_OCTETS];
	if (EVP_Digest(octets.ptr, octets.len, hash, NULL, EVP_sha256(), NULL) != 1)
		return ERR_NOMEM;
	to[0] = 'h';
	for (size_t i = 0; i < (HASH_ID_OCTETS - 1) / 2; i++) {
		to[1 + 2 * i] = hex[hash[i] >> 4];
		to[2 + 2 * i] = hex[hash[i] & 15];
	}
	*ret_len = HASH_ID_OCTETS;
	return ERR_NONE;
}

int name_unique_id(struct span base, char to[DROP_UID_MAX], size_t *ret_len)
{
	if (!name_is_unique_id(base) || looks_hashed(base))
		return hash_id(base, to, ret_len);
	memcpy(to, base.ptr, base.len);
	*ret_len = base.len;
	return ERR_NONE;
}

int name_second_unique_id(struct span base, uint64_t inode, char to[DROP_UID_MAX], size_t *ret_len)
{
	/* Base names hold no '/', so this is no other message's base name. */
	char octets[NAME_OCTETS_MAX + 1 + sizeof inode];
	size_t len = base.len < NAME_OCTETS_MAX ? base.len : NAME_OCTETS_MAX;
	memcpy(octets, base.ptr, len);
	octets[len++] = '/';
	memcpy(octets + len, &inode, sizeof inode);
	return hash_id(span_of(octets, len + sizeof inode), to, ret_len);
}

/* As much of the host's name as leaves a name a unique-id, without what means something in one. */
static void get_host(char to[HOST_OCTETS_MAX + 1])
{
	if (gethostname(to, HOST_OCTETS_MAX + 1) != 0 || !to[0])
		memcpy(to, "localhost", sizeof "localhost");
	to[HOST_OCTETS_MAX] = '\0';
	for (char *at = to; *at; at++)
		if (*at == '/' || *at == ':' || !name_is_legal(span_of(at, 1)))
			*at = '_';
}

int name_make_fresh(char to[NAME_FRESH_MAX])
{
	struct timespec now;
	uint64_t chance;
	char host[HOST_OCTETS_MAX + 1];
	if (clock_gettime(CLOCK_REALTIME, &now) != 0 ||
	    getrandom(&chance, sizeof chance, 0) != (ssize_t)sizeof chance)
		return ERR_IO;
	get_host(host);
	/* Microseconds filled up with zeros: names sort in the order they were made. */
	(void)snprintf(to, NAME_FRESH_MAX, "%lld.M%06ldP%dR%016" PRIx64 ".%s", (long long)now.tv_sec,
	               now.tv_nsec / 1000, (int)getpid(), chance, host);
	return ERR_NONE;
}
