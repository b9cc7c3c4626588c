/* SPDX-License-Identifier: MIT */
/* Files read by io_uring. Runs in the keeper, in its loop and its disk threads, on a maildrop's files: what
 * is there under a name may be anything by now. */
#include "drop/ring.h"

#include "base/err.h"
#include "drop/file.h"
#include "drop/message.h"

#include <errno.h>
#include <liburing.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
	REQUESTS = 3, /* for each file: open, read, close */
	ENTRIES = 128 /* a power of two */
};
_Static_assert(ENTRIES >= REQUESTS * RING_FILES_MAX, "a batch is submitted in one go");

/* What an event is about: a file of a batch, by a number that does not repeat, or nothing that is read. */
#define NO_READ UINT64_MAX

static struct ring {
	struct io_uring uring;
	uint64_t batch; /* number of the first file of the last one */
	pthread_mutex_t lock;
} rings[RINGS_MAX];
static unsigned ring_count;

/* What a ring may do is fixed for good: system calls are not what it makes, so the allow-list of the process
 * does not see them. */
static int restrict_ring(struct io_uring *uring)
{
	struct io_uring_restriction allowed[] = {
	    {.opcode = IORING_RESTRICTION_SQE_OP,            .sqe_op = IORING_OP_OPENAT2               },
	    {.opcode = IORING_RESTRICTION_SQE_OP,            .sqe_op = IORING_OP_READ                  },
	    {.opcode = IORING_RESTRICTION_SQE_OP,            .sqe_op = IORING_OP_CLOSE                 },
	    {.opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED,
	     .sqe_flags = IOSQE_IO_LINK | IOSQE_IO_HARDLINK | IOSQE_CQE_SKIP_SUCCESS | IOSQE_FIXED_FILE},
	};
	int err = io_uring_register_files_sparse(uring, RING_FILES_MAX);
	/* liburing declares these two, and Debian 12's does not have them. */
	if (err == 0)
		err = (int)syscall(SYS_io_uring_register, uring->ring_fd, IORING_REGISTER_RESTRICTIONS,
		                   allowed, sizeof allowed / sizeof allowed[0]);
	if (err == 0)
		err = (int)syscall(SYS_io_uring_register, uring->ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL,
		                   0);
	return err;
}

int rings_init(unsigned count)
{
	while (ring_count < count && ring_count < RINGS_MAX) {
		struct ring *ring = &rings[ring_count];
		if (io_uring_queue_init(ENTRIES, &ring->uring, IORING_SETUP_R_DISABLED) != 0)
			return ERR_UNSUPPORTED;
		if (restrict_ring(&ring->uring) != 0 || pthread_mutex_init(&ring->lock, NULL) != 0) {
			io_uring_queue_exit(&ring->uring);
			return ERR_UNSUPPORTED;
		}
		ring_count++;
	}
	return ERR_NONE;
}

void rings_finish(void)
{
	while (ring_count)
		io_uring_queue_exit(&rings[--ring_count].uring);
}

static struct ring *take_ring(void)
{
	for (unsigned i = 0; i < ring_count; i++)
		if (pthread_mutex_trylock(&rings[i].lock) == 0)
			return &rings[i];
	return NULL;
}

/* Open, read, close, each after the one before; a short read is no failure. The read reports, or the open
 * that failed: then the kernel says nothing of the other two. */
static void ask_for(struct io_uring *uring, int folder, struct open_how *how, const struct ring_read *read,
                    unsigned slot, uint64_t batch, bool nowait)
{
	struct io_uring_sqe *request = io_uring_get_sqe(uring);
	io_uring_prep_openat2_direct(request, folder, read->path, how, slot);
	request->flags |= IOSQE_IO_LINK | IOSQE_CQE_SKIP_SUCCESS;
	request->user_data = batch + slot;
	request = io_uring_get_sqe(uring);
	io_uring_prep_read(request, (int)slot, read->to, (unsigned)read->size, 0);
	request->flags |= IOSQE_FIXED_FILE | IOSQE_IO_HARDLINK;
	request->rw_flags = nowait ? RWF_NOWAIT : 0;
	request->user_data = batch + slot;
	request = io_uring_get_sqe(uring);
	io_uring_prep_close_direct(request, slot);
	request->flags |= IOSQE_CQE_SKIP_SUCCESS;
	request->user_data = NO_READ;
}

/* Of each file one report counts, the first; what comes late, of an earlier batch or of a close, none. */
static bool await_all(struct io_uring *uring, struct ring_read *reads, unsigned count, uint64_t batch)
{
	bool reported[RING_FILES_MAX] = {false};
	struct io_uring_cqe *done;
	for (unsigned left = count; left;) {
		int err = io_uring_submit_and_wait(uring, 1);
		if (err < 0 && err != -EINTR && err != -EAGAIN && err != -EBUSY)
			return false; /* before anything was begun: no buffer is in the kernel's hands */
		while (io_uring_peek_cqe(uring, &done) == 0) {
			uint64_t at = done->user_data - batch;
			if (at < count && !reported[at]) {
				reported[at] = true;
				reads[at].result = done->res < 0 ? -1 : done->res;
				left--;
			}
			io_uring_cqe_seen(uring, done);
		}
	}
	return true;
}

void ring_read_files(int folder, struct ring_read *reads, unsigned count, bool nowait)
{
	struct ring *ring = count ? take_ring() : NULL;
	struct open_how how = file_how(MESSAGE_OPEN, nowait);
	how.flags &= ~(uint64_t)O_CLOEXEC; /* there is no descriptor */
	for (unsigned i = 0; i < count; i++)
		reads[i].result = -1;
	if (!ring)
		return;
	ring->batch += RING_FILES_MAX;
	for (unsigned i = 0; i < count; i++)
		ask_for(&ring->uring, folder, &how, &reads[i], i, ring->batch, nowait);
	if (await_all(&ring->uring, reads, count, ring->batch))
		pthread_mutex_unlock(&ring->lock); /* else it is broken, and nobody's any more */
}
