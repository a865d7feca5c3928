/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tarin.h - reads a tar (ustar, pax, GNU) with libarchive and nothing but its tar reader: no
 * compression, no other format. What an entry may be called is judged here, too.
 */
#ifndef KILN_TARIN_H
#define KILN_TARIN_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "err.h"

#define TARIN_DEPTH_MAX 128u /* components of a path */

enum tarin_type { TARIN_FILE, TARIN_DIR, TARIN_SYMLINK, TARIN_HARDLINK, TARIN_OTHER };

struct tarin_entry { /* strings live until the next call */
	enum tarin_type type;
	const char *path;   /* as it stands in the tar, UTF-8; NULL when it is not UTF-8 */
	const char *target; /* of links; NULL when it is not UTF-8 */
	const char *word;   /* TARIN_OTHER: "a device", "a FIFO", … */
	uint64_t size;      /* TARIN_FILE: bytes, holes included */
	uint32_t mode;      /* permission bits without setuid, setgid and sticky */
	int64_t mtime;      /* seconds since 1970 */
};

/*
 * Give the next bytes of the tar: *p stays valid until the next call. Returns their number,
 * 0 at the end, -1 when there are none to come (the caller knows why).
 */
typedef ssize_t tarin_read(void *ctx, const void **p);

struct tarin;

/* read is called with ctx until it returns 0 or -1. Caller frees with tarin_free. Code "internal". */
int tarin_new(struct tarin **out, tarin_read *read, void *ctx, struct err *e);
void tarin_free(struct tarin *t); /* accepts NULL */

/* 1: *entry is filled; 0: the end; -1: not a tar, or read failed. Code "bad_tar". */
int tarin_next(struct tarin *t, struct tarin_entry *entry, struct err *e);

/*
 * A piece of the entry's data: 1: n bytes at offset (pieces come in order, holes are left
 * out); 0: no more; -1: as above. What is not fetched is skipped by tarin_next.
 */
int tarin_data(struct tarin *t, const void **p, size_t *n, uint64_t *offset, struct err *e);

/*
 * Put the path of an entry into its one form: no "./", no "//", no "/" at the end. out: of
 * at least size bytes; "" for the root itself. Returns NULL, or why it is refused.
 */
const char *tarin_path(const char *raw, char *out, size_t size);

#endif
