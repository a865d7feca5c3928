/* SPDX-License-Identifier: Apache-2.0 */
/* child.h - know when a process ends, by pidfd; reap it when it is kilnd's own. */
#ifndef KILN_CHILD_H
#define KILN_CHILD_H

#include <stddef.h>
#include <sys/types.h>
#include <uv.h>

#include "err.h"

struct child;

/* how: "exit status 1", "signal 9", or "it ended" for a process that is not our child. */
typedef void (*child_fn)(void *arg, const char *how);

/*
 * Watch pid. start_ticks: 0 for our own child; else field 22 of /proc/pid/stat as it was
 * written down, so that a recycled pid is not taken for it. Code "gone": no such process.
 */
int child_watch(uv_loop_t *loop, pid_t pid, unsigned long long start_ticks, child_fn fn, void *arg,
		struct child **out, struct err *e);
/* Send a signal through the pidfd. */
void child_signal(struct child *c, int sig);
/* Stop watching; the process lives on. NULL is nothing. */
void child_forget(struct child *c);

#endif
