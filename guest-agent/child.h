/* SPDX-License-Identifier: Apache-2.0 */
/*
 * child.h - PID 1's side of the workers (worker.h): starts them, takes their reports.
 */
#ifndef KILN_AGENT_CHILD_H
#define KILN_AGENT_CHILD_H

#include <stdint.h>
#include <sys/types.h>

#include "fail.h"
#include "worker.h"

typedef int child_main(const struct worker_env *env);

struct child {
	pid_t pid;          /* 0: none runs */
	int report_fd;      /* -1: none */
	int readable;       /* cleared when no report is there, set by the loop */
	int cgroup_fd;
	int reported;       /* WORKER_DONE or WORKER_FAIL came */
	int status;         /* of waitpid, once pid is 0 again */
	struct fail fail;   /* class ok (0) unless WORKER_FAIL came */
};

/* What a worker is started with. env's report_fd is filled in by child_start. */
struct child_plan {
	const char *name;       /* of its cgroup */
	child_main *main;
	struct worker_env env;
	int cgroup_parent_fd;
	int proc_fd;            /* /proc */
	uint32_t pids_max;
	int epoll_fd;
	uint64_t epoll_key;
	int needs_secret;       /* else its copy of the secret is wiped before main */
	uint8_t *secret;        /* where this process keeps it */
};

/*
 * In any forked child of PID 1: give up what belongs to PID 1 alone (handlers, signal mask,
 * session, priority, the protection from the OOM killer). 0, or -1 with errno.
 */
int child_reset(int proc_fd);

void child_init(struct child *c);

/* Fork the worker into its cgroup. */
int child_start(struct child *c, struct child_plan *plan, struct fail *f);

/*
 * The next report. 1: *msg is filled, its strings end. 0: none is there now. -1: no more will
 * come. WORKER_DONE and WORKER_FAIL are noted in *c as well.
 */
int child_report(struct child *c, struct worker_msg *msg);

/* The process was reaped: read nothing more, close, conclude. */
void child_reaped(struct child *c, int status);

/*
 * After the end: 0 when the work was done, -1 with the reason in *f (its own report, the
 * memory that ran out, or how it died). what: "the clone", for the sentence.
 */
int child_verdict(struct child *c, const char *what, struct fail *f);

void child_close(struct child *c);

#endif
