/* SPDX-License-Identifier: Apache-2.0 */
/*
 * step.h - starting one step: a shell in a session and a cgroup of its own.
 */
#ifndef KILN_AGENT_STEP_H
#define KILN_AGENT_STEP_H

#include <sys/types.h>

#include "fail.h"
#include "job.h"
#include "world.h"

struct step_plan {
	const struct world *world;
	const struct job *job;
	const struct job_step *step;
	int cgroup_fd;  /* the step's */
	int proc_fd;    /* /proc */
	int output_fd;  /* becomes 1 and 2 */
};

/* What a child writes when it could not become the step. */
struct step_error {
	int err;        /* errno */
	char stage[28]; /* what it tried, e.g. "chdir" */
};

/*
 * Start the step. *pid: its main process; *error_fd: the read end of a pipe on which a
 * struct step_error lies once the process has ended, when it never became the step.
 */
int step_start(const struct step_plan *plan, pid_t *pid, int *error_fd, struct fail *f);

/* 1 and *e when there is one. Closes error_fd. */
int step_error_of(int error_fd, struct step_error *e);

#endif
