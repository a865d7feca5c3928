/* SPDX-License-Identifier: Apache-2.0 */
/* watch.h - inotify on the loop: who wants to know of a path is told. */
#ifndef KILN_WATCH_H
#define KILN_WATCH_H

#include <stdint.h>
#include <uv.h>

#include "err.h"

struct watch;

/* mask: of inotify(7); IN_Q_OVERFLOW: something was lost, look again. name: "" or a file's. */
typedef void (*watch_fn)(void *arg, uint32_t mask, const char *name);

int watch_open(uv_loop_t *loop, struct watch **out, struct err *e);
void watch_close(struct watch *w);
/* Watch path, whose last part is never followed as a link. *id is for watch_remove. Code "io". */
int watch_add(struct watch *w, const char *path, uint32_t mask, watch_fn fn, void *arg, int *id,
	      struct err *e);
/* id -1 is nothing. fn is not called any more, also when called from within fn. */
void watch_remove(struct watch *w, int id);

#endif
