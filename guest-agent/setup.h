/* SPDX-License-Identifier: Apache-2.0 */
/*
 * setup.h - all that happens between JOB and the first phase of the job.
 */
#ifndef KILN_AGENT_SETUP_H
#define KILN_AGENT_SETUP_H

#include "fail.h"
#include "wire_msg.h"

struct agent;

/*
 * Clock, entropy, spec, cgroups, user, workspace, proxy. Everything that allocates is done when
 * it returns. -1: the job cannot run; *f says why.
 */
int setup_job(struct agent *a, const struct wire_job *msg, struct fail *f);

#endif
