/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loop.c - the event loop of PID 1: one thread, edge-triggered descriptors, one turn:
 * wait, take what came, let the job move on, pass log on, send.
 *
 * There are two epoll sets. The core one has all but the pipe of the steps; the other has the
 * pipe and the core one. While the loop leaves the pipe alone to let output gather, it waits
 * on the core set only, and a step that prints does not wake it.
 */
#include "loop.h"

#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent.h"
#include "clock.h"
#include "control.h"
#include "fatal.h"
#include "proxyctl.h"

#define EVENTS_MAX 8
#define REAP_MAX 512   /* in one turn: a storm of orphans must not starve the rest */
#define FRAMES_MAX 16  /* of log in one turn, so that acknowledgements are seen in time */

static void reap(struct agent *a)
{
	struct signalfd_siginfo info;
	int status;
	pid_t pid;

	while (read(a->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
		continue;
	for (int i = 0; i < REAP_MAX; i++) {
		pid = waitpid(-1, &status, WNOHANG);
		if (pid <= 0)
			return;
		run_reaped(a, pid, status);
	}
	a->reap_more = 1;
}

static void take(struct agent *a, const struct epoll_event *ev)
{
	switch ((enum loop_key)ev->data.u64) {
	case LOOP_KEY_LINK:
		link_on_event(&a->link, ev->events, journal_first_seq(&a->journal), a->now_ms);
		control_read(a);
		break;
	case LOOP_KEY_SIGNAL: reap(a); break;
	case LOOP_KEY_OUTPUT: a->output.readable = 1; break;
	case LOOP_KEY_WORKER: a->worker.readable = 1; break;
	case LOOP_KEY_PROXY: a->proxy.readable = 1; break;
	case LOOP_KEY_CORE: break; /* its turn comes next */
	}
}

/* The hot path: from the pipe into the journal, from there into the socket. */
static void pass_log(struct agent *a)
{
	struct output *o = &a->output;

	for (int i = 0; i < FRAMES_MAX && o->readable; i++) {
		size_t limit = run_output_limit(a), n;

		if (!limit || o->hold_until_ms > a->now_ms)
			return;
		n = output_read(o, &a->journal, a->link.send_max_bytes, limit, a->now_ms);
		if (n || !o->readable)
			run_output(a, n);
		if (!n)
			return;
		link_flush(&a->link, &a->journal, a->now_ms);
	}
}

static int log_waits(const struct agent *a)
{
	size_t cap;

	if (!a->output.readable || !run_output_limit(a))
		return 0;
	journal_log_reserve((struct journal *)&a->journal, a->link.send_max_bytes, &cap);
	return cap > 0;
}

static uint64_t earlier(uint64_t x, uint64_t y)
{
	return x < y ? x : y;
}

/* In ms from now; 0 when there is work, -1 when only an event can bring some. */
static int timeout_ms(const struct agent *a)
{
	uint64_t at_ms = run_deadline(a), now_ms = clock_mono_ms();

	if (a->reap_more)
		return 0;
	at_ms = earlier(at_ms, link_watch_at_ms(&a->link, &a->journal));
	if (log_waits(a))
		at_ms = earlier(at_ms, a->output.hold_until_ms);
	if (a->link.state == LINK_DOWN)
		at_ms = earlier(at_ms, a->link.redial_at_ms);
	if (link_idle(&a->link, &a->journal))
		at_ms = earlier(at_ms, a->link.last_sent_ms + a->link.heartbeat_ms / 2);
	if (at_ms == RUN_NEVER)
		return -1;
	if (at_ms <= now_ms)
		return 0;
	return at_ms - now_ms < 3600000 ? (int)(at_ms - now_ms) : 3600000;
}

static void turn(struct agent *a)
{
	struct epoll_event ev[EVENTS_MAX];
	int held = a->output.readable && a->output.hold_until_ms > a->now_ms;
	int n = epoll_wait(held ? a->core_epoll_fd : a->all_epoll_fd, ev, EVENTS_MAX, timeout_ms(a));

	a->now_ms = clock_mono_ms();
	for (int i = 0; i < n; i++) {
		if (ev[i].data.u64 != LOOP_KEY_CORE) {
			take(a, &ev[i]);
			continue;
		}
		struct epoll_event core[EVENTS_MAX];
		int m = epoll_wait(a->core_epoll_fd, core, EVENTS_MAX, 0);

		for (int k = 0; k < m; k++)
			take(a, &core[k]);
	}
	if (a->reap_more) {
		a->reap_more = 0;
		reap(a);
	}
	pass_log(a);
	run_tick(a);
	control_tick(a);
}

void loop_run(struct agent *a)
{
	while (!a->ended)
		turn(a);
}
