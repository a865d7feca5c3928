/* SPDX-License-Identifier: Apache-2.0 */
/*
 * steps.h - the phase RUN_STEPS: which steps there are, one after the other, how each ended.
 */
#ifndef KILN_AGENT_STEPS_H
#define KILN_AGENT_STEPS_H

#include "fail.h"

struct agent;

/*
 * Make sure that there are steps: those of the job, or the one of the build system that is
 * found in the workspace. -1: there is none, or its tool is not in the image.
 */
int steps_plan(struct agent *a, struct fail *f);

/* Begin, end and judge steps as far as it goes now. 1 when no more will come. */
int steps_tick(struct agent *a);

#endif
