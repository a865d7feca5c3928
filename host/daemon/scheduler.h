/* SPDX-License-Identifier: Apache-2.0 */
/* scheduler.h - which queued build starts next, and whether there is room for it. */
#ifndef KILN_SCHEDULER_H
#define KILN_SCHEDULER_H

#include "builds.h"

struct scheduler;

/* Capacity comes from the configuration (capacity.*, queue.max). */
struct scheduler *scheduler_new(struct kilnd *k);
void scheduler_free(struct scheduler *s);

/* Code "never_fits" when the request is larger than the whole capacity, "queue_full". */
int scheduler_admit(const struct scheduler *s, int64_t vcpus, int64_t memory_mib, struct err *e);
/* A queued build joins; the order is that of seq. */
void scheduler_enqueue(struct scheduler *s, struct build *b);
/* A build that runs already takes its room (adoption). */
void scheduler_occupy(struct scheduler *s, struct build *b);
/* It leaves the queue, or gives its room back; nothing when it has neither. */
void scheduler_leave(struct scheduler *s, struct build *b);
/* Start what fits. */
void scheduler_kick(struct scheduler *s);

#endif
