/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conduit.c - the process that faces the guest: set-up, lock-down, the one epoll loop.
 *
 * Theory. All descriptors are in one epoll set, level triggered, tagged with kind, slot and
 * generation. A turn takes the events, handles each with one bounded read, then the deadlines.
 * Nothing blocks but writes to the build directory and messages to control, which is trusted.
 * What a guest can make this process hold is bounded: one control buffer, a head of 1 KiB a
 * connection, two pieces of 16 KiB a proxied stream, and queues that end a connection whose guest
 * does not read. This file must not touch guest bytes; it only says whose turn it is.
 */
#include "conduit_int.h"

#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <malloc.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "clock.h"
#include "lockdown.h"
#include "log.h"

#define EVENTS_A_TURN 64

void conduit_ref(struct epoll_event *ev, uint32_t events, enum ref_kind kind, const struct conduit *c,
		 const struct conn *conn)
{
	uint64_t slot = conn ? (uint64_t)(conn - c->conns) : 0;

	ev->events = events;
	ev->data.u64 = (uint64_t)kind << 48 | slot << 32 | (conn ? conn->gen : 0);
}

void conduit_tell(struct conduit *c, enum link_kind kind, uint64_t number, const char *text)
{
	struct link_msg msg = { .kind = kind, .number = number };

	snprintf(msg.text, sizeof(msg.text), "%s", text);
	send(c->control_fd, &msg, sizeof(msg), MSG_NOSIGNAL);
}

void conduit_alive(struct conduit *c)
{
	if (c->alive_ms && c->now_ms - c->alive_ms < 1000)
		return;
	c->alive_ms = c->now_ms;
	conduit_tell(c, LINK_ALIVE, 0, "");
}

void conduit_fail(struct conduit *c, const struct err *e)
{
	session_fail(&c->session, LINK_HOST, e->text);
}

void conduit_line(struct conduit *c, const char *fmt, ...)
{
	char text[LOGFILE_LINE_BYTES];
	struct err e;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (logfile_host_line(&c->log, text, &e) < 0)
		conduit_fail(c, &e);
}

static int create(int dir_fd, const char *name, struct err *e)
{
	int fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_NOFOLLOW | O_CLOEXEC,
			0640);

	return fd >= 0 ? fd : err_errno(e, "io", "cannot create %s in the build directory", name);
}

