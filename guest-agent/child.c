/* SPDX-License-Identifier: Apache-2.0 */
/*
 * child.c - forks workers. Owns their pid, report socket and cgroup descriptor. What comes out
 * of the report socket was written by a process that handled foreign bytes: data, no more.
 */
#include "child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cgroup.h"
#include "fatal.h"
#include "wire_msg.h"

#define KEPT_FD 64 /* above all that the agent has open */

void child_init(struct child *c)
{
	memset(c, 0, sizeof(*c));
	c->report_fd = c->cgroup_fd = -1;
}

static int keep_fd(int fd)
{
	return fd >= 0 ? fcntl(fd, F_DUPFD_CLOEXEC, KEPT_FD) : -1;
}

int child_reset(int proc_fd)
{
	int fd = openat(proc_fd, "self/oom_score_adj", O_WRONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? write(fd, "0", 1) : -1;

	if (fd >= 0)
		close(fd);
	fatal_reset();
	setsid();
	setpriority(PRIO_PROCESS, 0, 0);
	return n == 1 ? 0 : -1;
}

/* In the child. Nothing of PID 1 may stay open: the control connection above all. */
static void become_worker(struct child_plan *plan, int report_fd, int cgroup_fd)
{
	struct worker_env *env = &plan->env;
	struct sigaction ignore = { .sa_handler = SIG_IGN };
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (cgroup_enter(cgroup_fd) < 0 || child_reset(plan->proc_fd) < 0)
		_exit(126);
	sigaction(SIGPIPE, &ignore, NULL); /* libraries write to sockets */
	if (!plan->needs_secret)
		explicit_bzero(plan->secret, WIRE_MAX_SECRET);
	env->report_fd = keep_fd(report_fd);
	env->workspace_fd = keep_fd(env->workspace_fd);
	env->listen_fd = keep_fd(env->listen_fd);
	for (int fd = 0; null >= 0 && fd < 3; fd++)
		dup2(null, fd);
	syscall(SYS_close_range, 3u, (unsigned)KEPT_FD - 1, 0u);
	_exit(plan->main(env));
}

int child_start(struct child *c, struct child_plan *plan, struct fail *f)
{
	struct epoll_event ev = { .events = EPOLLIN | EPOLLET, .data.u64 = plan->epoll_key };
	int pair[2];
	pid_t pid;

	child_close(c);
	child_init(c);
	if (cgroup_make(plan->cgroup_parent_fd, plan->name, plan->pids_max, &c->cgroup_fd, f) < 0)
		return -1;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return fail_errno(f, WIRE_CLASS_AGENT, "cannot make a socket for a worker");
	pid = fork();
	if (pid == 0)
		become_worker(plan, pair[1], c->cgroup_fd);
	close(pair[1]);
	if (pid < 0) {
		close(pair[0]);
		return fail_errno(f, WIRE_CLASS_AGENT, "cannot start a worker");
	}
	c->pid = pid;
	c->report_fd = pair[0];
	epoll_ctl(plan->epoll_fd, EPOLL_CTL_ADD, c->report_fd, &ev);
	return 0;
}

static void end_strings(struct worker_msg *msg)
{
	msg->key[sizeof(msg->key) - 1] = '\0';
	msg->commit[sizeof(msg->commit) - 1] = '\0';
	msg->ref[sizeof(msg->ref) - 1] = '\0';
	msg->text[sizeof(msg->text) - 1] = '\0';
}

int child_report(struct child *c, struct worker_msg *msg)
{
	ssize_t n;

	if (c->report_fd < 0)
		return -1;
	n = recv(c->report_fd, msg, sizeof(*msg), MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
		c->readable = 0;
		return 0;
	}
	if (n != (ssize_t)sizeof(*msg)) {
		close(c->report_fd);
		c->report_fd = -1;
		c->readable = 0;
		return -1;
	}
	end_strings(msg);
	if (msg->kind == WORKER_DONE || msg->kind == WORKER_FAIL)
		c->reported = 1;
	if (msg->kind == WORKER_FAIL) {
		c->fail.class_ = msg->class_ > WIRE_CLASS_AGENT || !msg->class_ ? WIRE_CLASS_AGENT
										: msg->class_;
		memcpy(c->fail.text, msg->text, sizeof(c->fail.text));
	}
	return 1;
}

void child_reaped(struct child *c, int status)
{
	c->pid = 0;
	c->status = status;
}

int child_verdict(struct child *c, const char *what, struct fail *f)
{
	struct cgroup_usage used = { 0 };

	if (c->reported && c->fail.class_ == WIRE_CLASS_OK)
		return 0;
	if (c->reported) {
		*f = c->fail;
		return -1;
	}
	if (c->cgroup_fd >= 0)
		cgroup_usage(c->cgroup_fd, &used);
	if (used.oom_kills)
		return fail_set(f, WIRE_CLASS_OOM, "%s used up the memory of the VM", what);
	if (WIFSIGNALED(c->status))
		return fail_set(f, WIRE_CLASS_AGENT, "%s was ended by signal %d", what,
				WTERMSIG(c->status));
	return fail_set(f, WIRE_CLASS_AGENT, "%s ended without a word (status %d)", what,
			WEXITSTATUS(c->status));
}

void child_close(struct child *c)
{
	if (c->report_fd >= 0)
		close(c->report_fd);
	if (c->cgroup_fd >= 0)
		close(c->cgroup_fd);
	c->report_fd = c->cgroup_fd = -1;
}
