/* SPDX-License-Identifier: Apache-2.0 */
/* run.h - one build without a daemon: made, started, followed to its verdict. */
#ifndef KILN_RUN_H
#define KILN_RUN_H

#include "cli.h"
#include "job.h"
#include "logview.h"
#include "supervise.h"

struct run {
	struct cli *cli;
	struct logview *view;
	json_t *job;
	json_t *log_lines; /* for the guest to put at the start of the log, or NULL */
	int source_fd;     /* the source tar, or -1 */
	char id[JOB_ID_BYTES];
	int dirfd;         /* the build directory, once there is one */
	json_t *result;    /* the verdict */
};

/*
 * Make dir/builds/<id> and start the supervisor on it. After an error nothing runs and nothing is
 * left. Codes: "io" and those of supervise_start.
 */
int run_start(struct run *r, struct supervise *s, struct err *e);

/*
 * Show log and events until the verdict is there; r->result is new. The first SIGINT, SIGTERM or
 * SIGHUP cancels the build, the second kills the VM. When the supervisor ends without a verdict:
 * code "supervisor".
 */
int run_follow(struct run *r, struct supervise *s, struct err *e);

#endif
