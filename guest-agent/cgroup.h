/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cgroup.h - cgroup v2: /sys/fs/cgroup/job holds the build, one group below it for each step
 * and worker; /sys/fs/cgroup/proxy the proxy. PID 1 stays in the root group.
 * Documentation/admin-guide/cgroup-v2.rst of the kernel.
 */
#ifndef KILN_AGENT_CGROUP_H
#define KILN_AGENT_CGROUP_H

#include <stddef.h>
#include <stdint.h>

#include "fail.h"

#define CGROUP_RESERVE_MIN_BYTES (96ull << 20) /* kept from the job: at least this, or … */
#define CGROUP_RESERVE_PERCENT 5u              /* … this part of the RAM */
#define CGROUP_PIDS_MIN 512u
#define CGROUP_PIDS_MAX 16384u

struct cgroups {
	int root_fd, job_fd; /* directories */
	uint64_t job_memory_bytes; /* memory.max of the job */
	uint32_t step_pids;        /* pids.max of a step */
};

struct cgroup_usage {
	uint64_t cpu_us, peak_bytes, oom_kills;
};

/* What a machine with so much RAM lets the job have; pids of a step for the same machine. */
uint64_t cgroup_job_memory(uint64_t ram_bytes);
uint32_t cgroup_step_pids(uint64_t ram_bytes);

/* Make the job's group with its limits. /sys/fs/cgroup is mounted. */
int cgroup_init(struct cgroups *c, uint64_t ram_bytes, struct fail *f);

/*
 * Make a group below parent_fd that dies as a whole when it is out of memory, with a limit of
 * processes. Returns its directory's descriptor in *fd, which the caller closes.
 */
int cgroup_make(int parent_fd, const char *name, uint32_t pids_max, int *fd, struct fail *f);

/* Move the calling process into the group. */
int cgroup_enter(int fd);

/* What the group has used so far; what cannot be read is 0. */
void cgroup_usage(int fd, struct cgroup_usage *u);
uint64_t cgroup_memory_now(int fd);

/* A signal to every process of the group; SIGKILL takes all below it in one go. */
void cgroup_signal(int fd, int sig);

/* 1 when a process lives in the group or below it. */
int cgroup_populated(int fd);

#endif
