/* SPDX-License-Identifier: Apache-2.0 */
/*
 * talk.c - one exchange with a supervisor: its document and its `ok`, or a line to its ctl
 * socket. Owns the socket. The peer is ours but may hang: everything has a deadline.
 */
#include "talk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct talk {
	int fd;
	char *bytes;
	size_t n, off;
	char line[TALK_LINE_MAX + 1];
	size_t len;
	talk_done done;
	void *arg;
	uv_poll_t poll;
	uv_timer_t timer;
	unsigned open; /* handles not yet closed */
};

static void forget_bytes(char *bytes, size_t n)
{
	if (bytes)
		explicit_bzero(bytes, n);
	free(bytes);
}

static void on_closed(uv_handle_t *h)
{
	struct talk *t = h->data;

	if (--t->open == 0)
		free(t);
}

void talk_drop(struct talk *t)
{
	if (!t)
		return;
	forget_bytes(t->bytes, t->n);
	t->bytes = NULL;
	uv_poll_stop(&t->poll);
	uv_close((uv_handle_t *)&t->poll, on_closed);
	uv_close((uv_handle_t *)&t->timer, on_closed);
	close(t->fd);
}

static void finish(struct talk *t, const char *line, const struct err *e)
{
	talk_done done = t->done;
	void *arg = t->arg;
	char copy[TALK_LINE_MAX + 1];

	if (line)
		memcpy(copy, t->line, t->len + 1);
	talk_drop(t);
	done(arg, line ? copy : NULL, e);
}

/* 1: all sent, 0: later, -1: failed. A peer that closed early may still have answered. */
static int push(struct talk *t)
{
	while (t->off < t->n) {
		ssize_t put = send(t->fd, t->bytes + t->off, t->n - t->off, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0)
			return errno == EAGAIN ? 0 : -1;
		t->off += (size_t)put;
	}
	forget_bytes(t->bytes, t->n);
	t->bytes = NULL;
	return 1;
}

/* 1: a whole line, 0: later, -1: closed or failed. */
static int pull(struct talk *t)
{
	for (;;) {
		ssize_t got = recv(t->fd, t->line + t->len, TALK_LINE_MAX - t->len, MSG_DONTWAIT);
		char *end;

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return errno == EAGAIN ? 0 : -1;
		if (got == 0)
			return -1;
		t->len += (size_t)got;
		end = memchr(t->line, '\n', t->len);
		if (end) {
			t->len = (size_t)(end - t->line);
			t->line[t->len] = '\0';
			return 1;
		}
		if (t->len == TALK_LINE_MAX)
			return -1;
	}
}

static void on_ready(uv_poll_t *poll, int status, int events)
{
	struct talk *t = poll->data;
	struct err e = { 0 };
	int got;

	(void)status;
	(void)events;
	if (t->bytes && push(t) != 0)
		uv_poll_start(&t->poll, UV_READABLE, on_ready);
	got = pull(t);
	if (got > 0) {
		finish(t, t->line, NULL);
	} else if (got < 0) {
		err_set(&e, "closed", "the other side closed the connection without an answer");
		finish(t, NULL, &e);
	}
}

static void on_timeout(uv_timer_t *timer)
{
	struct talk *t = timer->data;
	struct err e = { 0 };

	err_set(&e, "timeout", "no answer in time");
	finish(t, NULL, &e);
}

int talk_start(uv_loop_t *loop, int fd, char *bytes, size_t n, uint64_t timeout_ms,
	       talk_done done, void *arg, struct talk **out, struct err *e)
{
	struct talk *t = calloc(1, sizeof(*t));

	if (!t || fcntl(fd, F_SETFL, O_NONBLOCK) < 0) {
		free(t);
		forget_bytes(bytes, n);
		close(fd);
		return err_set(e, "io", "no memory");
	}
	t->fd = fd;
	t->bytes = bytes;
	t->n = n;
	t->done = done;
	t->arg = arg;
	t->open = 2;
	uv_poll_init(loop, &t->poll, fd);
	uv_timer_init(loop, &t->timer);
	t->poll.data = t;
	t->timer.data = t;
	uv_timer_start(&t->timer, on_timeout, timeout_ms, 0);
	uv_poll_start(&t->poll, UV_READABLE | UV_WRITABLE, on_ready);
	if (out)
		*out = t;
	return 0;
}
