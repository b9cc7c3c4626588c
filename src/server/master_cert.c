/* SPDX-License-Identifier: MIT */
/*
 * Certificates: read and checked by the master, handed to the workers in sealed memory
 * files, so that no other process needs to read the keys. The files are an
 * administrator's.
 */
#include "base/buf.h"
#include "base/secret.h"
#include "ipc/blob.h"
#include "net/tls.h"
#include "server/master.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PEM_MAX = 1 << 20 }; /* octets of a chain or key */

static struct cert_mark mark_of(const struct stat *what)
{
	return (struct cert_mark){what->st_dev, what->st_ino, what->st_size, what->st_mtim};
}

/* The file as it is now; all zero if there is none. */
static struct cert_mark mark_path(const char *path)
{
	struct stat what;
	return stat(path, &what) == 0 ? mark_of(&what) : (struct cert_mark){0};
}

static bool same(const struct cert_mark *a, const struct cert_mark *b)
{
	return a->dev == b->dev && a->ino == b->ino && a->size == b->size &&
	       a->modified.tv_sec == b->modified.tv_sec && a->modified.tv_nsec == b->modified.tv_nsec;
}

/* Appends the file and a line end to `pem`. */
static int read_pem(const char *path, struct buf *pem, struct cert_mark *ret_mark, struct error *error)
{
	struct stat what;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (fd < 0 || fstat(fd, &what) != 0) {
		error_set(error, "%s: %s", path, strerror(errno));
		if (fd >= 0)
			(void)close(fd);
		return ERR_IO;
	}
	*ret_mark = mark_of(&what);
	ssize_t n = 0;
	int err = ERR_NONE;
	do {
		char octets[4096];
		n = read(fd, octets, sizeof octets);
		if (n > 0)
			err = buf_add(pem, span_of(octets, (size_t)n));
		secret_wipe(octets, sizeof octets);
	} while (n > 0 && !err);
	if (n < 0 || err)
		error_set(error, "%s: %s", path, n < 0 ? strerror(errno) : err_text(err));
	(void)close(fd);
	return n < 0 ? ERR_IO : err ? err : buf_add(pem, SPAN("\n"));
}

static int check_pair(struct span pem, struct error *error)
{
	struct tls *tls;
	int err = tls_new(&tls);
	if (err)
		return err;
	err = tls_add(tls, pem, error);
	tls_free(tls);
	return err;
}

static int load_one(const struct conf_cert *conf, struct cert *ret, struct error *error)
{
	struct buf pem;
	buf_init(&pem, 2 * PEM_MAX);
	int err = buf_reserve(&pem, 2 * PEM_MAX); /* at once: moving it would leave copies of the key */
	if (!err)
		err = read_pem(conf->chain, &pem, &ret->chain, error);
	if (!err)
		err = read_pem(conf->key, &pem, &ret->key, error);
	if (!err) {
		struct error why = {""};
		err = check_pair(buf_span(&pem), &why);
		if (err)
			error_set(error, "certificate %s with key %s: %s", conf->chain, conf->key,
			          why.text[0] ? why.text : err_text(err));
	}
	if (!err) {
		ret->octets = pem.len;
		err = blob_copy("certificate", buf_span(&pem), &ret->fd);
	}
	if (pem.ptr)
		secret_wipe(pem.ptr, pem.len);
	buf_finish(&pem);
	return err;
}

int cert_load(const struct conf *conf, struct cert_set *ret, struct conf_errors *errors)
{
	int result = ERR_NONE;
	memset(ret, 0, sizeof *ret);
	for (uint64_t i = 0; i < conf->cert_count; i++) {
		struct error error = {""};
		struct cert *cert = &ret->list[ret->count++];
		cert->fd = -1;
		if (load_one(&conf->cert[i], cert, &error) == ERR_NONE)
			continue;
		/* So that the same bad files are not complained of every two seconds. */
		cert->chain = mark_path(conf->cert[i].chain);
		cert->key = mark_path(conf->cert[i].key);
		conf_complain(errors, conf->cert[i].line, "%s", error.text[0] ? error.text : "out of memory");
		result = ERR_CONFIG;
	}
	if (result) {
		for (unsigned i = 0; i < ret->count; i++) {
			if (ret->list[i].fd >= 0)
				(void)close(ret->list[i].fd);
			ret->list[i].fd = -1;
		}
	}
	return result;
}

void cert_free(struct cert_set *set)
{
	for (unsigned i = 0; i < set->count; i++)
		if (set->list[i].fd >= 0)
			(void)close(set->list[i].fd);
	set->count = 0;
}

bool cert_changed(const struct conf *conf, const struct cert_set *set)
{
	for (unsigned i = 0; i < set->count && i < conf->cert_count; i++) {
		struct cert_mark chain = mark_path(conf->cert[i].chain);
		struct cert_mark key = mark_path(conf->cert[i].key);
		if (!same(&chain, &set->list[i].chain) || !same(&key, &set->list[i].key))
			return true;
	}
	return false;
}
