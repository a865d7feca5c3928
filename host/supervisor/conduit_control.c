/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conduit_control.c - the bound control connection: receive buffer, frames, acknowledgements.
 *
 * Owns c->rx. LOG bytes go from there to the file by writev without a copy, so the log is
 * flushed before the buffer moves. Judging the frames is conduit_session.c's.
 */
#include "conduit_int.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "clock.h"

#define RX_ROOM_MIN   (CONDUIT_RX_BYTES / 2) /* move the rest to the front when less is free */
#define DISK_SLOW_MS  500u  /* a write that took this long makes the disk a slow one … */
#define DISK_SLOW_FOR 16u   /* … for that many writes */

_Static_assert(RX_ROOM_MIN >= WIRE_MAX_GUEST_FRAME, "a whole frame fits behind a partial one");

static void io_send(void *ctx, const struct wire_msg *msg)
{
	struct conduit *c = ctx;

	if (c->control && conn_send_msg(c, c->control, msg) < 0)
		conn_close(c, c->control);
}

static void io_tell(void *ctx, const struct link_msg *msg)
{
	struct conduit *c = ctx;

	send(c->control_fd, msg, sizeof(*msg), MSG_NOSIGNAL);
}

static void io_settle(void *ctx)
{
	link_settle(ctx);
}

struct session_io control_io(struct conduit *c)
{
	return (struct session_io){ .ctx = c, .send = io_send, .tell = io_tell,
				    .settle = io_settle };
}

void control_adopt(struct conduit *c, struct conn *conn, const struct wire_hello *hello)
{
	struct err e;

	if (c->control)
		conn_close(c, c->control);
	c->control = conn;
	c->rx_at = c->rx_end = 0;
	conn->kind = CONN_CONTROL;
	conn_deadline(c, conn, 0);
	conduit_alive(c);
	if (session_welcome(&c->session, hello, c->now_ms, &e) < 0)
		conduit_fail(c, &e);
}

/*
 * Write down what is queued. While the disk is slow, control is told around each write, as its
 * heartbeat clock must not run against the guest meanwhile.
 */
static int write_down(struct conduit *c, struct err *e)
{
	uint64_t began = clock_mono_ms();
	int rc;

	if (c->disk_slow)
		conduit_tell(c, LINK_STALLED, 1, "");
	rc = logfile_flush(&c->log, e);
	c->now_ms = clock_mono_ms();
	if (c->disk_slow) {
		c->disk_slow--;
		conduit_tell(c, LINK_STALLED, 0, "");
	}
	if (c->now_ms - began >= DISK_SLOW_MS)
		c->disk_slow = DISK_SLOW_FOR;
	return rc;
}

int control_sync(struct conduit *c, struct err *e)
{
	int rc;

	conduit_tell(c, LINK_STALLED, 1, "");
	rc = session_sync(&c->session, e);
	conduit_tell(c, LINK_STALLED, 0, "");
	return rc;
}

/* Decode what is there. -1: the session failed; *code is for ERROR. */
static int eat_frames(struct conduit *c, uint16_t *code, struct err *e)
{
	while (c->rx_end > c->rx_at) {
		struct wire_msg msg;
		size_t used;
		enum wire_status st = wire_decode(WIRE_FROM_GUEST, c->rx + c->rx_at,
						  c->rx_end - c->rx_at, &msg, &used);

		*code = WIRE_CODE_PROTOCOL;
		if (st == WIRE_MORE)
			return 0;
		if (st != WIRE_OK) {
			err_set(e, "protocol", "the agent sent %s", wire_strerror(st));
			session_fail(&c->session, LINK_BROKEN, e->text);
			return -1;
		}
		if (session_frame(&c->session, &msg, c->now_ms, e) < 0) {
			if (strcmp(e->code, "protocol") != 0)
				*code = WIRE_CODE_INTERNAL;
			return -1;
		}
		c->rx_at += used;
	}
	return 0;
}

/* The log holds views into rx: they are written before anything there moves. */
static int settle_buffer(struct conduit *c, struct err *e)
{
	if (write_down(c, e) < 0) {
		session_fail(&c->session, LINK_HOST, e->text);
		return -1;
	}
	if (c->rx_at == c->rx_end) {
		c->rx_at = c->rx_end = 0;
	} else if (CONDUIT_RX_BYTES - c->rx_end < RX_ROOM_MIN) {
		memmove(c->rx, c->rx + c->rx_at, c->rx_end - c->rx_at);
		c->rx_end -= c->rx_at;
		c->rx_at = 0;
	}
	return 0;
}

/* One recv and what came with it. Returns 1: more may be there, 0: nothing now, -1: closed. */
static int receive(struct conduit *c)
{
	struct conn *conn = c->control;
	struct err e = { 0 };
	uint16_t code = WIRE_CODE_INTERNAL;
	ssize_t n = recv(conn->fd, c->rx + c->rx_end, CONDUIT_RX_BYTES - c->rx_end, MSG_DONTWAIT);
	int rc, gone;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n <= 0) {
		conn_close(c, conn);
		return -1;
	}
	conduit_alive(c);
	c->rx_end += (size_t)n;
	rc = eat_frames(c, &code, &e);
	gone = c->control != conn; /* an answer could not be sent */
	if (settle_buffer(c, &e) < 0) {
		code = WIRE_CODE_INTERNAL;
		rc = -1;
	}
	if (rc < 0 && c->control) {
		conn_end(c, c->control, WIRE_ERROR, code, e.text);
		return -1;
	}
	session_ack(&c->session, c->now_ms);
	return gone || !c->control ? -1 : 1;
}

void control_on_event(struct conduit *c, uint32_t events)
{
	if (events & EPOLLOUT) {
		if (conn_flush(c->control) < 0) {
			conn_close(c, c->control);
			return;
		}
		if (conn_queued(c->control) == 0)
			conn_interest(c, c->control, EPOLLIN);
	}
	if (events & ~(uint32_t)EPOLLOUT)
		receive(c);
}

void control_drain(struct conduit *c)
{
	while (c->control && receive(c) > 0)
		;
}
