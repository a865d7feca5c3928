/* SPDX-License-Identifier: Apache-2.0 */
/* manifest.h - what came as artifacts of a build, by name. */
#ifndef KILN_MANIFEST_H
#define KILN_MANIFEST_H

#include <jansson.h>
#include <sys/types.h>

#include "err.h"

#define MANIFEST_MAX (64u << 20)

/* Read manifest.json. *m is new. Codes: "not_found" (nothing was collected), "io". */
int manifest_read(int dirfd, json_t **m, struct err *e);
/* The entry of a path, borrowed from m; NULL when there is none. */
json_t *manifest_find(const json_t *m, const char *path);
/* Open the bytes of an entry of type file or hardlink. Codes: "not_found", "io". */
int manifest_open(int dirfd, const json_t *entry, int *fd, off_t *size, struct err *e);
/* Nonzero when a name can be unpacked below a folder: relative, no empty, "." or ".." part. */
int manifest_name_ok(const char *path);

#endif
