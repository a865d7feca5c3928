/* SPDX-License-Identifier: Apache-2.0 */
/*
 * step.c - from PID 1 to the shell of a step. Owns nothing after the start; the child between
 * clone3 and execve allocates nothing and touches only what it was given.
 * clone(2) CLONE_INTO_CGROUP, bash(1), sh(1).
 */
#include "step.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/close_range.h>
#include <linux/sched.h>

#include "child.h"
#include "wire_msg.h"

static void fail_child(int error_fd, const char *stage)
{
	struct step_error e = { .err = errno };
	ssize_t n;

	snprintf(e.stage, sizeof(e.stage), "%s", stage);
	n = write(error_fd, &e, sizeof(e));
	_exit(n == (ssize_t)sizeof(e) ? 127 : 126);
}

static int set_descriptors(int output_fd)
{
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

	if (null < 0 || dup2(null, 0) < 0 || dup2(output_fd, 1) < 0 || dup2(output_fd, 2) < 0)
		return -1;
	return (int)syscall(SYS_close_range, 3u, ~0u, CLOSE_RANGE_CLOEXEC);
}

/* People expect bash where there is one, and a step that stops at its first failure. */
static void exec_shell(const struct world *w, const char *run, char *const *env)
{
	const char *bash[] = { w->shell, "-eo", "pipefail", "-c", run, NULL };
	const char *sh[] = { w->shell, "-e", "-c", run, NULL };

	execve(w->shell, (char **)(strcmp(w->shell, "/bin/bash") == 0 ? bash : sh), env);
}

static void become_step(const struct step_plan *plan, int error_fd)
{
	char *const *env;

	if (child_reset(plan->proc_fd) < 0)
		fail_child(error_fd, "child_reset");
	umask(022);
	if (set_descriptors(plan->output_fd) < 0)
		fail_child(error_fd, "descriptors");
	if (chdir(plan->job->workspace) < 0)
		fail_child(error_fd, "chdir to the workspace");
	if (user_become(&plan->world->user) < 0)
		fail_child(error_fd, "becoming the user");
	env = world_env(plan->world, plan->job, plan->step->name);
	if (!env) {
		errno = E2BIG;
		fail_child(error_fd, "environment");
	}
	exec_shell(plan->world, plan->step->run, env);
	fail_child(error_fd, plan->world->shell);
}

int step_start(const struct step_plan *plan, pid_t *pid, int *error_fd, struct fail *f)
{
	struct clone_args args = {
		.flags = CLONE_INTO_CGROUP, .exit_signal = SIGCHLD, .cgroup = (__u64)plan->cgroup_fd,
	};
	int ends[2];
	long child;

	if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
		return fail_errno(f, WIRE_CLASS_AGENT, "cannot make a pipe for %s", plan->step->name);
	child = syscall(SYS_clone3, &args, sizeof(args));
	if (child == 0)
		become_step(plan, ends[1]);
	close(ends[1]);
	if (child < 0) {
		close(ends[0]);
		return fail_errno(f, WIRE_CLASS_AGENT, "cannot start %s", plan->step->name);
	}
	*pid = (pid_t)child;
	*error_fd = ends[0];
	return 0;
}

int step_error_of(int error_fd, struct step_error *e)
{
	ssize_t n = read(error_fd, e, sizeof(*e));

	close(error_fd);
	e->stage[sizeof(e->stage) - 1] = '\0';
	return n == (ssize_t)sizeof(*e);
}
