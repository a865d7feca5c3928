/* SPDX-License-Identifier: Apache-2.0 */
/* startup.h - what must be right before kilnd begins, and what to do when it is not. */
#ifndef KILN_STARTUP_H
#define KILN_STARTUP_H

#include "daemon.h"
#include "err.h"

/* Kernel, initramfs, image, VMM and supervisor are there. Code "config"; the text says what to do. */
int startup_check(const struct config *cfg, struct err *e);
/*
 * Makes dir and dir/builds, takes dir/kilnd.lock for as long as *lock_fd is open, opens the
 * supervisors' log. Fills builds_dir, builds_fd, supervisor_log_fd. Codes "io", "in_use".
 */
int startup_dirs(struct kilnd *k, int *lock_fd, struct err *e);
/* Remove what an interrupted removal left. */
void startup_sweep(const struct kilnd *k);

#endif
