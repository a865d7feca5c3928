/* SPDX-License-Identifier: Apache-2.0 */
/*
 * siblings.h - the files that were built or installed together with this program, found from
 * where the program itself lies.
 */
#ifndef KILN_SIBLINGS_H
#define KILN_SIBLINGS_H

#include <stddef.h>

/*
 * Path of a program ("kiln-supervisor") or a data file ("agent.cpio") of kiln's. The first that
 * exists of: beside this program (or ../share from it), ../lib/kiln, and for programs PATH's
 * /usr/local/bin and /usr/bin. When none exists, the first candidate, so that a message can name
 * it. Always NUL-terminated; returns -1 when it does not fit n bytes.
 */
int siblings_program(const char *name, char *buf, size_t n);
int siblings_share(const char *name, char *buf, size_t n);

#endif
