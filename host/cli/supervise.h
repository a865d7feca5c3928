/* SPDX-License-Identifier: Apache-2.0 */
/* supervise.h - starts a kiln-supervisor without a daemon (docs/build-directory.md). */
#ifndef KILN_SUPERVISE_H
#define KILN_SUPERVISE_H

#include <jansson.h>
#include <sys/types.h>

#include "config.h"
#include "err.h"

struct supervise {
	pid_t pid;
	int pidfd;  /* readable when the supervisor ended */
	int log_fd; /* what it says on standard error: an unlinked file */
};

/*
 * Start the supervisor on the empty directory dir, hand over doc and wait for its answer.
 * source_fd: the source tar, or -1. The supervisor has a session of its own and outlives this
 * process. On success *out is filled (supervise_close). Codes: "spawn", "supervisor".
 */
int supervise_start(const struct config *cfg, const char *dir, const json_t *doc, int source_fd,
		    struct supervise *out, struct err *e);

/* The last line that the supervisor said, or "". */
void supervise_last_words(const struct supervise *s, char *buf, size_t n);

/* Kill the supervisor, and with it the VM; wait for its end, and close. */
void supervise_kill(struct supervise *s);

void supervise_close(struct supervise *s);

#endif
