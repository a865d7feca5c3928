/* SPDX-License-Identifier: Apache-2.0 */
/*
 * artifact_hash.h - SHA-256 of the artifacts stream in a thread of its own, as the hashes of
 * stream and files are most of the work: about 1.5 GiB/s each with SHA-NI.
 *
 * Bytes are queued as views and not copied; the owner of a buffer waits for its mark before it
 * writes there again. One producer, one thread; the thread locks itself down before it takes
 * the first view.
 */
#ifndef KILN_ARTIFACT_HASH_H
#define KILN_ARTIFACT_HASH_H

#include <stddef.h>
#include <stdint.h>

#include "err.h"

struct hasher;

/* Start the thread. dir_fd: for its lock-down (LOCKDOWN_ARTIFACT). It lives as long as the process. Code "internal". */
int hasher_new(struct hasher **out, int dir_fd, struct err *e);

/* Begin a new sum; what was queued before is forgotten. */
int hasher_begin(struct hasher *h);

/* Queue n bytes at p, which must stay as they are until hasher_wait of a later mark returns. */
void hasher_add(struct hasher *h, const void *p, size_t n);

/* A mark for all that is queued so far, and: wait until all before a mark is hashed. */
uint64_t hasher_mark(const struct hasher *h);
void hasher_wait(struct hasher *h, uint64_t mark);

/* The sum of all that was queued. -1: libcrypto failed. */
int hasher_end(struct hasher *h, uint8_t sum[32]);

#endif
