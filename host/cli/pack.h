/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pack.h - a local directory as a pax tar for the guest (PROTOCOL.md, section 5, source).
 */
#ifndef KILN_PACK_H
#define KILN_PACK_H

#include <jansson.h>
#include <stdint.h>

#include "err.h"

#define PACK_BYTES_MAX (2ull << 30)
#define PACK_OUT "kiln-out" /* left out at the top */

struct pack_result {
	uint64_t bytes;    /* of file contents */
	uint64_t files;    /* entries that are not directories */
	uint64_t skipped;  /* devices, sockets and pipes */
	json_t *log_lines; /* array of sentences for the log of the build */
};

/*
 * Write the tar of dir to fd (an empty file; the offset is 0 again afterwards). With git: what it
 * tracks or does not ignore, in submodules too, and .git. Without git, or with include_ignored:
 * every file. Symbolic links stay links. Left out: "kiln-out" at the top, and skip (absolute paths,
 * NULL-terminated). *r must be zeroed; json_decref(r->log_lines), after an error too.
 * Codes: "too_large" (above PACK_BYTES_MAX), "no_git", "git", "io".
 */
int pack_directory(const char *dir, int include_ignored, const char *const *skip, int fd,
		   struct pack_result *r, struct err *e);

#endif
