/* SPDX-License-Identifier: Apache-2.0 */
/* control.h - drives one build from its supervisor document to result.json. */
#ifndef KILN_CONTROL_H
#define KILN_CONTROL_H

#include "rundir.h"
#include "supjob.h"

/*
 * Run the build. dir is open and locked, run.json is written; the caller closes it after.
 * Returns 0 when result.json was written, whatever the verdict; -1 with code "io" when not.
 */
int control_run(struct supjob *job, struct rundir *dir, struct err *e);

#endif
