/* SPDX-License-Identifier: Apache-2.0 */
/* talk.h - one exchange over a stream socket: bytes out, one line back, before a deadline. */
#ifndef KILN_TALK_H
#define KILN_TALK_H

#include <stddef.h>
#include <uv.h>

#include "err.h"

#define TALK_LINE_MAX 4096

struct talk;

/* line: without its line end, or NULL with e (codes "timeout", "closed", "io"). */
typedef void (*talk_done)(void *arg, const char *line, const struct err *e);

/*
 * Owns fd and bytes (heap) from now on, also on failure; bytes are wiped when they are sent.
 * done is called once, never from within talk_start. *out may be NULL.
 */
int talk_start(uv_loop_t *loop, int fd, char *bytes, size_t n, uint64_t timeout_ms,
	       talk_done done, void *arg, struct talk **out, struct err *e);
/* Drop it: done is not called. NULL is nothing. */
void talk_drop(struct talk *t);

#endif
