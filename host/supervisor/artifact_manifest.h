/* SPDX-License-Identifier: Apache-2.0 */
/*
 * artifact_manifest.h - manifest.json (docs/build-directory.md), written entry by entry so that a
 * hundred thousand entries cost no memory but 16 bytes each for the set of their paths.
 */
#ifndef KILN_ARTIFACT_MANIFEST_H
#define KILN_ARTIFACT_MANIFEST_H

#include <stddef.h>
#include <stdint.h>

#include "err.h"
#include "tarin.h"

#define MANIFEST_NAME      "manifest.json"
#define MANIFEST_TEMP      "manifest.json.new"
#define MANIFEST_LINE_BYTES 65536 /* a path and a target of 4096 bytes, each escaped to six */
#define MANIFEST_BYTES_MAX  (64u << 20) /* of manifest.json: who serves it reads it whole */

struct manifest; /* one manifest in the making */

/*
 * Begin: creates MANIFEST_TEMP in dir_fd. entries_max: how many entries it may take.
 * Caller frees with manifest_free, which removes a file that was not finished. Codes "io", "internal".
 */
int manifest_new(struct manifest **out, int dir_fd, const char *build_id, uint32_t entries_max,
		 struct err *e);
void manifest_free(struct manifest *m); /* accepts NULL */

/* What is known of a path: nothing, a directory (named, or only above an entry), or something else. */
enum manifest_known { MANIFEST_NEW, MANIFEST_DIR_ABOVE, MANIFEST_DIR, MANIFEST_FILE, MANIFEST_LINK };
enum manifest_known manifest_find(const struct manifest *m, const char *path, uint32_t *index);

/*
 * Whether an entry of this path and type may be added: NULL, or why not: it came before, it lies
 * below something that is no directory, there are too many directories, or the manifest is full.
 */
const char *manifest_judge(const struct manifest *m, const char *path, enum tarin_type type);

struct manifest_entry {
	const struct tarin_entry *tar; /* type, mode, mtime, size */
	const char *path;              /* in the form of tarin_path */
	const char *target;            /* of links, or NULL */
	uint32_t index;                /* hard links: of the target's file; else manifest_next */
	const char *sha256;            /* in hex, files only; else NULL */
};

/* The index that the next entry gets: 0, 1, … over entries of all types. */
uint32_t manifest_next(const struct manifest *m);

/* Add one entry that manifest_judge allows. Codes "io", "internal". */
int manifest_add(struct manifest *m, const struct manifest_entry *entry, struct err *e);

/* End the file and rename it to MANIFEST_NAME. sha256: "" when nothing came. Code "io". */
int manifest_finish(struct manifest *m, const char *sha256, uint64_t stream_bytes,
		    uint64_t total_bytes, struct err *e);

/* After manifest_finish: make file and name durable, which may take a second on a busy disk. Code "io". */
int manifest_sync(struct manifest *m, struct err *e);

#endif
