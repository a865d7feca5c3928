/* SPDX-License-Identifier: Apache-2.0 */
/*
 * builddir.h - opening what lies in a build directory.
 *
 * The directory belongs to a process that parses hostile bytes; should that be taken over, it
 * can put links, FIFOs and devices there. So every file is opened below a descriptor, no link is
 * followed, and only regular files are read.
 */
#ifndef KILN_BUILDDIR_H
#define KILN_BUILDDIR_H

#include <sys/types.h>

#include "err.h"

/* The directory of a build. Code "not_found". */
int builddir_open(int builds_fd, const char *id, int *dirfd, struct err *e);
/* A file in it ("log", "artifacts/12"), for reading. Codes "not_found", "io". */
int builddir_open_file(int dirfd, const char *path, int *fd, off_t *size, struct err *e);
/* Nonzero when a living supervisor holds the lock. */
int builddir_locked(int dirfd);

#endif
