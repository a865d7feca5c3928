/* SPDX-License-Identifier: Apache-2.0 */
/*
 * link.c - the control connection to the host over vsock (PROTOCOL.md, sections 1 to 3).
 * Owns the socket, the input buffer and the session secret of the control connection;
 * does not know what a job is. vsock(7); <linux/vm_sockets.h>.
 *
 * End of file and reset are the same thing here: the connection is lost, dial again.
 */
#include "link.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

#include "loop.h"

#ifndef KILN_VERSION
#define KILN_VERSION "0"
#endif

int link_init(struct link *l, int epoll_fd, uint32_t port, struct fail *f)
{
	memset(l, 0, sizeof(*l));
	l->fd = -1;
	l->epoll_fd = epoll_fd;
	l->port = port;
	l->send_max_bytes = WIRE_SEND_DEFAULT;
	l->heartbeat_ms = 10000;
	l->in_cap = WIRE_MAX_FRAME;
	l->in = mmap(NULL, l->in_cap, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (l->in == MAP_FAILED) {
		l->in = NULL;
		return fail_errno(f, WIRE_CLASS_AGENT, "no memory for the job");
	}
	return 0;
}

void link_shrink(struct link *l)
{
	if (l->in == l->small)
		return;
	if (l->in_len > sizeof(l->small)) /* the host never has so much to say behind JOB */
		l->in_len = 0;
	memcpy(l->small, l->in, l->in_len);
	explicit_bzero(l->in, l->in_cap);
	munmap(l->in, l->in_cap);
	l->in = l->small;
	l->in_cap = sizeof(l->small);
}

void link_lost(struct link *l, uint64_t now_ms)
{
	uint64_t pause_ms = 0;

	if (l->fd >= 0)
		close(l->fd); /* also leaves the epoll set */
	l->fd = -1;
	l->state = LINK_DOWN;
	l->writable = 0;
	l->in_len = l->out_len = l->out_at = 0;
	for (uint32_t i = 0; i < l->failures && pause_ms < LINK_REDIAL_MAX_MS; i++)
		pause_ms = pause_ms ? pause_ms * 2 : LINK_REDIAL_FIRST_MS;
	if (pause_ms > LINK_REDIAL_MAX_MS)
		pause_ms = LINK_REDIAL_MAX_MS;
	l->failures++;
	l->redial_at_ms = now_ms + pause_ms;
}

/* The window for what the host sends: the default is small enough to be reset for. */
static void set_buffers(int fd)
{
	uint64_t bytes = LINK_BUFFER_BYTES;

	setsockopt(fd, AF_VSOCK, SO_VM_SOCKETS_BUFFER_MAX_SIZE, &bytes, sizeof(bytes));
	setsockopt(fd, AF_VSOCK, SO_VM_SOCKETS_BUFFER_SIZE, &bytes, sizeof(bytes));
}

void link_dial(struct link *l, uint64_t now_ms)
{
	struct sockaddr_vm to = {
		.svm_family = AF_VSOCK, .svm_cid = LINK_HOST_CID, .svm_port = l->port,
	};
	struct epoll_event ev = {
		.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.u64 = LOOP_KEY_LINK,
	};

	l->fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (l->fd < 0) {
		link_lost(l, now_ms);
		return;
	}
	set_buffers(l->fd);
	l->state = LINK_CONNECTING;
	l->quiet_since_ms = now_ms;
	if ((connect(l->fd, (struct sockaddr *)&to, sizeof(to)) < 0 && errno != EINPROGRESS) ||
	    epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, l->fd, &ev) < 0)
		link_lost(l, now_ms);
}

static void queue_frame(struct link *l, const struct wire_msg *msg)
{
	size_t used;

	if (wire_encode(msg, l->out + l->out_len, sizeof(l->out) - l->out_len, &used) == WIRE_OK)
		l->out_len += used;
}

static void queue_hello(struct link *l, uint64_t next_seq)
{
	struct wire_msg msg = { .type = WIRE_HELLO };
	struct utsname name;

	memset(&name, 0, sizeof(name));
	uname(&name);
	msg.u.hello.magic = WIRE_MAGIC;
	msg.u.hello.version_min = WIRE_VERSION;
	msg.u.hello.version_max = WIRE_VERSION;
	msg.u.hello.next_seq = next_seq;
	if (l->has_secret) {
		msg.u.hello.secret.p = l->secret;
		msg.u.hello.secret.n = sizeof(l->secret);
	}
	msg.u.hello.agent = wire_text("kiln-agent " KILN_VERSION);
	msg.u.hello.kernel = wire_text(name.release);
	msg.u.hello.arch = wire_text(name.machine);
	queue_frame(l, &msg);
}

static int connect_result(int fd)
{
	int err = 0;
	socklen_t len = sizeof(err);

	return getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0 ? -1 : err;
}

