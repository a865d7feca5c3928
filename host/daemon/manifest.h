/* SPDX-License-Identifier: Apache-2.0 */
/*
 * manifest.h - what came as artifacts of a build, entry by entry. A build chooses how long its
 * manifest is, up to MANIFEST_MAX: it is never in memory as a whole.
 */
#ifndef KILN_MANIFEST_H
#define KILN_MANIFEST_H

#include <jansson.h>
#include <sys/types.h>

#include "err.h"

#define MANIFEST_MAX (64u << 20)       /* bytes of manifest.json */
#define MANIFEST_ENTRY_MAX (64u << 10) /* bytes of one entry in it */

struct manifest; /* a manifest.json that is being read */

/* Open manifest.json. Codes: "not_found" (nothing was collected), "io". Caller closes. */
int manifest_begin(int dirfd, struct manifest **out, struct err *e);
void manifest_end(struct manifest *m); /* accepts NULL */
/* The next entry, new. 1: *entry is set, 0: there is none left, -1: not readable (code "io"), *entry is not yours. */
int manifest_next(struct manifest *m, json_t **entry, struct err *e);
/* The entry of a path, new, or NULL when there is none. Codes as of manifest_begin. */
int manifest_find(int dirfd, const char *path, json_t **entry, struct err *e);
/* Open the bytes of an entry of type file or hardlink. Codes: "not_found", "io". */
int manifest_open(int dirfd, const json_t *entry, int *fd, off_t *size, struct err *e);
/* Nonzero when a name can be unpacked below a folder: relative, no empty, "." or ".." part. */
int manifest_name_ok(const char *path);

#endif
