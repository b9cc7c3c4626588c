/* SPDX-License-Identifier: MIT */
/*
 * Sealed memory files. Made by the master, the keeper and workers, mapped by their
 * peers, which trust nothing but the kernel's word that the file cannot change any
 * more: a mapped file that shrinks kills its reader.
 */
#include "ipc/blob.h"

#include "base/err.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 16 /* Linux 5.1 */
#endif
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8U /* Linux 6.3 */
#endif

enum {
	SEALS = F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL,
	SHARED_SEALS = F_SEAL_FUTURE_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL,
};

static int make(const char *name, uint64_t size, int how, int *ret_fd, char **ret_map)
{
	if (size > BLOB_MAX)
		return ERR_FULL;
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
	if (fd < 0 && errno == EINVAL) /* an older kernel */
		fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return err_from_errno(errno);
	void *map = NULL;
	if (size > 0 &&
	    (ftruncate(fd, (off_t)size) != 0 ||
	     (map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | how, fd, 0)) == MAP_FAILED)) {
		int err = err_from_errno(errno);
		(void)close(fd);
		return err;
	}
	*ret_fd = fd;
	*ret_map = map;
	return ERR_NONE;
}

int blob_new(const char *name, uint64_t size, int *ret_fd, char **ret_map)
{
	return make(name, size, MAP_POPULATE, ret_fd, ret_map); /* it is filled at once */
}

int blob_seal(int fd, char *map, uint64_t size)
{
	if (map)
		(void)munmap(map, size);
	return fcntl(fd, F_ADD_SEALS, SEALS) == 0 ? ERR_NONE : err_from_errno(errno);
}

int blob_copy(const char *name, struct span octets, int *ret_fd)
{
	int fd;
	char *map;
	int err = blob_new(name, octets.len, &fd, &map);
	if (err)
		return err;
	if (octets.len)
		memcpy(map, octets.ptr, octets.len);
	err = blob_seal(fd, map, octets.len);
	if (err) {
		(void)close(fd);
		return err;
	}
	*ret_fd = fd;
	return ERR_NONE;
}

int blob_share(const char *name, uint64_t size, int *ret_fd, char **ret_map)
{
	int fd;
	char *map;
	int err = make(name, size, 0, &fd, &map);
	if (err)
		return err;
	if (fcntl(fd, F_ADD_SEALS, SHARED_SEALS) != 0) {
		err = err_from_errno(errno);
		blob_unmap(map, size);
		(void)close(fd);
		return err;
	}
	*ret_fd = fd;
	*ret_map = map;
	return ERR_NONE;
}

static int map_sealed(int fd, uint64_t size, int seals, int how, const char **ret_map)
{
	int found = fcntl(fd, F_GET_SEALS);
	if (found < 0 || (found & seals) != seals)
		return ERR_PEER;
	off_t end = lseek(fd, 0, SEEK_END); /* a worker may not even stat */
	if (end < 0 || (uint64_t)end != size)
		return ERR_PEER;
	if (size == 0) {
		*ret_map = NULL;
		return ERR_NONE;
	}
	const char *map = mmap(NULL, size, PROT_READ, how, fd, 0);
	if (map == MAP_FAILED)
		return err_from_errno(errno);
	*ret_map = map;
	return ERR_NONE;
}

int blob_map(int fd, uint64_t size, const char **ret_map)
{
	/* Private: kernels before 6.7 refuse a shared mapping of a file sealed against writing. */
	return map_sealed(fd, size, SEALS, MAP_PRIVATE, ret_map);
}

int blob_map_shared(int fd, uint64_t size, const char **ret_map)
{
	return map_sealed(fd, size, SHARED_SEALS, MAP_SHARED, ret_map);
}

void blob_unmap(const char *map, uint64_t size)
{
	union {
		const char *from;
		void *to;
	} both = {map};
	if (map)
		(void)munmap(both.to, size);
}
