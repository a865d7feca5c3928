/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conduit_tcp.c - proxied TCP: asks the dialer, then pumps both ways.
 *
 * "Up" is guest to network, "down" the other way. Owns the network sockets (made by the dialer;
 * this process cannot make one), one piece of at most CONDUIT_PIECE bytes for each direction, and
 * the `egress` event of each stream, which is written once, at its end, with the counts.
 * A direction is not read while its piece waits: that is the back-pressure.
 *
 *	QUEUED --request sent--> DIALING --DIAL_OK--> OPEN --both ENDs--> ACKED --guest closes--> gone
 *	   any of them --refusal, error, RESET, deadline--> gone
 */
#include "conduit_int.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define DIAL_MS           60000u /* the dialer's own deadline is 10 s; it may have a queue */

enum tcp_state { TCP_QUEUED, TCP_DIALING, TCP_OPEN, TCP_ACKED };

struct tcp {
	enum tcp_state state;
	int inet_fd;
	uint32_t inet_interest;
	uint64_t began_ms;
	struct stream_sum up;
	uint64_t down_bytes;
	int up_end, up_shut, down_end; /* END came; passed on to the network; END was sent */
	size_t piece_at, piece_end;    /* up bytes that the network did not take yet */
	uint8_t *piece;
	uint16_t port;
	char host[256];
	struct dial_reply reply;
};

/* One event for each stream. error: NULL when it ended well. */
static void write_event(struct conduit *c, const struct tcp *t, int allowed, const char *error)
{
	json_t *o = json_pack("{s:s, s:i, s:b, s:s, s:s, s:I, s:I, s:I, s:s*}", "host", t->host, "port",
			      t->port, "allowed", allowed, "rule", t->reply.rule, "address",
			      t->reply.address, "bytes_up", (json_int_t)t->up.bytes, "bytes_down",
			      (json_int_t)t->down_bytes, "duration_ms",
			      (json_int_t)(c->now_ms - t->began_ms), "error", error);
	struct err e;

	if (events_put(&c->events, EVENTS_CAPPED, "egress", o, &e) < 0)
		conduit_fail(c, &e);
}

static void inet_interest(struct conduit *c, struct conn *conn, uint32_t events)
{
	struct tcp *t = conn->tcp;
	int op = t->inet_interest == 0 ? EPOLL_CTL_ADD : events ? EPOLL_CTL_MOD : EPOLL_CTL_DEL;
	struct epoll_event ev;

	if (t->inet_fd < 0 || t->inet_interest == events)
		return;
	conduit_ref(&ev, events, REF_INET, c, conn);
	if (epoll_ctl(c->epoll_fd, op, t->inet_fd, &ev) == 0)
		t->inet_interest = events;
}

