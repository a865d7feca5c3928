/* SPDX-License-Identifier: Apache-2.0 */
/*
 * child.c - processes by pidfd (pidfd_open(2)). Owns the descriptor of each watched process.
 * Never names a process by pid once the pidfd is there.
 */
#include "child.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

struct child {
	int fd;
	int ours;
	uv_poll_t poll;
	child_fn fn;
	void *arg;
};

static void on_closed(uv_handle_t *h)
{
	free(h->data);
}

void child_forget(struct child *c)
{
	if (!c)
		return;
	c->fn = NULL;
	uv_poll_stop(&c->poll);
	close(c->fd);
	uv_close((uv_handle_t *)&c->poll, on_closed);
}

static void on_end(uv_poll_t *poll, int status, int events)
{
	struct child *c = poll->data;
	child_fn fn = c->fn;
	void *arg = c->arg;
	siginfo_t si = { 0 };
	char how[48];

	(void)status;
	(void)events;
	snprintf(how, sizeof(how), "it ended");
	if (c->ours && waitid((idtype_t)P_PIDFD, (id_t)c->fd, &si, WEXITED | WNOHANG) == 0 && si.si_pid)
		snprintf(how, sizeof(how), "%s %d", si.si_code == CLD_EXITED ? "exit status" : "signal",
			 si.si_status);
	child_forget(c);
	fn(arg, how);
}

/* Field 22 of /proc/<pid>/stat; the name in field 2 may hold blanks and brackets. */
static int start_ticks_of(pid_t pid, unsigned long long *ticks)
{
	_cleanup_file_ FILE *f = NULL;
	char path[48], line[1024], *p;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	f = fopen(path, "re");
	if (!f || !fgets(line, sizeof(line), f))
		return -1;
	p = strrchr(line, ')');
	for (int field = 2; p && field < 22; field++)
		p = strchr(p + 1, ' ');
	if (!p)
		return -1;
	*ticks = strtoull(p + 1, NULL, 10);
	return 0;
}

int child_watch(uv_loop_t *loop, pid_t pid, unsigned long long start_ticks, child_fn fn, void *arg,
		struct child **out, struct err *e)
{
	_cleanup_fd_ int fd = (int)syscall(SYS_pidfd_open, pid, 0);
	unsigned long long ticks = 0;
	struct child *c;

	if (fd < 0)
		return err_errno(e, "gone", "cannot watch process %d", (int)pid);
	/* Read after the pidfd is held: what /proc says now is about the process we hold. */
	if (start_ticks && (start_ticks_of(pid, &ticks) < 0 || ticks != start_ticks))
		return err_set(e, "gone", "process %d is another one by now", (int)pid);
	c = calloc(1, sizeof(*c));
	if (!c)
		return err_set(e, "io", "no memory");
	c->ours = start_ticks == 0;
	c->fn = fn;
	c->arg = arg;
	c->fd = take_fd(&fd);
	uv_poll_init(loop, &c->poll, c->fd);
	c->poll.data = c;
	uv_poll_start(&c->poll, UV_READABLE, on_end);
	*out = c;
	return 0;
}

void child_signal(struct child *c, int sig)
{
	if (c)
		syscall(SYS_pidfd_send_signal, c->fd, sig, NULL, 0);
}
