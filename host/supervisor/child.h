/* SPDX-License-Identifier: Apache-2.0 */
/*
 * child.h - starts the processes of a build, each with nothing but what it is given.
 *
 * A child is a program or a function of this binary. It gets exactly the descriptors of its
 * spec, an empty environment, default signals, its rlimits, its uid, and dies with the
 * supervisor. What goes wrong between fork and exec comes back as an error of child_start.
 */
#ifndef KILN_CHILD_H
#define KILN_CHILD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "err.h"

#define CHILD_KEEP_MAX 9 /* one fewer for a program */
#define CHILD_NOT_EXITED (-1)

struct child {
	const char *name;
	pid_t pid;   /* 0: not started, or reaped */
	int pidfd;   /* -1 with it; readable when the child has ended */
	int status;  /* wait status once reaped, CHILD_NOT_EXITED before */
};

#define CHILD_NONE { .pidfd = -1, .status = CHILD_NOT_EXITED }

struct child_id { /* who the child is to be; drop false: as the supervisor itself */
	bool drop;
	uid_t uid;
	gid_t gid;
	gid_t extra_gid; /* one supplementary group, 0: none */
};

struct child_spec {
	const char *name;           /* static */
	int stdio[3];               /* -1: /dev/null */
	int keep[CHILD_KEEP_MAX];   /* become 3, 4, … in this order */
	unsigned keeps;
	int cwd_fd;                 /* -1: / */
	struct child_id id;
	bool no_network;            /* as root: empty network and IPC namespaces */
	uint64_t nofile, fsize_bytes, nproc; /* rlimits, 0: as inherited; core is always 0 */

	/* Either a program: argv[0] is its path; what the uid cannot reach by path is executed
	 * by descriptor; */
	char *const *argv;
	/* or a function: its result is the exit status. It sees the memory of the supervisor. */
	int (*body)(void *arg);
	void *arg;
};

/*
 * Make a PID namespace with a small init in it, as root: every later child is born there and
 * dies with the init, which ends when the supervisor does. Not allowed to (not root, or a
 * container without CAP_SYS_ADMIN): *init stays unstarted, the parent-death signal of each
 * child does the same. Call at most once, before any child. *hold_fd: closing it ends the init.
 */
int child_namespace(struct child *init, struct child_id id, int *hold_fd, struct err *e);

/* Start one. Returns when the program runs or the function was entered. Code: "host". */
int child_start(const struct child_spec *spec, struct child *out, struct err *e);

/* Send a signal; a child that has ended or never was is left alone. */
void child_kill(const struct child *c, int sig);

/*
 * Wait at most timeout_ms for the end and reap. Returns true when it has ended (or never
 * was): then pid is 0, pidfd closed and status set. timeout_ms 0 only looks.
 */
bool child_wait(struct child *c, uint64_t timeout_ms);

/* "exited with status 1", "was killed by signal 9 (Killed)" into buf; returns buf. */
const char *child_status_text(int status, char *buf, size_t n);

#endif
