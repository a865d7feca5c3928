/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tarout.h - the tar of artifacts, written straight into a bulk stream (PROTOCOL.md, section 6).
 */
#ifndef KILN_AGENT_TAROUT_H
#define KILN_AGENT_TAROUT_H

#include <stdint.h>
#include <sys/stat.h>

#include "bulk.h"
#include "fail.h"

struct tarout;

enum tarout_note { /* what tarout_add has to say of an entry that it has dealt with */
	TAROUT_ADDED = 0,
	TAROUT_UNREADABLE, /* left out; errno says why */
	TAROUT_SHRANK,     /* in the tar, filled up with zeros */
	TAROUT_CHANGED,    /* in the tar, as it was at some moments of the reading */
	TAROUT_NO_FILE     /* left out: a device, FIFO or socket */
};

/* b stays the caller's and must outlive the tar. *out: tarout_free. */
int tarout_new(struct bulk *b, struct tarout **out, struct fail *f);

/*
 * Add the entry at path below root_fd. Hard links to a file that is in the tar already become
 * such. st is what a look at the entry said; a file is opened again without following links and
 * what its descriptor says counts. Returns enum tarout_note, or -1 when the stream is broken.
 * *bytes gets the file data written.
 */
int tarout_add(struct tarout *t, int root_fd, const char *path, const struct stat *st,
	       uint64_t *bytes, struct fail *f);

/* Write the end of the tar. */
int tarout_finish(struct tarout *t, struct fail *f);

/* t may be NULL; what was not finished stays unfinished. */
void tarout_free(struct tarout *t);

#endif
