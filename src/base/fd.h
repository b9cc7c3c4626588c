/* SPDX-License-Identifier: MIT */
/* Descriptors, many at a time. */
#ifndef BASE_FD_H
#define BASE_FD_H

/* Closes descriptors of ours, -1 for none; those with consecutive numbers in one system call. */
void fd_close_all(const int *fds, unsigned count);

#endif
