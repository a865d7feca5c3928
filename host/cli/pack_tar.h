/* SPDX-License-Identifier: Apache-2.0 */
/* pack_tar.h - the tar that pack.c fills, entry by entry. Internal. */
#ifndef KILN_PACK_TAR_H
#define KILN_PACK_TAR_H

#include "pack.h"

struct pack_tar;

int pack_tar_open(int fd, struct pack_result *r, struct pack_tar **out, struct err *e);
/* The paths, absolute, that are left out; the array must live as long as t. */
void pack_tar_skip(struct pack_tar *t, const char *const *skip);
/* Write what is pending. */
int pack_tar_finish(struct pack_tar *t, struct err *e);
void pack_tar_free(struct pack_tar *t);

/*
 * Add dir/name (one entry, links not followed) under the path `as`. What is gone meanwhile is left
 * out; devices, sockets and pipes are counted.
 */
int pack_tar_add(struct pack_tar *t, const char *dir, const char *name, const char *as,
		 struct err *e);

/* Add dir/name and everything below it. */
int pack_tar_walk(struct pack_tar *t, const char *dir, const char *name, const char *as,
		  struct err *e);

#endif
