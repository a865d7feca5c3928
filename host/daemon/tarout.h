/* SPDX-License-Identifier: Apache-2.0 */
/* tarout.h - the artifacts of a build as one tar, made while it is read; no temporary file. */
#ifndef KILN_TAROUT_H
#define KILN_TAROUT_H

#include <sys/types.h>

#include "err.h"

struct tarout;

/* Of the build directory dirfd, which is duplicated. Codes: "not_found" (nothing was collected), "io". */
int tarout_new(int dirfd, struct tarout **out, struct err *e);
void tarout_free(struct tarout *t);
/* The next at most max bytes. 0: the tar is complete. -1: it can't be completed. */
ssize_t tarout_read(struct tarout *t, char *buf, size_t max, struct err *e);

#endif
