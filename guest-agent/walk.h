/* SPDX-License-Identifier: Apache-2.0 */
/*
 * walk.h - going through a directory tree that somebody hostile made.
 *
 * Never leaves the tree and follows no link: every open is openat2(2) below the root with
 * RESOLVE_BENEATH and RESOLVE_NO_SYMLINKS. Order is by bytes of the name, so that the same
 * tree gives the same sequence. One descriptor at a time, whatever the depth.
 */
#ifndef KILN_AGENT_WALK_H
#define KILN_AGENT_WALK_H

#include <sys/stat.h>

#include "fail.h"

#define WALK_PATH_BYTES 4097u /* with NUL */

struct walk_ops {
	/* Bits of enum select_verdict for an entry; inside: a directory above was taken. */
	unsigned (*judge)(void *ctx, const char *path, const struct stat *st, int inside);
	/* An entry that is taken; of directories only the empty ones. -1 ends the walk. */
	int (*take)(void *ctx, const char *path, const struct stat *st, struct fail *f);
	/* An entry that cannot be looked at; err is an errno. The walk goes on. */
	void (*unreadable)(void *ctx, const char *path, int err);
};

/* Walk the directory root_fd (O_PATH is enough). */
int walk_run(int root_fd, const struct walk_ops *ops, void *ctx, struct fail *f);

/* Open a path of the walk; flags as for open(2), close-on-exec added. -1 with errno. */
int walk_open(int root_fd, const char *path, int flags);

#endif
