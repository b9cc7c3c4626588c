/* SPDX-License-Identifier: MIT */
/*
 * Account names, maildrop locations and password hashes. Runs in auth, on names and
 * passwords from the network, and in `restante user`.
 */
#include "acct/acct.h"

#include "sasl/sasl.h"

#include <crypt.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(ACCT_HASH_MAX == CRYPT_OUTPUT_SIZE && ACCT_PASSWORD_MAX == CRYPT_MAX_PASSPHRASE_SIZE - 1,
               "crypt(3)'s sizes");

/* What a password is hashed against when there is no account: the method and cost acct_hash() uses. */
static const char nobody[] = "$y$j9T$NobodyNobodyNobodyNo..$";

/* --- names --- */

static bool is_control(unsigned char c)
{
	return c < 0x20 || c == 0x7f;
}

/* The rules on a prepared name; SASLprep has refused control characters beyond ASCII already. */
static bool is_name(const char *name)
{
	if (name[0] == '\0' || name[0] == '.' || name[0] == '-')
		return false;
	for (const char *at = name; *at; at++)
		if (*at == '/' || *at == '%' || is_control((unsigned char)*at))
			return false;
	return true;
}

int acct_name_prepare(struct span name, char ret[ACCT_NAME_MAX + 1])
{
	char prepared[ACCT_NAME_MAX + 1];
	int err = sasl_prepare(name, prepared, sizeof prepared);
	if (err)
		return err == ERR_NOMEM ? err : ERR_SYNTAX;
	if (!is_name(prepared))
		return ERR_SYNTAX;
	memcpy(ret, prepared, sizeof prepared);
	return ERR_NONE;
}

int acct_name_fold(struct span name, char ret[ACCT_NAME_MAX + 1])
{
	int err = acct_name_prepare(name, ret);
	if (err)
		return err;
	for (char *at = ret; *at; at++)
		if (*at >= 'A' && *at <= 'Z')
			*at = (char)(*at + ('a' - 'A'));
	return ERR_NONE;
}

/* --- locations --- */

int acct_location_check(const char *location)
{
	size_t scheme = strspn(location, "abcdefghijklmnopqrstuvwxyz");
	if (scheme == 0 || location[scheme] != ':' || location[scheme + 1] != '/' || !location[scheme + 2])
		return ERR_SYNTAX;
	for (const char *at = location; *at; at++)
		if (is_control((unsigned char)*at))
			return ERR_SYNTAX;
	const char *at = location + scheme + 1;
	while (*at == '/') {
		size_t len = strcspn(++at, "/");
		if (len == 0 || (len == 1 && at[0] == '.') || (len == 2 && at[0] == '.' && at[1] == '.'))
			return ERR_SYNTAX;
		at += len;
	}
	return ERR_NONE;
}

/* What an escape stands for. */
static int find_escape(char escape, struct span name, struct span *ret)
{
	size_t at = name.len; /* of the last '@', or the end */
	for (size_t i = name.len; i > 0 && at == name.len; i--)
		if (name.ptr[i - 1] == '@')
			at = i - 1;
	if (escape == 'u')
		*ret = name;
	else if (escape == 'n')
		*ret = span_first(name, at);
	else if (escape == 'd')
		*ret = span_after(name, at < name.len ? at + 1 : at);
	else if (escape == '%')
		*ret = SPAN("%");
	else
		return ERR_SYNTAX;
	return ERR_NONE;
}

int acct_location(const char *pattern, struct span name, char *to, size_t size)
{
	size_t len = 0;
	for (const char *at = pattern; *at; at++) {
		struct span part = {at, 1};
		if (*at == '%') {
			int err = find_escape(*++at, name, &part);
			if (err)
				return err;
		}
		if (part.len >= size - len)
			return ERR_FULL;
		memcpy(to + len, part.ptr, part.len);
		len += part.len;
	}
	to[len] = '\0';
	return acct_location_check(to);
}

/* --- hashes --- */

/* The octets that are hashed, for crypt(3). Wipe them. */
static int prepare_password(const struct secret *password, char ret[ACCT_PASSWORD_MAX + 1])
{
	struct span octets = secret_reveal(password);
	if (octets.len == 0 || span_find(octets, '\0') != octets.len)
		return ERR_SYNTAX;
	int err = sasl_prepare(octets, ret, ACCT_PASSWORD_MAX + 1);
	if (err == ERR_NOMEM)
		return err;
	/* Passwords in other character sets are older than SASLprep and work as octets. */
	if ((err || !ret[0]) && !span_to_text(octets, ret, ACCT_PASSWORD_MAX + 1))
		return ERR_SYNTAX;
	return ERR_NONE;
}

/* crypt(3) into ret[ACCT_HASH_MAX]; ERR_SYNTAX: the setting is of no known method. */
static int run_crypt(const char *password, const char *setting, char ret[ACCT_HASH_MAX])
{
	struct crypt_data *data = calloc(1, sizeof *data);
	if (!data)
		return ERR_NOMEM;
	const char *hash = crypt_rn(password, setting, data, sizeof *data);
	int err = hash ? ERR_NONE : errno == ENOMEM ? ERR_NOMEM : ERR_SYNTAX;
	if (hash && !span_to_text(span_str(hash), ret, ACCT_HASH_MAX))
		err = ERR_SYNTAX;
	secret_wipe(data, sizeof *data);
	free(data);
	return err;
}

int acct_hash(const struct secret *password, char ret[ACCT_HASH_MAX])
{
	char phrase[ACCT_PASSWORD_MAX + 1], setting[CRYPT_GENSALT_OUTPUT_SIZE];
	int err = prepare_password(password, phrase);
	if (!err && !crypt_gensalt_rn("$y$", 0, NULL, 0, setting, sizeof setting))
		err = ERR_IO;
	if (!err)
		err = run_crypt(phrase, setting, ret);
	secret_wipe(phrase, sizeof phrase);
	return err;
}

int acct_verify(const struct secret *password, const char *hash)
{
	char phrase[ACCT_PASSWORD_MAX + 1], got[ACCT_HASH_MAX];
	int err = prepare_password(password, phrase);
	if (err == ERR_NOMEM)
		return err;
	bool usable = err == ERR_NONE && hash != NULL;
	if (err)
		memcpy(phrase, "x", 2);
	err = run_crypt(phrase, usable ? hash : nobody, got);
	if (err == ERR_SYNTAX) { /* a hash no method knows, or the mark of a locked password */
		usable = false;
		err = run_crypt(phrase, nobody, got);
	}
	secret_wipe(phrase, sizeof phrase);
	if (err == ERR_NOMEM)
		return err;
	bool same = usable && !err && secret_equal(span_str(got), span_str(hash));
	secret_wipe(got, sizeof got);
	return same ? ERR_NONE : ERR_CREDENTIALS;
}
