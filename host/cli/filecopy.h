/* SPDX-License-Identifier: Apache-2.0 */
/* filecopy.h - puts whole files in their place: a copy or a download, by rename, with its digest. */
#ifndef KILN_FILECOPY_H
#define KILN_FILECOPY_H

#include <stdint.h>

#include "err.h"

#define FILECOPY_HEX_BYTES 65

/*
 * Copy the regular file from to the path to (0644), durably and by rename. sha256 (may be NULL)
 * gets the digest in hex. Code "io".
 */
int filecopy(const char *from, const char *to, char sha256[FILECOPY_HEX_BYTES], struct err *e);

/*
 * The same from an http, https or file URL, of at most max_bytes, whose SHA-256 must be the given one
 * (64 hex digits): else nothing is left and the code is "digest".
 */
int filecopy_download(const char *url, const char *sha256, uint64_t max_bytes, const char *to,
		      struct err *e);

#endif