void link_on_event(struct link *l, uint32_t events, uint64_t next_seq, uint64_t now_ms)
{
	if (events & EPOLLOUT)
		l->writable = 1;
	if (l->state != LINK_CONNECTING || !(events & (EPOLLOUT | EPOLLERR | EPOLLHUP)))
		return;
	if (connect_result(l->fd) != 0) {
		link_lost(l, now_ms);
		return;
	}
	l->state = LINK_HELLO;
	l->writable = 1;
	queue_hello(l, next_seq);
}

int link_read(struct link *l, uint64_t now_ms)
{
	ssize_t n;

	if (l->state != LINK_HELLO && l->state != LINK_UP)
		return 0;
	if (l->in_len == l->in_cap) { /* link_next would have said so: no frame is this large */
		link_lost(l, now_ms);
		return -1;
	}
	n = recv(l->fd, l->in + l->in_len, l->in_cap - l->in_len, MSG_DONTWAIT);
	if (n > 0) {
		l->in_len += (size_t)n;
		l->quiet_since_ms = now_ms;
		return 1;
	}
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return errno == EINTR;
	link_lost(l, now_ms);
	return -1;
}

int link_next(struct link *l, struct wire_msg *msg, size_t *used, uint64_t now_ms)
{
	enum wire_status st;

	if (l->fd < 0)
		return 0;
	st = wire_decode(WIRE_FROM_HOST, l->in, l->in_len, msg, used);
	if (st == WIRE_OK)
		return 1;
	if (st == WIRE_MORE && *used <= l->in_cap)
		return 0;
	link_lost(l, now_ms);
	return -1;
}

void link_taken(struct link *l, size_t used)
{
	if (used > l->in_len) /* the connection was lost while the message was dealt with */
		return;
	l->in_len -= used;
	memmove(l->in, l->in + used, l->in_len);
}

/* Returns the bytes sent; 0 when the socket is full or gone. */
static size_t send_some(struct link *l, const uint8_t *p, size_t n, uint64_t now_ms)
{
	ssize_t done;

	if (n > l->send_max_bytes)
		n = l->send_max_bytes;
	done = send(l->fd, p, n, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (done > 0) {
		l->last_sent_ms = now_ms;
		return (size_t)done;
	}
	if (done < 0 && errno == EINTR)
		return 0;
	l->writable = 0;
	if (done < 0 && errno != EAGAIN)
		link_lost(l, now_ms);
	return 0;
}

void link_flush(struct link *l, struct journal *j, uint64_t now_ms)
{
	const uint8_t *p;
	size_t n;

	while (l->writable && l->out_at < l->out_len) {
		n = send_some(l, l->out + l->out_at, l->out_len - l->out_at, now_ms);
		l->out_at += n; /* n is 0 when the connection, and with it the frame, was lost */
		if (l->out_at == l->out_len)
			l->out_at = l->out_len = 0;
	}
	while (l->writable && l->state == LINK_UP) {
		n = journal_unsent(j, &p);
		if (!n)
			return;
		journal_sent(j, send_some(l, p, n, now_ms));
	}
}

int link_idle(const struct link *l, const struct journal *j)
{
	return l->state == LINK_UP && !l->out_len && j->sent == j->head;
}

void link_heartbeat(struct link *l, const struct journal *j, uint64_t at_ms, uint64_t memory_bytes,
		    uint64_t scratch_bytes)
{
	struct wire_msg msg = { .type = WIRE_HEARTBEAT };

	if (!link_idle(l, j))
		return;
	msg.u.heartbeat.at_ms = at_ms;
	msg.u.heartbeat.memory_bytes = memory_bytes;
	msg.u.heartbeat.scratch_bytes = scratch_bytes;
	queue_frame(l, &msg);
}

/* Before JOB there is no secret to dial again with: the host's deadline for the boot decides. */
static int host_owes(const struct link *l, const struct journal *j)
{
	return l->has_secret && (l->state == LINK_HELLO ||
				 (l->state == LINK_UP && j->tail != j->head));
}

void link_watch(struct link *l, const struct journal *j, uint64_t now_ms)
{
	if (!host_owes(l, j))
		l->quiet_since_ms = now_ms;
	else if (now_ms >= link_watch_at_ms(l, j))
		link_lost(l, now_ms);
}

uint64_t link_watch_at_ms(const struct link *l, const struct journal *j)
{
	return host_owes(l, j) ? l->quiet_since_ms + l->heartbeat_ms : UINT64_MAX;
}

void link_welcome(struct link *l, const struct wire_welcome *w)
{
	l->send_max_bytes = w->send_max_bytes;
	l->heartbeat_ms = w->heartbeat_ms;
	l->failures = 0;
	l->state = LINK_UP;
}
