/* SPDX-License-Identifier: MIT */
/* TLS contexts. Runs in the worker; certificates come from the master, everything else from the network by
 * way of OpenSSL. */
#include "net/tls.h"

#include "base/secret.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

struct tls {
	SSL_CTX *hosts[TLS_HOSTS_MAX]; /* the first is the default */
	unsigned count;
	uint8_t current[TLS_KEY_SIZE], previous[TLS_KEY_SIZE];
};

static void explain(struct error *error, const char *what)
{
	unsigned long code = ERR_get_error();
	const char *reason = code ? ERR_reason_error_string(code) : NULL;
	error_set(error, "%s: %s", what, reason ? reason : "unknown reason");
	ERR_clear_error();
}

/* --- session tickets (RFC 5077, RFC 8446 section 4.6.1): stateless, so that any worker resumes any session
 * --- */

enum { KEY_NAME = 16, KEY_CIPHER = 32, KEY_MAC = 32 };

static int with_key(const uint8_t *key, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
                    EVP_MAC_CTX *mac, int encrypt)
{
	char digest[] = "SHA256";
	OSSL_PARAM params[] = {
	    OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
	    OSSL_PARAM_construct_end(),
	};
	if (encrypt) {
		memcpy(name, key, KEY_NAME);
		if (RAND_bytes(iv, EVP_MAX_IV_LENGTH) != 1)
			return -1;
	}
	if (EVP_CipherInit_ex(cipher, EVP_aes_256_cbc(), NULL, key + KEY_NAME, iv, encrypt) != 1)
		return -1;
	return EVP_MAC_init(mac, key + KEY_NAME + KEY_CIPHER, KEY_MAC, params) == 1 ? 1 : -1;
}

static int ticket_key(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
                      EVP_MAC_CTX *mac, int encrypt)
{
	const struct tls *tls = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
	bool current = CRYPTO_memcmp(name, tls->current, KEY_NAME) == 0;
	if (encrypt)
		return with_key(tls->current, name, iv, cipher, mac, encrypt);
	if (!current && CRYPTO_memcmp(name, tls->previous, KEY_NAME) != 0)
		return 0; /* unknown: a full handshake */
	int done = with_key(current ? tls->current : tls->previous, name, iv, cipher, mac, 0);
	/* Clients use a ticket of TLS 1.3 once (RFC 8446 appendix C.4): without another they come back for a
	 * full handshake every other time. */
	bool renew = !current || SSL_version(ssl) >= TLS1_3_VERSION;
	return done == 1 && renew ? 2 : done;
}

/* --- choosing --- */

static int choose_host(SSL *ssl, int *alert, void *arg)
{
	(void)alert;
	struct tls *tls = arg;
	const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
	for (unsigned i = 0; name && i < tls->count; i++) {
		X509 *leaf = SSL_CTX_get0_certificate(tls->hosts[i]);
		if (X509_check_host(leaf, name, 0, 0, NULL) == 1) {
			(void)SSL_set_SSL_CTX(ssl, tls->hosts[i]);
			return SSL_TLSEXT_ERR_OK;
		}
	}
	return SSL_TLSEXT_ERR_NOACK; /* the default one serves */
}

