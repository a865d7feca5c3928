/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fileio.h - whole files and whole buffers: read with a cap, write by rename.
 */
#ifndef KILN_FILEIO_H
#define KILN_FILEIO_H

#include <stddef.h>
#include <sys/types.h>

#include "err.h"

/* Read exactly n bytes; an early end is an error. EINTR is handled. */
int fileio_read_full(int fd, void *buf, size_t n, struct err *e);

/* Write all n bytes to a blocking descriptor. EINTR is handled. */
int fileio_write_full(int fd, const void *buf, size_t n, struct err *e);

/*
 * Read a regular file below dirfd (or AT_FDCWD) of at most max_bytes; links are not followed.
 * *out gets a NUL-terminated heap copy that the caller frees, *len (may be NULL) its length.
 * Codes: "not_found", "too_large", "io".
 */
int fileio_read(int dirfd, const char *path, size_t max_bytes, char **out, size_t *len,
		struct err *e);

/*
 * Replace a file durably: temporary file beside it, fsync, rename, fsync of the directory.
 * Code: "io".
 */
int fileio_replace(int dirfd, const char *path, const void *buf, size_t n, mode_t mode,
		   struct err *e);

/* mkdir -p with this mode for what is missing. */
int fileio_mkdirs(const char *path, mode_t mode, struct err *e);

/* Remove a tree below dirfd without following links; a missing one is no error. */
int fileio_remove_tree(int dirfd, const char *name, struct err *e);

#endif
