/* SPDX-License-Identifier: Apache-2.0 */
/*
 * follow.h - reads log and events of a build directory into a logview as they grow, woken by inotify.
 */
#ifndef KILN_FOLLOW_H
#define KILN_FOLLOW_H

#include "err.h"
#include "logview.h"

struct follow;

/* dirfd stays the caller's and must live as long. Code "io". */
int follow_open(int dirfd, struct logview *view, struct follow **out, struct err *e);
void follow_close(struct follow *f);

/* Readable when something in the directory changed. */
int follow_fd(const struct follow *f);

/* Take note of the changes, show what is new. *final: nonzero once result.json is there. */
int follow_read(struct follow *f, int *final, struct err *e);

#endif
