/* SPDX-License-Identifier: Apache-2.0 */
/*
 * agent.h - all state of PID 1. main.c owns the only one; each part belongs to its module.
 */
#ifndef KILN_AGENT_AGENT_H
#define KILN_AGENT_AGENT_H

#include <stdint.h>

#include "boot.h"
#include "cgroup.h"
#include "child.h"
#include "job.h"
#include "journal.h"
#include "link.h"
#include "output.h"
#include "run.h"
#include "world.h"

struct agent {
	int core_epoll_fd;  /* everything but the pipe of the steps */
	int all_epoll_fd;   /* the pipe, and core_epoll_fd */
	int signal_fd;
	uint64_t now_ms;    /* CLOCK_MONOTONIC at the start of the loop's turn */
	int ended;          /* the loop returns */
	int reap_more;      /* there are more ended processes than one turn takes */

	struct link link;
	struct journal journal;
	struct output output;
	struct boot boot;
	int boot_failed;
	struct fail boot_fail;  /* reported as the build's result */
	struct cgroups cgroups;
	struct world world;
	struct job *job;        /* NULL until JOB came */
	struct child worker, proxy;
	int proxy_listen_fd;
	unsigned proxy_starts;
	struct run run;
};

#endif
