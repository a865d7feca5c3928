/* SPDX-License-Identifier: Apache-2.0 */
/* launch.h - start a kiln-supervisor so that it outlives kilnd. */
#ifndef KILN_LAUNCH_H
#define KILN_LAUNCH_H

#include <sys/types.h>

#include "err.h"

/*
 * Start argv[0] (a path) in a session of its own, with child_fd as descriptor 3, descriptor 0
 * on /dev/null, 1 on out_fd and 2 on err_fd, default signals, and no other descriptor.
 * Nothing is closed here. Code "launch".
 */
int launch_process(char *const argv[], int child_fd, int out_fd, int err_fd, pid_t *pid,
		  struct err *e);

/* Frame a document for descriptor 3: u32 little-endian length, then the JSON. Caller frees. */
int launch_frame(const char *json, size_t n, char **frame, size_t *frame_len, struct err *e);

#endif