static int watch(struct conduit *c, int fd, enum ref_kind kind, struct err *e)
{
	struct epoll_event ev;

	conduit_ref(&ev, EPOLLIN, kind, c, NULL);
	if (epoll_ctl(c->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0)
		return err_errno(e, "internal", "epoll");
	return 0;
}

static int open_all(struct conduit *c, int dir_fd, struct err *e)
{
	struct session_io io = control_io(c);
	int log_fd = create(dir_fd, "log", e);
	int events_fd = log_fd < 0 ? -1 : create(dir_fd, "events.jsonl", e);

	if (events_fd < 0)
		return -1;
	logfile_init(&c->log, log_fd, c->job->limits.log_bytes);
	events_init(&c->events, events_fd, c->job->limits.events);
	c->rx = malloc(CONDUIT_RX_BYTES);
	c->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (!c->rx || c->epoll_fd < 0)
		return err_errno(e, "internal", "no buffer or epoll descriptor");
	if (fcntl(c->listen_fd, F_SETFL, fcntl(c->listen_fd, F_GETFL) | O_NONBLOCK) < 0)
		return err_errno(e, "internal", "the listener");
	if (artifact_spawn(c->job, dir_fd, &c->artifact.fd, e) < 0)
		return -1;
	if (watch(c, c->listen_fd, REF_LISTEN, e) < 0 || watch(c, c->control_fd, REF_LINK, e) < 0 ||
	    watch(c, c->dialer_fd, REF_DIALER, e) < 0 ||
	    watch(c, c->artifact.fd, REF_ARTIFACT, e) < 0)
		return -1;
	return session_init(&c->session, &io, c->job, &c->log, &c->events, c->now_ms, e);
}

static void on_conn(struct conduit *c, struct conn *conn, uint32_t events)
{
	switch (conn->kind) {
	case CONN_FREE:
		break;
	case CONN_NEW:
		first_on_input(c, conn);
		break;
	case CONN_CONTROL:
		control_on_event(c, events);
		break;
	case CONN_SOURCE:
		source_on_event(c, conn, events);
		break;
	case CONN_TCP:
		tcp_on_guest(c, conn, events);
		break;
	case CONN_CLOSING:
		if (conn_flush(conn) < 0 || conn_queued(conn) == 0)
			conn_close(c, conn);
		break;
	}
}

static void dispatch(struct conduit *c, const struct epoll_event *ev)
{
	enum ref_kind kind = (enum ref_kind)(ev->data.u64 >> 48);
	struct conn *conn = &c->conns[ev->data.u64 >> 32 & 0xffff];

	switch (kind) {
	case REF_LISTEN:
		first_accept(c);
		break;
	case REF_LINK:
		link_on_control(c);
		break;
	case REF_DIALER:
		tcp_on_dialer(c);
		break;
	case REF_ARTIFACT:
		link_on_artifact(c);
		break;
	case REF_CONN:
	case REF_INET:
		if (conn->gen != (uint32_t)ev->data.u64)
			break;
		if (kind == REF_CONN)
			on_conn(c, conn, ev->events);
		else
			tcp_on_inet(c, conn, ev->events);
		break;
	}
}

static void expire(struct conduit *c, struct conn *conn)
{
	if (conn->kind == CONN_TCP || conn->kind == CONN_SOURCE)
		conn_end(c, conn, WIRE_RESET, WIRE_CODE_PEER, "nothing moved for too long");
	else
		conn_close(c, conn);
}

static void deadlines(struct conduit *c)
{
	for (unsigned i = 0; i < CONN_MAX; i++)
		if (c->deadline_ms[i] && c->now_ms >= c->deadline_ms[i])
			expire(c, &c->conns[i]);
	if (c->session.ack_due_ms && c->now_ms >= c->session.ack_due_ms)
		session_ack(&c->session, c->now_ms);
}

static int wait_ms(const struct conduit *c)
{
	uint64_t due = conn_next_deadline(c);

	if (c->session.ack_due_ms && (!due || c->session.ack_due_ms < due))
		due = c->session.ack_due_ms;
	if (!due)
		return -1;
	return due <= c->now_ms ? 0 : due - c->now_ms > 60000 ? 60000 : (int)(due - c->now_ms);
}

static void loop(struct conduit *c)
{
	struct epoll_event ev[EVENTS_A_TURN];

	while (!c->quit) {
		int n = epoll_wait(c->epoll_fd, ev, EVENTS_A_TURN, wait_ms(c));

		c->now_ms = clock_mono_ms();
		for (int i = 0; i < n && !c->quit; i++)
			dispatch(c, &ev[i]);
		deadlines(c);
	}
}

/* The heap stays small and goes back: one arena, and large blocks are mapped on their own. */
static void tame_heap(void)
{
	mallopt(M_ARENA_MAX, 1);
	mallopt(M_MMAP_THRESHOLD, 128 * 1024);
	mallopt(M_TRIM_THRESHOLD, 256 * 1024);
}

int conduit_run(const struct supjob *job, int control_fd, int dialer_fd, int listen_fd, int dir_fd)
{
	struct conduit *c = calloc(1, sizeof(*c));
	const struct sigaction ignore = { .sa_handler = SIG_IGN };
	struct lockdown_facts facts;
	struct err e = { 0 };

	sigaction(SIGPIPE, &ignore, NULL);
	sigaction(SIGXFSZ, &ignore, NULL); /* a limit on files is an error of write, with words */
	setlocale(LC_CTYPE, "C.UTF-8"); /* libarchive in the artifact process judges names by it */
	tame_heap();
	if (!c)
		return 1;
	*c = (struct conduit){ .job = job, .control_fd = control_fd, .dialer_fd = dialer_fd,
			       .listen_fd = listen_fd, .now_ms = clock_mono_ms() };
	for (unsigned i = 0; i < CONN_MAX; i++)
		c->conns[i].fd = -1;
	if (open_all(c, dir_fd, &e) < 0 ||
	    lockdown_enter(LOCKDOWN_CONDUIT, -1, &facts, &e) < 0) {
		log_line(LOG_LEVEL_ERROR, job->build_id, "conduit: %s", e.text);
		conduit_tell(c, LINK_HOST, 0, e.text);
		return 1;
	}
	close(dir_fd);
	if (facts.landlock_abi < 1)
		log_line(LOG_LEVEL_WARN, job->build_id, "conduit: %s", facts.words);
	conduit_tell(c, LINK_READY, 0, "");
	loop(c);
	return c->finishing ? 0 : 1;
}
