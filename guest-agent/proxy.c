/* SPDX-License-Identifier: Apache-2.0 */
/*
 * proxy.c - the worker that is the guest's HTTP proxy on 127.0.0.1: accepts, and runs the one
 * epoll loop of all its connections.
 *
 * Owns the table of connections. They are known to epoll by slot and generation, never by
 * pointer: an event of a connection that is gone meanwhile finds another generation. It runs as
 * a user of its own and keeps the session secret, which each stream's OPEN needs.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "proxy_conn.h"
#include "wire_msg.h"
#include "worker.h"

#define MAX_CONNS 256u
#define EVENTS_MAX 64
#define LISTEN_KEY UINT64_MAX

/* key = generation << 16 | slot << 1 | side */
#define KEY_SLOT(key) ((unsigned)((key) >> 1) & 0x7fffu)
#define KEY_GENERATION(key) ((key) >> 16)

struct slot {
	struct proxy_conn *conn;
	uint64_t generation;
	int again; /* has more to do */
};

struct proxy {
	struct proxy_link link;
	int listen_fd;
	int accept_more; /* the listening socket may have connections */
	unsigned count;
	struct slot slots[MAX_CONNS];
};

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000u + (uint64_t)ts.tv_nsec / 1000000u;
}

static void pump(struct proxy *p, struct slot *s, uint64_t now)
{
	enum proxy_conn_result r = proxy_conn_pump(s->conn, now);

	s->again = r == PROXY_CONN_AGAIN;
	if (r != PROXY_CONN_OVER)
		return;
	proxy_conn_free(s->conn);
	s->conn = NULL;
	s->generation++;
	p->count--;
}

static struct slot *free_slot(struct proxy *p)
{
	for (unsigned i = 0; i < MAX_CONNS; i++) {
		if (!p->slots[i].conn)
			return &p->slots[i];
	}
	return NULL;
}

static void admit(struct proxy *p, int fd, uint64_t now)
{
	struct slot *s = free_slot(p);
	int one = 1;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)); /* only a matter of speed */
	s->conn = proxy_conn_new(&p->link, fd,
				 s->generation << 16 | (uint64_t)(s - p->slots) << 1, now);
	if (s->conn)
		p->count++;
}

/* Those that find no slot wait in the listening socket's queue. */
static void accept_all(struct proxy *p, uint64_t now)
{
	while (p->accept_more && p->count < MAX_CONNS) {
		int fd = accept4(p->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd >= 0)
			admit(p, fd, now);
		else if (errno == EAGAIN)
			p->accept_more = 0;
		else if (errno != EINTR && errno != ECONNABORTED)
			return; /* no memory or descriptors: again when a connection is gone */
	}
}

static void on_event(struct proxy *p, const struct epoll_event *ev, uint64_t now)
{
	uint64_t key = ev->data.u64;
	struct slot *s;

	if (key == LISTEN_KEY) {
		p->accept_more = 1;
		return;
	}
	s = &p->slots[KEY_SLOT(key)];
	if (!s->conn || s->generation != KEY_GENERATION(key))
		return;
	proxy_conn_on_event(s->conn, (enum proxy_conn_side)(key & 1), ev->events);
	pump(p, s, now);
}

/* Milliseconds until something is due: 0 when a connection has more to do, -1 for never. */
static int time_left(const struct proxy *p, uint64_t now)
{
	uint64_t due = UINT64_MAX;

	for (unsigned i = 0; i < MAX_CONNS; i++) {
		const struct slot *s = &p->slots[i];

		if (!s->conn)
			continue;
		if (s->again)
			return 0;
		if (proxy_conn_deadline_ms(s->conn) < due)
			due = proxy_conn_deadline_ms(s->conn);
	}
	if (due == UINT64_MAX)
		return -1;
	return due <= now ? 0 : (int)(due - now);
}

static int run(struct proxy *p, struct fail *f)
{
	struct epoll_event events[EVENTS_MAX];

	for (;;) {
		int n = epoll_wait(p->link.epoll_fd, events, EVENTS_MAX, time_left(p, now_ms()));
		uint64_t now = now_ms();

		if (n < 0 && errno != EINTR)
			return fail_errno(f, WIRE_CLASS_AGENT, "the proxy cannot wait for events");
		for (int i = 0; i < n; i++)
			on_event(p, &events[i], now);
		for (unsigned i = 0; i < MAX_CONNS; i++) {
			struct slot *s = &p->slots[i];

			if (s->conn && (s->again || proxy_conn_deadline_ms(s->conn) <= now))
				pump(p, s, now);
		}
		accept_all(p, now);
	}
}

static int start(struct proxy *p, const struct worker_env *env, struct fail *f)
{
	struct epoll_event ev = { .events = EPOLLIN | EPOLLET, .data.u64 = LISTEN_KEY };
	int flags = fcntl(env->listen_fd, F_GETFL);

	p->listen_fd = env->listen_fd;
	p->link.secret = env->secret;
	p->link.send_max_bytes = env->send_max_bytes;
	p->link.vsock_port = env->vsock_port;
	p->link.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (p->link.epoll_fd < 0 || flags < 0 ||
	    fcntl(env->listen_fd, F_SETFL, flags | O_NONBLOCK) < 0 ||
	    epoll_ctl(p->link.epoll_fd, EPOLL_CTL_ADD, env->listen_fd, &ev) < 0)
		return fail_errno(f, WIRE_CLASS_AGENT, "the proxy cannot start");
	return worker_drop(env, f);
}

int proxy_main(const struct worker_env *env)
{
	struct proxy *p = calloc(1, sizeof(*p));
	struct fail f = { 0 };

	if (!p)
		fail_set(&f, WIRE_CLASS_AGENT, "no memory for the proxy");
	else if (start(p, env, &f) == 0)
		run(p, &f);
	free(p);
	return worker_fail(env, &f);
}
