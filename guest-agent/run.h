/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run.h - the life of a job in the guest: source, steps, artifacts, result.
 *
 *	IDLE --JOB--> SOURCE --> STEPS --> CLEAR --> COLLECT --> RESULT
 *	  |              |                                          ^
 *	  +--------------+--- what fails before the steps ----------+
 */
#ifndef KILN_AGENT_RUN_H
#define KILN_AGENT_RUN_H

#include <stdint.h>
#include <sys/types.h>

#include "detect.h"
#include "job.h"
#include "verdict.h"
#include "wire_msg.h"

#define RUN_NEVER UINT64_MAX

struct agent;

enum run_phase {
	RUN_IDLE,    /* waits for JOB */
	RUN_SOURCE,  /* clone or unpack */
	RUN_STEPS,
	RUN_CLEAR,   /* what the steps left over is killed */
	RUN_COLLECT, /* artifacts */
	RUN_RESULT,  /* RESULT is in the journal */
	RUN_PHASE_COUNT
};

/* The step that runs. */
struct run_step {
	int active;
	uint32_t index;
	pid_t pid;              /* 0 once reaped */
	int status;             /* of waitpid */
	int cgroup_fd, error_fd;
	uint64_t began_ms, deadline_ms;
	uint64_t drain_bytes;   /* after its end: what of the pipe still belongs to it */
};

struct run {
	enum run_phase phase;
	struct verdict verdict;
	struct run_step step;
	uint32_t next_step;
	struct job_step detected;    /* the one step of a detected build system */
	const struct detect_system *system; /* NULL: none was looked for */
	int stopping;                /* TERM was sent; no further step begins */
	uint64_t kill_at_ms;         /* RUN_NEVER; then SIGKILL */
	uint64_t steps_deadline_ms;  /* RUN_NEVER */
	uint64_t clear_deadline_ms;
	uint64_t sample_at_ms;       /* when to look at the scratch disk next */
	int disk_was_full;
	uint64_t steps_began_ns;     /* wall clock */
};

void run_init(struct run *r);

/* JOB came. Its secret is in the link already. */
void run_job(struct agent *a, const struct wire_job *msg);

/* CANCEL came. */
void run_cancel(struct agent *a, const struct wire_cancel *msg);

/* A process ended: if it is one of the job's own, note it. */
void run_reaped(struct agent *a, pid_t pid, int status);

/* Do what can be done now. The loop calls it once a turn. */
void run_tick(struct agent *a);

/* When run_tick must be called again at the latest (monotonic ms), or RUN_NEVER. */
uint64_t run_deadline(const struct agent *a);

/* n more bytes of output went into the log. */
void run_output(struct agent *a, size_t n);

/* The bytes that the log may take now. */
size_t run_output_limit(const struct agent *a);

/* The reports of the source or collect worker. */
void run_reports(struct agent *a);

/* End the steps or the worker: TERM now, KILL after grace_ms; cls and text for the verdict. */
void run_stop(struct agent *a, uint8_t cls, uint64_t grace_ms, const char *text);

/* Free bytes and inodes of the scratch disk are (nearly) gone. */
int run_disk_full(const struct agent *a);

#endif