/* Hand the dialer what waits, as far as it may have requests at once. */
static void dial_next(struct conduit *c)
{
	for (unsigned i = 0; i < CONN_MAX && c->dials < CONDUIT_DIALS_MAX; i++) {
		struct conn *conn = &c->conns[i];
		struct dial_request req = { 0 };

		if (conn->kind != CONN_TCP || conn->tcp->state != TCP_QUEUED)
			continue;
		/* The slot and the low bits of its generation: an answer to a stream that is gone is told. */
		req.id = i | conn->gen << 16;
		req.port = conn->tcp->port;
		req.cloning = c->session.state <= WIRE_STATE_CLONING;
		memcpy(req.host, conn->tcp->host, sizeof(req.host));
		if (send(c->dialer_fd, &req, sizeof(req), MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
			return; /* gone, or full: then its next answer brings us here again */
		conn->tcp->state = TCP_DIALING;
		c->dials++;
	}
}

void tcp_open(struct conduit *c, struct conn *conn, const struct wire_open *open)
{
	struct tcp *t;

	if (open->host.n == 0 || open->port == 0) {
		conn_end(c, conn, WIRE_REFUSED, WIRE_CODE_PROTOCOL, "tcp needs a host and a port");
		return;
	}
	t = c->tcps < CONDUIT_TCP_MAX ? calloc(1, sizeof(*t)) : NULL;
	if (!t) {
		conn_end(c, conn, WIRE_REFUSED, WIRE_CODE_LIMIT, "256 streams are open already");
		return;
	}
	t->inet_fd = -1;
	t->began_ms = c->now_ms;
	t->port = open->port;
	memcpy(t->host, open->host.p, open->host.n); /* at most 255: the codec's cap */
	stream_sum_init(&t->up);
	conn->kind = CONN_TCP;
	conn->tcp = t;
	c->tcps++;
	conn_deadline(c, conn, DIAL_MS);
	conn_interest(c, conn, 0);
	dial_next(c);
}

static void close_inet(struct conduit *c, struct tcp *t)
{
	if (t->inet_fd < 0)
		return;
	if (t->inet_interest)
		epoll_ctl(c->epoll_fd, EPOLL_CTL_DEL, t->inet_fd, NULL);
	close(t->inet_fd);
	t->inet_fd = -1;
	t->inet_interest = 0;
}

void tcp_drop(struct conduit *c, struct conn *conn, const char *error)
{
	const struct linger reset = { .l_onoff = 1, .l_linger = 0 };
	struct tcp *t = conn->tcp;

	if (!t)
		return;
	conn->tcp = NULL;
	c->tcps--;
	if (t->state != TCP_ACKED) {
		write_event(c, t, t->reply.verdict != DIAL_POLICY, error);
		/* The server must not take a broken upload for a whole one. */
		if (t->inet_fd >= 0)
			setsockopt(t->inet_fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	}
	close_inet(c, t);
	free(t->piece);
	free(t);
}

void tcp_close_all(struct conduit *c)
{
	for (unsigned i = 0; i < CONN_MAX; i++) {
		struct conn *conn = &c->conns[i];

		if (conn->kind != CONN_TCP)
			continue;
		tcp_drop(c, conn, "the build is over");
		conn_close(c, conn);
	}
}

static void broken(struct conduit *c, struct conn *conn, uint16_t code, const char *text)
{
	conn_end(c, conn, WIRE_RESET, code, text);
}

/* What to wait for next, after anything has changed. */
static void rearm(struct conduit *c, struct conn *conn)
{
	struct tcp *t = conn->tcp;
	int up_waits = t->piece_end > t->piece_at;
	int down_waits = conn_queued(conn) > 0;

	conn_deadline(c, conn, t->state == TCP_ACKED ? CONDUIT_LINGER_MS : CONDUIT_IDLE_MS);
	conn_interest(c, conn, (up_waits ? 0 : EPOLLIN) | (down_waits ? EPOLLOUT : 0));
	inet_interest(c, conn, (up_waits ? EPOLLOUT : 0) |
		      (down_waits || t->down_end ? 0 : EPOLLIN));
}

/* After an END in either direction. -1: the connection is closed. */
static int maybe_done(struct conduit *c, struct conn *conn)
{
	struct tcp *t = conn->tcp;
	struct wire_msg msg = { .type = WIRE_STREAM_ACK };

	if (t->up_end && !t->up_shut && t->piece_at == t->piece_end) {
		t->up_shut = 1;
		shutdown(t->inet_fd, SHUT_WR);
	}
	if (!t->up_shut || !t->down_end || t->state == TCP_ACKED)
		return 0;
	write_event(c, t, 1, NULL);
	t->state = TCP_ACKED;
	close_inet(c, t);
	msg.u.stream_ack.total_bytes = t->up.bytes;
	if (conn_send_msg(c, conn, &msg) == 0)
		return 0;
	conn_close(c, conn);
	return -1;
}

/* Bytes of the guest to the network. -1: broken, the connection is closed. */
static int push_up(struct conduit *c, struct conn *conn, const struct wire_bytes *b)
{
	struct tcp *t = conn->tcp;
	ssize_t put = 0;

	stream_sum_add(&t->up, b->p, b->n);
	if (t->piece_at == t->piece_end) {
		put = send(t->inet_fd, b->p, b->n, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (put < 0 && errno != EAGAIN && errno != EINTR) {
			broken(c, conn, WIRE_CODE_PEER, strerror(errno));
			return -1;
		}
		put = put < 0 ? 0 : put;
	}
	if ((size_t)put == b->n)
		return 0;
	if (!t->piece)
		t->piece = malloc(CONDUIT_PIECE);
	if (!t->piece) {
		broken(c, conn, WIRE_CODE_INTERNAL, "no memory");
		return -1;
	}
	/* One recv is one piece: what is left of it always fits. */
	memcpy(t->piece + t->piece_end, b->p + put, b->n - (size_t)put);
	t->piece_end += b->n - (size_t)put;
	return 0;
}

/* -1: the connection is closed. */
static int on_guest_msg(struct conduit *c, struct conn *conn, const struct wire_msg *msg)
{
	struct tcp *t = conn->tcp;

	if (msg->type == WIRE_END && !t->up_end) {
		if (stream_sum_check(&t->up, &msg->u.end, 1) < 0) {
			broken(c, conn, WIRE_CODE_PROTOCOL, "END does not agree with what came");
			return -1;
		}
		t->up_end = 1;
		return maybe_done(c, conn);
	}
	if (msg->type == WIRE_RESET) {
		tcp_drop(c, conn, "the guest reset the stream");
		conn_close(c, conn);
		return -1;
	}
	broken(c, conn, WIRE_CODE_PROTOCOL, "a frame that has no place in a tcp stream");
	return -1;
}

static int read_guest(struct conduit *c, struct conn *conn)
{
	ssize_t n = recv(conn->fd, c->scratch, CONDUIT_PIECE, MSG_DONTWAIT);
	struct stream_out out;
	size_t at = 0, used;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n <= 0) {
		conn_close(c, conn);
		return -1;
	}
	conduit_alive(c);
	for (;;) {
		enum stream_item item = stream_next(&conn->in, c->scratch + at, (size_t)n - at, &used,
						    &out);
		int rc = 0;

		at += used;
		if (item == STREAM_MORE)
			return 0;
		if (item == STREAM_BAD || (item == STREAM_CHUNK && conn->tcp->up_end)) {
			broken(c, conn, WIRE_CODE_PROTOCOL, item == STREAM_BAD ?
			       wire_strerror(out.why) : "DATA after END");
			return -1;
		}
		rc = item == STREAM_CHUNK ? push_up(c, conn, &out.chunk)
					  : on_guest_msg(c, conn, &out.msg);
		if (rc < 0)
			return -1;
	}
}

void tcp_on_guest(struct conduit *c, struct conn *conn, uint32_t events)
{
	int up_waits = conn->tcp->piece_end > conn->tcp->piece_at;
	int gone = events & (EPOLLHUP | EPOLLERR) && up_waits; /* no room to read what it left */

	if (gone || (events & EPOLLOUT && conn_flush(conn) < 0)) {
		conn_close(c, conn);
		return;
	}
	if (events & ~(uint32_t)EPOLLOUT && !up_waits && read_guest(c, conn) < 0)
		return;
	rearm(c, conn);
}

static int flush_up(struct conduit *c, struct conn *conn)
{
	struct tcp *t = conn->tcp;
	ssize_t put = send(t->inet_fd, t->piece + t->piece_at, t->piece_end - t->piece_at,
			   MSG_NOSIGNAL | MSG_DONTWAIT);

	if (put < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (put < 0) {
		broken(c, conn, WIRE_CODE_PEER, strerror(errno));
		return -1;
	}
	t->piece_at += (size_t)put;
	if (t->piece_at < t->piece_end)
		return 0;
	free(t->piece);
	t->piece = NULL;
	t->piece_at = t->piece_end = 0;
	return maybe_done(c, conn);
}

static int read_inet(struct conduit *c, struct conn *conn)
{
	struct tcp *t = conn->tcp;
	struct wire_msg end = { .type = WIRE_END };
	ssize_t n = recv(t->inet_fd, c->scratch + STREAM_DATA_HEAD, CONDUIT_PIECE, MSG_DONTWAIT);
	int rc;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n < 0) {
		broken(c, conn, WIRE_CODE_PEER, strerror(errno));
		return -1;
	}
	if (n > 0) {
		t->down_bytes += (uint64_t)n;
		stream_data_head(c->scratch, (uint32_t)n);
		rc = conn_send(c, conn, c->scratch, STREAM_DATA_HEAD + (size_t)n);
	} else {
		t->down_end = 1;
		end.u.end.total_bytes = t->down_bytes; /* xxh3 0: not checked for tcp */
		rc = conn_send_msg(c, conn, &end);
	}
	if (rc < 0) {
		conn_close(c, conn);
		return -1;
	}
	return n == 0 ? maybe_done(c, conn) : 0;
}

void tcp_on_inet(struct conduit *c, struct conn *conn, uint32_t events)
{
	struct tcp *t = conn->tcp;

	if (conn->kind != CONN_TCP || t->inet_fd < 0)
		return;
	if (t->piece_end > t->piece_at && (events & ~(uint32_t)EPOLLIN) && flush_up(c, conn) < 0)
		return;
	if (!t->down_end && conn_queued(conn) == 0 && (events & ~(uint32_t)EPOLLOUT) &&
	    read_inet(c, conn) < 0)
		return;
	rearm(c, conn);
}

/* The same host and port once in a build, and not without end. */
static int first_refusal(struct conduit *c, const struct tcp *t)
{
	uint64_t key = XXH3_64bits_withSeed(t->host, strlen(t->host), t->port) | 1;

	for (unsigned i = 0; i < c->refusals; i++)
		if (c->refusal[i] == key)
			return 0;
	if (c->refusals == CONDUIT_REFUSALS_MAX)
		return 0;
	c->refusal[c->refusals++] = key;
	return 1;
}

static void on_refusal(struct conduit *c, struct conn *conn)
{
	static const uint16_t codes[] = { [DIAL_POLICY] = WIRE_CODE_POLICY,
					  [DIAL_RESOLVE] = WIRE_CODE_RESOLVE,
					  [DIAL_CONNECT] = WIRE_CODE_CONNECT };
	struct dial_reply reply = conn->tcp->reply;

	if (reply.verdict == DIAL_POLICY && first_refusal(c, conn->tcp)) {
		conduit_line(c, "egress refused: %s", reply.text);
		if (c->refusals == CONDUIT_REFUSALS_MAX)
			conduit_line(c, "more refusals of egress stand in the events only");
	}
	conn_end(c, conn, WIRE_REFUSED, codes[reply.verdict], reply.text);
}

static void on_reply(struct conduit *c, const struct dial_reply *reply, int fd)
{
	struct conn *conn = &c->conns[(reply->id & 0xffff) % CONN_MAX];
	struct wire_msg opened = { .type = WIRE_OPENED };
	struct tcp *t = conn->tcp;

	if (conn->kind != CONN_TCP || t->state != TCP_DIALING ||
	    (conn->gen & 0xffff) != reply->id >> 16) {
		if (fd >= 0)
			close(fd); /* the guest did not wait */
		return;
	}
	t->reply = *reply;
	t->inet_fd = fd;
	if (reply->verdict != DIAL_OK || fd < 0) {
		on_refusal(c, conn);
		return;
	}
	t->state = TCP_OPEN;
	if (conn_send_msg(c, conn, &opened) < 0)
		conn_close(c, conn);
	else
		rearm(c, conn);
}

/* 1: *reply is filled and terminated; 0: nothing now; -1: the dialer is gone. */
static int receive_reply(struct conduit *c, struct dial_reply *reply, int *fd)
{
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = { reply, sizeof(*reply) };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control,
			    .msg_controllen = sizeof(control) };
	ssize_t n = recvmsg(c->dialer_fd, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	struct cmsghdr *h = n > 0 ? CMSG_FIRSTHDR(&m) : NULL;

	*fd = -1;
	if (h && h->cmsg_level == SOL_SOCKET && h->cmsg_type == SCM_RIGHTS &&
	    h->cmsg_len == CMSG_LEN(sizeof(int)))
		memcpy(fd, CMSG_DATA(h), sizeof(int));
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -1;
	if (n != (ssize_t)sizeof(*reply) || reply->verdict > DIAL_CONNECT)
		return n == 0 ? -1 : 0;
	reply->rule[sizeof(reply->rule) - 1] = '\0';
	reply->address[sizeof(reply->address) - 1] = '\0';
	reply->text[sizeof(reply->text) - 1] = '\0';
	return 1;
}

void tcp_on_dialer(struct conduit *c)
{
	struct dial_reply reply;
	struct err e;
	int fd, got = receive_reply(c, &reply, &fd);

	if (got > 0) {
		c->dials -= c->dials > 0;
		on_reply(c, &reply, fd);
		dial_next(c);
	}
	if (got >= 0)
		return;
	close(c->dialer_fd); /* takes it out of epoll, too */
	c->dialer_fd = -1;
	if (c->finishing)
		return;
	err_set(&e, "internal", "the dialer ended unexpectedly");
	conduit_fail(c, &e);
}
