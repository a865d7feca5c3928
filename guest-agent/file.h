/* SPDX-License-Identifier: Apache-2.0 */
/*
 * file.h - whole small files of the root, by path.
 */
#ifndef KILN_AGENT_FILE_H
#define KILN_AGENT_FILE_H

#include <stddef.h>
#include <sys/types.h>

#include "fail.h"

#define FILE_MAX_BYTES (1u << 20)

/*
 * Read a file of at most FILE_MAX_BYTES as a string, which the caller frees. A file that is not
 * there, or holds a NUL byte or too much, is "". NULL: no memory.
 */
char *file_read(const char *path);

/* Replace what is at path (a link too) by a file of these bytes and this mode. */
int file_write(const char *path, const void *data, size_t n, mode_t mode, struct fail *f);

/* Add a line to a text file, made with this mode when it is not there; text has no newline. */
int file_add_line(const char *path, const char *text, mode_t mode, struct fail *f);

/* mkdir -p with mode 0755. */
int file_mkdirs(const char *path, struct fail *f);

#endif
