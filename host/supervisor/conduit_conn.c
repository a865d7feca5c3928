/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conduit_conn.c - the table of guest connections: slots, epoll interest, send queues.
 *
 * Owns every guest descriptor and what could not be sent on it yet. Knows nothing of what
 * the bytes mean. Full table: the oldest connection that has not said what it is makes room, so
 * that processes in the guest without the secret cannot keep the agent out.
 */
#include "conduit_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static uint32_t index_of(const struct conduit *c, const struct conn *conn)
{
	return (uint32_t)(conn - c->conns);
}

void conn_deadline(struct conduit *c, const struct conn *conn, uint64_t ms)
{
	c->deadline_ms[index_of(c, conn)] = ms ? c->now_ms + ms * c->job->factor : 0;
}

uint64_t conn_next_deadline(const struct conduit *c)
{
	uint64_t least = 0;

	for (unsigned i = 0; i < CONN_MAX; i++)
		if (c->deadline_ms[i] && (!least || c->deadline_ms[i] < least))
			least = c->deadline_ms[i];
	return least;
}

static struct conn *make_room(struct conduit *c)
{
	struct conn *oldest = NULL;

	for (unsigned i = 0; i < CONN_MAX; i++) {
		struct conn *conn = &c->conns[i];

		if (conn->kind != CONN_NEW && conn->kind != CONN_CLOSING)
			continue;
		if (!oldest || c->deadline_ms[i] < c->deadline_ms[index_of(c, oldest)])
			oldest = conn;
	}
	if (oldest)
		conn_close(c, oldest);
	return oldest;
}

struct conn *conn_add(struct conduit *c, int fd)
{
	struct conn *conn = NULL;

	for (unsigned i = 0; i < CONN_MAX && !conn; i++)
		if (c->conns[i].kind == CONN_FREE)
			conn = &c->conns[i];
	if (!conn)
		conn = make_room(c);
	if (!conn) {
		close(fd);
		return NULL;
	}
	conn->kind = CONN_NEW;
	conn->fd = fd;
	conn->interest = 0;
	stream_init(&conn->in);
	conn_deadline(c, conn, CONDUIT_FIRST_FRAME_MS);
	conn_interest(c, conn, EPOLLIN);
	return conn;
}

void conn_interest(struct conduit *c, struct conn *conn, uint32_t events)
{
	int op = conn->interest == 0 ? EPOLL_CTL_ADD : events ? EPOLL_CTL_MOD : EPOLL_CTL_DEL;
	struct epoll_event ev;

	if (conn->interest == events)
		return;
	conduit_ref(&ev, events, REF_CONN, c, conn);
	if (epoll_ctl(c->epoll_fd, op, conn->fd, &ev) == 0)
		conn->interest = events;
}

void conn_close(struct conduit *c, struct conn *conn)
{
	if (conn->kind == CONN_FREE)
		return;
	if (conn->tcp)
		tcp_drop(c, conn, "the guest closed the connection");
	if (c->control == conn)
		c->control = NULL;
	if (c->source == conn)
		c->source = NULL;
	/* By hand: the descriptor may live on in another process (artifacts). */
	conn_interest(c, conn, 0);
	if (conn->fd >= 0)
		close(conn->fd);
	free(conn->out);
	conn->out = NULL;
	conn->out_at = conn->out_end = 0;
	conn->fd = -1;
	conn->kind = CONN_FREE;
	conn->gen++;
	c->deadline_ms[index_of(c, conn)] = 0;
}

size_t conn_queued(const struct conn *conn)
{
	return conn->out_end - conn->out_at;
}

/* Returns bytes taken by the socket, -1 when the connection is dead. */
static ssize_t try_send(const struct conn *conn, const void *p, size_t n)
{
	ssize_t put = send(conn->fd, p, n, MSG_NOSIGNAL | MSG_DONTWAIT);

	if (put >= 0)
		return put;
	return errno == EAGAIN || errno == EINTR || errno == ENOBUFS ? 0 : -1;
}

int conn_flush(struct conn *conn)
{
	ssize_t put;

	if (conn_queued(conn) == 0)
		return 0;
	put = try_send(conn, conn->out + conn->out_at, conn_queued(conn));
	if (put < 0)
		return -1;
	conn->out_at += (size_t)put;
	if (conn_queued(conn) == 0) {
		free(conn->out);
		conn->out = NULL;
		conn->out_at = conn->out_end = 0;
	}
	return 0;
}

int conn_send(struct conduit *c, struct conn *conn, const void *p, size_t n)
{
	size_t left = conn_queued(conn);
	ssize_t put = left ? 0 : try_send(conn, p, n);
	uint8_t *bigger;

	if (put < 0)
		return -1;
	if ((size_t)put == n)
		return 0;
	p = (const uint8_t *)p + put;
	n -= (size_t)put;
	if (left + n > CONDUIT_QUEUE_MAX)
		return -1;
	bigger = malloc(left + n);
	if (!bigger)
		return -1;
	if (left)
		memcpy(bigger, conn->out + conn->out_at, left);
	memcpy(bigger + left, p, n);
	free(conn->out);
	conn->out = bigger;
	conn->out_at = 0;
	conn->out_end = left + n;
	if (conn->interest) /* else its owner decides when it listens again */
		conn_interest(c, conn, conn->interest | EPOLLOUT);
	return 0;
}

int conn_send_msg(struct conduit *c, struct conn *conn, const struct wire_msg *msg)
{
	uint8_t small[2048];
	uint8_t *big = NULL;
	size_t n;
	int rc;

	if (wire_encode(msg, small, sizeof(small), &n) == WIRE_OK)
		return conn_send(c, conn, small, n);
	big = malloc(WIRE_MAX_FRAME); /* JOB, once */
	if (!big || wire_encode(msg, big, WIRE_MAX_FRAME, &n) != WIRE_OK) {
		free(big);
		return -1;
	}
	rc = conn_send(c, conn, big, n);
	free(big);
	return rc;
}

void conn_end(struct conduit *c, struct conn *conn, uint16_t type, uint16_t code, const char *text)
{
	struct wire_msg msg = { .type = type };
	uint8_t waste[4096];

	if (conn->tcp)
		tcp_drop(c, conn, text);
	msg.u.error.code = code;
	msg.u.error.message = wire_text(text);
	if (conn_send_msg(c, conn, &msg) < 0 || conn_queued(conn) == 0) {
		/* A socket closed with unread input resets: the peer could lose the last word. */
		for (int i = 0; i < 16 && recv(conn->fd, waste, sizeof(waste), MSG_DONTWAIT) > 0; i++)
			;
		conn_close(c, conn);
		return;
	}
	if (c->control == conn)
		c->control = NULL;
	if (c->source == conn)
		c->source = NULL;
	conn->kind = CONN_CLOSING;
	conn_deadline(c, conn, CONDUIT_LINGER_MS);
	conn_interest(c, conn, EPOLLOUT);
}
