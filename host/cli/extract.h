/* SPDX-License-Identifier: Apache-2.0 */
/*
 * extract.h - artifacts of a build as files. Names, modes and link targets come from a hostile
 * guest: nothing is written outside the target directory, no link is followed, and only links that
 * stay inside are made.
 */
#ifndef KILN_EXTRACT_H
#define KILN_EXTRACT_H

#include <jansson.h>
#include <stddef.h>

#include "err.h"

/* Write the content of one manifest entry (a file, or a hard link's file) to fd. */
typedef int (*extract_copy_fn)(void *arg, const json_t *entry, int fd, struct err *e);
/* Told of each entry that is left out, and why. */
typedef void (*extract_refused_fn)(void *arg, const char *path, const char *why);

struct extract {
	const char *target;  /* directory to make */
	int replace;         /* nonzero: what is there now may be thrown away */
	extract_copy_fn copy;
	extract_refused_fn refused;
	void *arg;
	size_t files, left_out; /* results: entries written, and those that were not */
};

/*
 * Make x->target from the manifest. It is built beside its place and put there by rename, so
 * that it is whole or not there. An existing directory that is not empty is an error unless
 * x->replace is set; a link or a file in its place is always one. Codes: "exists", "io", or
 * what copy says.
 */
int extract_manifest(struct extract *x, const json_t *manifest, struct err *e);

/* May the target be made, as extract_manifest would ask? For asking before the work is done. */
int extract_check(const struct extract *x, struct err *e);

/* Copy of a build directory: artifacts/<index> (arg for the builds on disk is an int *: its fd). */
int extract_copy_local(int dirfd, const json_t *entry, int fd, struct err *e);

/* NULL when a path is fit to be made below a directory, else what is wrong with it. */
const char *extract_path_fault(const char *path);

/*
 * Nonzero when a link at `path` with this target stays inside whatever other such links there are:
 * relative, "..", if any, only at the front and not above the top.
 */
int extract_link_ok(const char *path, const char *target);

#endif
