/* SPDX-License-Identifier: Apache-2.0 */
/* run.h - the supervisors that live: started or adopted, watched, asked to cancel. */
#ifndef KILN_RUN_H
#define KILN_RUN_H

#include "builds.h"

struct runs;

struct runs *runs_new(struct kilnd *k);
/* Forget them all; the supervisors live on. */
void runs_free(struct runs *rs);

/* Make the directory and start a supervisor. What goes wrong becomes the build's verdict. */
void run_begin(struct runs *rs, struct build *b);
/*
 * At start, for a build that had been started: takes the verdict
 * that is there, adopts the supervisor that lives, puts the build back into the queue when none
 * had begun, or ends it as `host`.
 */
void run_adopt(struct runs *rs, struct build *b);
/* Pass b->cancel_asked on, now or as soon as the supervisor listens. */
void run_cancel(struct runs *rs, struct build *b);

#endif