/* ALPN `pop3` (RFC 7301; IANA): a client that offers protocols but not this one talks to the wrong port. */
static int choose_protocol(SSL *ssl, const unsigned char **ret, unsigned char *ret_len,
                           const unsigned char *offered, unsigned offered_len, void *arg)
{
	static const unsigned char ours[] = "\x04pop3";
	(void)ssl;
	(void)arg;
	unsigned char *chosen;
	if (SSL_select_next_proto(&chosen, ret_len, ours, sizeof ours - 1, offered, offered_len) !=
	    OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_ALERT_FATAL;
	*ret = chosen;
	return SSL_TLSEXT_ERR_OK;
}

/* --- certificates --- */

static SSL_CTX *new_host(struct tls *tls)
{
	static const unsigned char id[] = "restante";
	SSL_CTX *host = SSL_CTX_new(TLS_server_method());
	if (!host || SSL_CTX_set_min_proto_version(host, TLS1_2_VERSION) != 1 ||
	    SSL_CTX_set_session_id_context(host, id, sizeof id - 1) != 1 ||
	    SSL_CTX_set_tlsext_ticket_key_evp_cb(host, ticket_key) != 1 ||
	    SSL_CTX_set_num_tickets(host, 1) != 1 ||
	    SSL_CTX_set_cipher_list(host, "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM") != 1) {
		SSL_CTX_free(host);
		return NULL;
	}
	SSL_CTX_set_options(host, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
	                              SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA |
	                              SSL_OP_IGNORE_UNEXPECTED_EOF);
	SSL_CTX_set_mode(host, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
	                           SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_session_cache_mode(host, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_read_ahead(host, 1); /* one read() for a record, not two */
	SSL_CTX_set_tlsext_servername_callback(host, choose_host);
	SSL_CTX_set_tlsext_servername_arg(host, tls);
	SSL_CTX_set_alpn_select_cb(host, choose_protocol, NULL);
	SSL_CTX_set_app_data(host, tls);
	return host;
}

struct pair {
	X509 *leaf;
	STACK_OF(X509) * chain;
	EVP_PKEY *key;
};

static void pair_finish(struct pair *pair)
{
	X509_free(pair->leaf);
	sk_X509_pop_free(pair->chain, X509_free);
	EVP_PKEY_free(pair->key);
}

static int no_passphrase(char *to, int size, int rwflag, void *user)
{
	(void)to;
	(void)size;
	(void)rwflag;
	(void)user;
	return -1; /* never ask on a terminal */
}

static int read_pair(struct span pem, struct pair *ret, struct error *error)
{
	BIO *in = pem.len <= INT32_MAX ? BIO_new_mem_buf(pem.ptr, (int)pem.len) : NULL;
	ret->chain = sk_X509_new_null();
	if (in && ret->chain) {
		X509 *one;
		ret->leaf = PEM_read_bio_X509(in, NULL, no_passphrase, NULL);
		while (ret->leaf && (one = PEM_read_bio_X509(in, NULL, no_passphrase, NULL)))
			if (!sk_X509_push(ret->chain, one))
				X509_free(one);
		(void)BIO_reset(in);
		ret->key = PEM_read_bio_PrivateKey(in, NULL, no_passphrase, NULL);
	}
	BIO_free(in);
	if (!ret->leaf)
		explain(error, "no certificate in PEM form");
	else if (!ret->key)
		explain(error, "no private key in PEM form without a passphrase");
	else if (X509_check_private_key(ret->leaf, ret->key) != 1)
		explain(error, "key and certificate do not belong together");
	else {
		ERR_clear_error();
		return ERR_NONE;
	}
	return ERR_TLS;
}

/* The first DNS name of a certificate, or its common name, matches `host`. */
static bool same_names(SSL_CTX *host, X509 *leaf)
{
	X509 *other = SSL_CTX_get0_certificate(host);
	char name[256] = "";
	GENERAL_NAMES *names = X509_get_ext_d2i(leaf, NID_subject_alt_name, NULL, NULL);
	for (int i = 0; i < sk_GENERAL_NAME_num(names) && !name[0]; i++) {
		const GENERAL_NAME *one = sk_GENERAL_NAME_value(names, i);
		if (one->type == GEN_DNS)
			(void)span_to_text(span_of((const char *)ASN1_STRING_get0_data(one->d.dNSName),
			                           (size_t)ASN1_STRING_length(one->d.dNSName)),
			                   name, sizeof name);
	}
	GENERAL_NAMES_free(names);
	if (!name[0])
		(void)X509_NAME_get_text_by_NID(X509_get_subject_name(leaf), NID_commonName, name,
		                                sizeof name);
	return name[0] && X509_check_host(other, name, 0, 0, NULL) == 1;
}

/* The context that serves these names with another kind of key, or a new one. */
static SSL_CTX *host_for(struct tls *tls, const struct pair *pair)
{
	for (unsigned i = 0; i < tls->count; i++) {
		EVP_PKEY *key = X509_get0_pubkey(SSL_CTX_get0_certificate(tls->hosts[i]));
		bool other_kind = EVP_PKEY_get_base_id(key) != EVP_PKEY_get_base_id(pair->key);
		if (other_kind && same_names(tls->hosts[i], pair->leaf))
			return tls->hosts[i];
	}
	SSL_CTX *host = tls->count < TLS_HOSTS_MAX ? new_host(tls) : NULL;
	if (host)
		tls->hosts[tls->count++] = host;
	return host;
}

int tls_add(struct tls *tls, struct span pem, struct error *error)
{
	struct pair pair = {0};
	int err = read_pair(pem, &pair, error);
	if (!err) {
		SSL_CTX *host = host_for(tls, &pair);
		if (!host) {
			error_set(error, "more than %d certificates", TLS_HOSTS_MAX);
			err = ERR_FULL;
		} else if (SSL_CTX_use_cert_and_key(host, pair.leaf, pair.key, pair.chain, 1) != 1) {
			explain(error, "certificate not usable");
			err = ERR_TLS;
		}
	}
	pair_finish(&pair);
	return err;
}

int tls_new(struct tls **ret)
{
	struct tls *tls = calloc(1, sizeof *tls);
	if (!tls)
		return ERR_NOMEM;
	if (RAND_bytes(tls->current, TLS_KEY_SIZE) != 1 || RAND_bytes(tls->previous, TLS_KEY_SIZE) != 1) {
		free(tls);
		return ERR_IO;
	}
	*ret = tls;
	return ERR_NONE;
}

void tls_free(struct tls *tls)
{
	if (!tls)
		return;
	for (unsigned i = 0; i < tls->count; i++)
		SSL_CTX_free(tls->hosts[i]);
	secret_wipe(tls, sizeof *tls);
	free(tls);
}

bool tls_ready(const struct tls *tls)
{
	return tls->count > 0;
}

void tls_set_keys(struct tls *tls, const uint8_t current[TLS_KEY_SIZE], const uint8_t previous[TLS_KEY_SIZE])
{
	memcpy(tls->current, current, TLS_KEY_SIZE);
	memcpy(tls->previous, previous, TLS_KEY_SIZE);
}

int tls_accept(struct tls *tls, int fd, SSL **ret)
{
	SSL *ssl = SSL_new(tls->hosts[0]);
	if (!ssl || SSL_set_fd(ssl, fd) != 1) {
		SSL_free(ssl);
		ERR_clear_error();
		return ERR_NOMEM;
	}
	SSL_set_accept_state(ssl);
	*ret = ssl;
	return ERR_NONE;
}
