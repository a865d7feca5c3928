/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conduit_source.c - the source stream: the host's tar to the guest, once.
 *
 * Owns c->source and the position in job->source_fd. Sends one DATA frame at a time and
 * waits for room; what the guest may answer is one STREAM_ACK after END, or RESET.
 */
#include "conduit_int.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define TURN_BYTES (512u * 1024u) /* then others have their turn */

void source_open(struct conduit *c, struct conn *conn)
{
	struct wire_msg msg = { .type = WIRE_OPENED };

	if (c->job->source_fd < 0) {
		conn_end(c, conn, WIRE_REFUSED, WIRE_CODE_POLICY, "this job has no source to send");
		return;
	}
	if (c->source || c->source_served) {
		conn_end(c, conn, WIRE_REFUSED, WIRE_CODE_PROTOCOL, "the source is sent once");
		return;
	}
	msg.u.opened.total_bytes = c->job->source_bytes;
	if (conn_send_msg(c, conn, &msg) < 0) {
		conn_close(c, conn);
		return;
	}
	conn->kind = CONN_SOURCE;
	conn->source_at = 0;
	conn->source_end = 0;
	c->source = conn;
	stream_sum_init(&c->source_sum);
	conn_deadline(c, conn, CONDUIT_IDLE_MS);
	conn_interest(c, conn, EPOLLIN | EPOLLOUT);
}

static int send_end(struct conduit *c, struct conn *conn)
{
	struct wire_msg msg = { .type = WIRE_END };

	msg.u.end.total_bytes = c->source_sum.bytes;
	msg.u.end.xxh3 = XXH3_64bits_digest(&c->source_sum.xxh3);
	conn->source_end = 1;
	return conn_send_msg(c, conn, &msg);
}

/* One DATA frame or END. -1: the connection was closed. */
static int send_next(struct conduit *c, struct conn *conn)
{
	uint64_t left = c->job->source_bytes - conn->source_at;
	size_t want = left < WIRE_MAX_DATA ? (size_t)left : WIRE_MAX_DATA;
	uint8_t *data = c->scratch + STREAM_DATA_HEAD;
	ssize_t n = want ? pread(c->job->source_fd, data, want, (off_t)conn->source_at) : 0;
	struct err e;
	int rc;

	if (n < 0 || (want && n == 0)) {
		err_set(&e, "io", "cannot read the source: %s",
			n < 0 ? strerror(errno) : "it is shorter than it was");
		conn_end(c, conn, WIRE_RESET, WIRE_CODE_INTERNAL, "the host cannot read the source");
		conduit_fail(c, &e);
		return -1;
	}
	if (want == 0) {
		rc = send_end(c, conn);
	} else {
		stream_data_head(c->scratch, (uint32_t)n);
		stream_sum_add(&c->source_sum, data, (size_t)n);
		conn->source_at += (uint64_t)n;
		rc = conn_send(c, conn, c->scratch, STREAM_DATA_HEAD + (size_t)n);
	}
	if (rc < 0)
		conn_close(c, conn);
	return rc;
}

static void on_writable(struct conduit *c, struct conn *conn)
{
	uint64_t until = conn->source_at + TURN_BYTES;

	if (conn_flush(conn) < 0) {
		conn_close(c, conn);
		return;
	}
	conn_deadline(c, conn, CONDUIT_IDLE_MS);
	while (conn_queued(conn) == 0 && !conn->source_end && conn->source_at < until)
		if (send_next(c, conn) < 0)
			return;
	if (conn_queued(conn) == 0 && conn->source_end)
		conn_interest(c, conn, EPOLLIN);
}

/* The guest's only words here. */
static void on_message(struct conduit *c, struct conn *conn, const struct wire_msg *msg)
{
	const struct wire_stream_ack *ack = &msg->u.stream_ack;

	if (msg->type == WIRE_STREAM_ACK && conn->source_end &&
	    ack->total_bytes == c->source_sum.bytes) {
		c->source_served = 1;
		conn_close(c, conn);
	} else if (msg->type == WIRE_RESET) {
		conn_close(c, conn);
	} else {
		conn_end(c, conn, WIRE_RESET, WIRE_CODE_PROTOCOL,
			 "the guest answers a source with one STREAM_ACK of its size");
	}
}

static void on_readable(struct conduit *c, struct conn *conn)
{
	uint8_t buf[STREAM_HEAD_MAX];
	struct stream_out out;
	size_t used;
	ssize_t n = recv(conn->fd, buf, stream_want(&conn->in), MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		conn_close(c, conn);
		return;
	}
	conduit_alive(c);
	switch (stream_next(&conn->in, buf, (size_t)n, &used, &out)) {
	case STREAM_MORE:
		break;
	case STREAM_MSG:
		on_message(c, conn, &out.msg);
		break;
	default:
		conn_end(c, conn, WIRE_RESET, WIRE_CODE_PROTOCOL, "rubbish on the source stream");
		break;
	}
}

void source_on_event(struct conduit *c, struct conn *conn, uint32_t events)
{
	uint32_t gen = conn->gen;

	if (events & EPOLLOUT)
		on_writable(c, conn);
	if (conn->gen == gen && conn->kind == CONN_SOURCE && (events & ~(uint32_t)EPOLLOUT))
		on_readable(c, conn);
}
