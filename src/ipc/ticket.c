/* SPDX-License-Identifier: MIT */
/*
 * Login tickets: sealed by auth, verified by the keeper. The keeper gets them from
 * workers, which may have been taken over: nothing in a ticket is believed
 * before its seal.
 */
#include "ipc/ticket.h"

#include "base/err.h"
#include "base/secret.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <stddef.h>
#include <string.h>

/* Looking an algorithm up costs OpenSSL more than the sum itself, so one context is kept. */
static EVP_MAC_CTX *new_context(void)
{
	EVP_MAC *mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
	EVP_MAC_CTX *context = mac ? EVP_MAC_CTX_new(mac) : NULL;
	EVP_MAC_free(mac);
	char digest[] = "SHA256";
	OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
	                       OSSL_PARAM_construct_end()};
	if (context && EVP_MAC_CTX_set_params(context, params) == 1)
		return context;
	EVP_MAC_CTX_free(context);
	return NULL;
}

static int compute(const struct ticket *ticket, const uint8_t key[TICKET_KEY_SIZE],
                   uint8_t ret_mac[TICKET_MAC_SIZE])
{
	static EVP_MAC_CTX *context;
	size_t len = 0;
	if (!context)
		context = new_context();
	if (!context || EVP_MAC_init(context, key, TICKET_KEY_SIZE, NULL) != 1 ||
	    EVP_MAC_update(context, (const unsigned char *)ticket, offsetof(struct ticket, mac)) != 1 ||
	    EVP_MAC_final(context, ret_mac, &len, TICKET_MAC_SIZE) != 1 || len != TICKET_MAC_SIZE)
		return ERR_IO;
	return ERR_NONE;
}

int ticket_seal(struct ticket *ticket, const uint8_t key[TICKET_KEY_SIZE])
{
	uint8_t mac[TICKET_MAC_SIZE];
	int err = compute(ticket, key, mac);
	if (err == ERR_NONE)
		memcpy(ticket->mac, mac, sizeof mac);
	return err;
}

int ticket_verify(const struct ticket *ticket, const uint8_t key[TICKET_KEY_SIZE])
{
	uint8_t mac[TICKET_MAC_SIZE];
	if (compute(ticket, key, mac) != ERR_NONE)
		return ERR_PEER;
	bool sealed = secret_equal(span_of((const char *)mac, sizeof mac),
	                           span_of((const char *)ticket->mac, sizeof ticket->mac));
	secret_wipe(mac, sizeof mac); /* the right seal for a forged ticket is worth stealing */
	bool whole = memchr(ticket->account, '\0', sizeof ticket->account) &&
	             memchr(ticket->location, '\0', sizeof ticket->location);
	return sealed && whole ? ERR_NONE : ERR_PEER;
}
