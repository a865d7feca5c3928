/* SPDX-License-Identifier: Apache-2.0 */
/*
 * proxy_conn.c - the states of one proxied connection.
 *
 * Owns two sockets and three bounded buffers. Decides nothing about where a connection may go:
 * that is the host's business, whose refusal becomes an HTTP answer here.
 *
 * Upwards there is one frame at a time in up[]: it is sent whole before the client is read
 * again. Downwards there is down[], decoded frame by frame: the next is decoded when the client
 * has taken the last. So each side is held up by the other's speed and nothing piles up.
 * A side's end of file becomes END, END becomes shutdown(SHUT_WR); the stream is over when the
 * host acknowledges both ENDs. Descriptors are watched edge-triggered: ready[] remembers what
 * was reported until a call says EAGAIN.
 */
#include "proxy_conn.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bulk_dial.h"
#include "proxy_http.h"
#include "wire.h"

#define DATA_HEAD_BYTES (WIRE_HEADER_BYTES + 4u)
#define UP_BYTES 16384u           /* one frame */
#define DOWN_BYTES (WIRE_HEADER_BYTES + 4u + WIRE_MAX_DATA + 4096u)
#define ANSWER_BYTES 4096u
#define TURN_STEPS 32u            /* steps before others get their turn */
#define HEAD_MS 60000u
#define OPEN_MS 300000u           /* the host has a deadline of its own; this is for a lost host */
#define DRAIN_MS 5000u

enum conn_state {
	CONN_HEAD,    /* reads the request */
	CONN_DIALING, /* the vsock connection is being made */
	CONN_OPENING, /* OPEN is on its way, the answer is awaited */
	CONN_RELAY,
	CONN_ANSWER,  /* an answer of the proxy's own goes to the client */
	CONN_DRAIN,   /* … and what the client still sends is thrown away, so that it reads ours */
	CONN_OVER,
	CONN_STATE_COUNT
};

enum step { STEP_WAIT, STEP_ON };

struct proxy_conn {
	const struct proxy_link *link;
	uint64_t key, deadline_ms, now_ms;
	enum conn_state state;
	int fd[2];
	uint32_t ready[2];          /* EPOLLIN, EPOLLOUT per side */
	struct proxy_http *http;    /* until the relay begins */
	uint8_t *early;             /* goes up first: the rewritten head, and what came behind it */
	size_t early_at, early_bytes;
	int is_connect, client_ended, end_sent, end_received, client_told;
	uint64_t sent_bytes, received_bytes;
	size_t up_at, up_bytes, data_max;
	const uint8_t *out;         /* for the client: in down[], or the answer */
	size_t out_bytes;
	size_t down_at, down_bytes;
	uint8_t up[UP_BYTES];
	uint8_t down[DOWN_BYTES];
};

/* The only place that writes state. */
static enum step set_state(struct proxy_conn *c, enum conn_state state)
{
	static const uint64_t limit_ms[CONN_STATE_COUNT] = {
		[CONN_HEAD] = HEAD_MS, [CONN_DIALING] = OPEN_MS, [CONN_OPENING] = OPEN_MS,
		[CONN_ANSWER] = DRAIN_MS, [CONN_DRAIN] = DRAIN_MS,
	};

	c->state = state;
	c->deadline_ms = limit_ms[state] ? c->now_ms + limit_ms[state] : UINT64_MAX;
	return STEP_ON;
}

static int watch(struct proxy_conn *c, enum proxy_conn_side side)
{
	struct epoll_event ev = { .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
				  .data.u64 = c->key | side };

	return epoll_ctl(c->link->epoll_fd, EPOLL_CTL_ADD, c->fd[side], &ev);
}

struct proxy_conn *proxy_conn_new(const struct proxy_link *link, int client_fd, uint64_t key,
				  uint64_t now_ms)
{
	struct proxy_conn *c = calloc(1, sizeof(*c));
	uint32_t frame = link->send_max_bytes ? link->send_max_bytes : WIRE_SEND_DEFAULT;

	if (!c) {
		close(client_fd);
		return NULL;
	}
	c->link = link;
	c->key = key;
	c->now_ms = now_ms;
	c->fd[PROXY_CONN_CLIENT] = client_fd;
	c->fd[PROXY_CONN_HOST] = -1;
	c->data_max = (frame < UP_BYTES ? frame : UP_BYTES) - DATA_HEAD_BYTES;
	c->http = malloc(sizeof(*c->http));
	if (!c->http || watch(c, PROXY_CONN_CLIENT) < 0) {
		proxy_conn_free(c);
		return NULL;
	}
	proxy_http_init(c->http);
	set_state(c, CONN_HEAD);
	return c;
}

void proxy_conn_free(struct proxy_conn *c)
{
	if (!c)
		return;
	for (int side = 0; side < 2; side++) {
		if (c->fd[side] >= 0)
			close(c->fd[side]);
	}
	free(c->http);
	free(c->early);
	explicit_bzero(c->up, sizeof(c->up));
	free(c);
}

void proxy_conn_on_event(struct proxy_conn *c, enum proxy_conn_side side, uint32_t events)
{
	/* A hang-up or an error is found by reading and writing. */
	if (events & (EPOLLHUP | EPOLLERR | EPOLLRDHUP))
		events |= EPOLLIN;
	if (events & (EPOLLHUP | EPOLLERR))
		events |= EPOLLOUT;
	c->ready[side] |= events & (EPOLLIN | EPOLLOUT);
}

uint64_t proxy_conn_deadline_ms(const struct proxy_conn *c)
{
	return c->deadline_ms;
}

/* recv that keeps ready[] in step. Like recv(2); -1 with EAGAIN also when not ready. */
static ssize_t take(struct proxy_conn *c, enum proxy_conn_side side, void *p, size_t n)
{
	ssize_t got;

	if (!(c->ready[side] & EPOLLIN)) {
		errno = EAGAIN;
		return -1;
	}
	do {
		got = recv(c->fd[side], p, n, 0);
	} while (got < 0 && errno == EINTR);
	if (got < 0 && errno == EAGAIN)
		c->ready[side] &= ~(uint32_t)EPOLLIN;
	return got;
}

static ssize_t give(struct proxy_conn *c, enum proxy_conn_side side, const void *p, size_t n)
{
	ssize_t sent;

	if (!(c->ready[side] & EPOLLOUT)) {
		errno = EAGAIN;
		return -1;
	}
	do {
		sent = send(c->fd[side], p, n, MSG_NOSIGNAL);
	} while (sent < 0 && errno == EINTR);
	if (sent < 0 && errno == EAGAIN)
		c->ready[side] &= ~(uint32_t)EPOLLOUT;
	return sent;
}

/* Answer in HTTP instead of the server, then end. */
static enum step answer(struct proxy_conn *c, int status, const char *sentence, size_t n)
{
	size_t bytes = proxy_http_answer(status, sentence, n, (char *)c->up, ANSWER_BYTES);

	if (c->fd[PROXY_CONN_HOST] >= 0)
		close(c->fd[PROXY_CONN_HOST]);
	c->fd[PROXY_CONN_HOST] = -1;
	c->out = c->up;
	c->out_bytes = bytes;
	return set_state(c, CONN_ANSWER);
}

static enum step answer_text(struct proxy_conn *c, int status, const char *sentence)
{
	return answer(c, status, sentence, strlen(sentence));
}

/* The client is gone or broke off: the host hears of it, unless a frame is half sent. */
static enum step client_broke(struct proxy_conn *c)
{
	struct wire_msg msg = { .type = WIRE_RESET };
	size_t n;

	msg.u.error.code = WIRE_CODE_PEER;
	msg.u.error.message = wire_text("the client in the guest broke the connection");
	if (c->up_at == 0 && wire_encode(&msg, c->up, sizeof(c->up), &n) == WIRE_OK)
		(void)!send(c->fd[PROXY_CONN_HOST], c->up, n, MSG_NOSIGNAL);
	return set_state(c, CONN_OVER);
}

/* The stream broke: the client must not take it for an orderly end. */
static enum step host_broke(struct proxy_conn *c)
{
	struct linger now = { .l_onoff = 1, .l_linger = 0 };

	setsockopt(c->fd[PROXY_CONN_CLIENT], SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	return set_state(c, CONN_OVER);
}

static enum step dial(struct proxy_conn *c)
{
	struct fail f;

	c->fd[PROXY_CONN_HOST] = bulk_dial(c->link->vsock_port, 1, &f);
	if (c->fd[PROXY_CONN_HOST] < 0)
		return answer_text(c, 502, f.text);
	if (watch(c, PROXY_CONN_HOST) < 0)
		return answer_text(c, 503, "the proxy in the guest has no memory left");
	return set_state(c, CONN_DIALING);
}

/* The head is whole: keep what goes to the server first. rest is what came behind it. */
static enum step take_request(struct proxy_conn *c, const uint8_t *rest, size_t rest_bytes)
{
	size_t room = PROXY_HTTP_HEAD_BYTES + PROXY_HTTP_HOST_BYTES + 64, head = 0;

	c->early = malloc(room + rest_bytes);
	if (!c->early)
		return answer_text(c, 503, "the proxy in the guest has no memory left");
	c->is_connect = c->http->is_connect;
	if (!c->is_connect)
		head = proxy_http_rewrite(c->http, (char *)c->early, room);
	if (!c->is_connect && head == 0)
		return answer_text(c, 431, "the request is too long");
	memcpy(c->early + head, rest, rest_bytes);
	c->early_bytes = head + rest_bytes;
	return dial(c);
}

static enum step step_head(struct proxy_conn *c)
{
	ssize_t n = take(c, PROXY_CONN_CLIENT, c->down, UP_BYTES);
	size_t used;

	if (n < 0 && errno == EAGAIN)
		return STEP_WAIT;
	if (n <= 0)
		return set_state(c, CONN_OVER);
	switch (proxy_http_push(c->http, (char *)c->down, (size_t)n, &used)) {
	case PROXY_HTTP_MORE:
		return STEP_ON;
	case PROXY_HTTP_DONE:
		return take_request(c, c->down + used, (size_t)n - used);
	case PROXY_HTTP_TOO_LONG:
		return answer_text(c, 431, "the head of the request is longer than 16 KiB");
	case PROXY_HTTP_NOT_PROXY:
		return answer_text(c, 400, "this is kiln's HTTP proxy, not a web server");
	case PROXY_HTTP_SCHEME:
		return answer_text(c, 501, "kiln's proxy takes http:// addresses and CONNECT");
	case PROXY_HTTP_BAD:
		break;
	}
	return answer_text(c, 400, "kiln's proxy does not understand the request");
}

/* Put one message into up[], which is empty. */
static void queue(struct proxy_conn *c, const struct wire_msg *msg)
{
	c->up_at = 0;
	if (wire_encode(msg, c->up, sizeof(c->up), &c->up_bytes) != WIRE_OK)
		c->up_bytes = 0;
}

static enum step step_dialing(struct proxy_conn *c)
{
	struct wire_msg msg = { .type = WIRE_OPEN };
	socklen_t n = sizeof(int);
	int err = 0;

	if (!(c->ready[PROXY_CONN_HOST] & EPOLLOUT))
		return STEP_WAIT;
	if (getsockopt(c->fd[PROXY_CONN_HOST], SOL_SOCKET, SO_ERROR, &err, &n) < 0 || err)
		return answer_text(c, 502, "the host takes no connection");
	msg.u.open = (struct wire_open){ .magic = WIRE_MAGIC, .version = WIRE_VERSION,
					 .kind = WIRE_KIND_TCP, .port = c->http->port,
					 .secret = { c->link->secret, WIRE_MAX_SECRET },
					 .host = wire_text(c->http->host) };
	queue(c, &msg);
	return set_state(c, CONN_OPENING);
}

/* Send what up[] holds. 1: it is empty now; 0: wait; -1: the stream broke. */
static int flush_up(struct proxy_conn *c)
{
	while (c->up_at < c->up_bytes) {
		ssize_t n = give(c, PROXY_CONN_HOST, c->up + c->up_at, c->up_bytes - c->up_at);

		if (n < 0)
			return errno == EAGAIN ? 0 : -1;
		c->up_at += (size_t)n;
	}
	c->up_at = c->up_bytes = 0;
	return 1;
}

/* The next frame of the host. 1: *msg; 0: wait; -1: the stream broke or is rubbish. */
static int next_frame(struct proxy_conn *c, struct wire_msg *msg)
{
	for (;;) {
		size_t used;
		ssize_t n;
		enum wire_status st = wire_decode(WIRE_FROM_HOST, c->down + c->down_at,
						  c->down_bytes - c->down_at, msg, &used);

		if (st == WIRE_OK) {
			c->down_at += used;
			return 1;
		}
		if (st != WIRE_MORE)
			return -1;
		memmove(c->down, c->down + c->down_at, c->down_bytes - c->down_at);
		c->down_bytes -= c->down_at;
		c->down_at = 0;
		if (used > sizeof(c->down))
			return -1;
		n = take(c, PROXY_CONN_HOST, c->down + c->down_bytes,
			 sizeof(c->down) - c->down_bytes);
		if (n < 0 && errno == EAGAIN)
			return 0;
		if (n <= 0)
			return -1;
		c->down_bytes += (size_t)n;
	}
}

static int status_of(uint16_t code)
{
	switch (code) {
	case WIRE_CODE_POLICY: return 403;
	case WIRE_CODE_LIMIT: return 503;
	default: return 502;
	}
}

static enum step step_opening(struct proxy_conn *c)
{
	static const char established[] = "HTTP/1.1 200 Connection established\r\n\r\n";
	struct wire_msg msg;
	int rc = flush_up(c);

	if (rc > 0)
		rc = next_frame(c, &msg);
	if (rc < 0)
		return answer_text(c, 502, "the host broke the connection off");
	if (rc == 0)
		return STEP_WAIT;
	explicit_bzero(c->up, 256); /* OPEN held the secret */
	if (msg.type == WIRE_REFUSED)
		return answer(c, status_of(msg.u.error.code), (const char *)msg.u.error.message.p,
			      msg.u.error.message.n);
	if (msg.type != WIRE_OPENED)
		return answer_text(c, 502, "the host said something out of place");
	free(c->http);
	c->http = NULL;
	if (c->is_connect) {
		c->out = (const uint8_t *)established;
		c->out_bytes = sizeof(established) - 1;
	}
	return set_state(c, CONN_RELAY);
}

static void queue_end(struct proxy_conn *c)
{
	struct wire_msg msg = { .type = WIRE_END, .u.end = { c->sent_bytes, 0 } };

	c->end_sent = 1;
	queue(c, &msg);
}

/* Fill up[] with the next DATA, or END. STEP_WAIT: the client has nothing. */
static enum step fill_up(struct proxy_conn *c)
{
	struct wire_msg msg = { .type = WIRE_DATA };
	ssize_t n = (ssize_t)(c->early_bytes - c->early_at);

	if (c->end_sent)
		return STEP_WAIT;
	if (c->client_ended && n == 0) {
		queue_end(c);
		return STEP_ON;
	}
	if (n > 0) {
		if ((size_t)n > c->data_max)
			n = (ssize_t)c->data_max;
		memcpy(c->up + DATA_HEAD_BYTES, c->early + c->early_at, (size_t)n);
		c->early_at += (size_t)n;
	} else {
		n = take(c, PROXY_CONN_CLIENT, c->up + DATA_HEAD_BYTES, c->data_max);
		if (n < 0 && errno == EAGAIN)
			return STEP_WAIT;
		if (n < 0)
			return client_broke(c);
		c->client_ended = n == 0;
	}
	if (n == 0)
		return STEP_ON;
	msg.u.data.data = (struct wire_bytes){ c->up + DATA_HEAD_BYTES, (uint32_t)n };
	if (wire_encode_head(&msg, c->up, DATA_HEAD_BYTES, &c->up_bytes) != WIRE_OK)
		return host_broke(c);
	c->up_bytes += (size_t)n;
	c->sent_bytes += (uint64_t)n;
	return STEP_ON;
}

static enum step relay_up(struct proxy_conn *c)
{
	int rc = flush_up(c);

	if (rc < 0)
		return host_broke(c);
	return rc == 0 ? STEP_WAIT : fill_up(c);
}

/* The server sends no more: pass it on. A plain request is over with its answer. */
static void tell_client(struct proxy_conn *c)
{
	c->client_told = 1;
	shutdown(c->fd[PROXY_CONN_CLIENT], SHUT_WR);
	if (!c->is_connect) {
		c->client_ended = 1;
		c->early_at = c->early_bytes;
	}
}

static enum step on_frame(struct proxy_conn *c, const struct wire_msg *msg)
{
	switch (msg->type) {
	case WIRE_DATA:
		if (c->end_received)
			return host_broke(c);
		c->out = msg->u.data.data.p;
		c->out_bytes = msg->u.data.data.n;
		c->received_bytes += c->out_bytes;
		return STEP_ON;
	case WIRE_END: /* its xxh3 is not checked: section 5 leaves it out for tcp */
		if (c->end_received || msg->u.end.total_bytes != c->received_bytes)
			return host_broke(c);
		c->end_received = 1;
		return STEP_ON;
	case WIRE_STREAM_ACK:
		if (!c->end_sent || !c->end_received || !c->client_told)
			return host_broke(c);
		return set_state(c, CONN_OVER);
	default:
		return host_broke(c);
	}
}

static enum step relay_down(struct proxy_conn *c)
{
	struct wire_msg msg;
	int rc;

	if (c->out_bytes > 0) {
		ssize_t n = give(c, PROXY_CONN_CLIENT, c->out, c->out_bytes);

		if (n < 0)
			return errno == EAGAIN ? STEP_WAIT : client_broke(c);
		c->out += n;
		c->out_bytes -= (size_t)n;
		return STEP_ON;
	}
	if (c->end_received && !c->client_told) {
		tell_client(c);
		return STEP_ON;
	}
	rc = next_frame(c, &msg);
	if (rc < 0)
		return host_broke(c);
	return rc == 0 ? STEP_WAIT : on_frame(c, &msg);
}

static enum step step_relay(struct proxy_conn *c)
{
	enum step up = relay_up(c);
	enum step down = c->state == CONN_RELAY ? relay_down(c) : STEP_ON;

	return up == STEP_ON || down == STEP_ON ? STEP_ON : STEP_WAIT;
}

static enum step step_answer(struct proxy_conn *c)
{
	while (c->out_bytes > 0) {
		ssize_t n = give(c, PROXY_CONN_CLIENT, c->out, c->out_bytes);

		if (n < 0)
			return errno == EAGAIN ? STEP_WAIT : set_state(c, CONN_OVER);
		c->out += n;
		c->out_bytes -= (size_t)n;
	}
	shutdown(c->fd[PROXY_CONN_CLIENT], SHUT_WR);
	return set_state(c, CONN_DRAIN);
}

static enum step step_drain(struct proxy_conn *c)
{
	ssize_t n = take(c, PROXY_CONN_CLIENT, c->down, sizeof(c->down));

	if (n < 0 && errno == EAGAIN)
		return STEP_WAIT;
	return n > 0 ? STEP_ON : set_state(c, CONN_OVER);
}

/* The deadline of a state has passed. */
static void on_deadline(struct proxy_conn *c)
{
	if (c->state == CONN_HEAD)
		answer_text(c, 408, "no request came within a minute");
	else if (c->state == CONN_DIALING || c->state == CONN_OPENING)
		answer_text(c, 504, "the host did not answer in time");
	else
		set_state(c, CONN_OVER);
}

enum proxy_conn_result proxy_conn_pump(struct proxy_conn *c, uint64_t now_ms)
{
	static enum step (*const steps[CONN_OVER])(struct proxy_conn *) = {
		[CONN_HEAD] = step_head, [CONN_DIALING] = step_dialing,
		[CONN_OPENING] = step_opening, [CONN_RELAY] = step_relay,
		[CONN_ANSWER] = step_answer, [CONN_DRAIN] = step_drain,
	};

	c->now_ms = now_ms;
	if (now_ms >= c->deadline_ms)
		on_deadline(c);
	for (unsigned i = 0; i < TURN_STEPS; i++) {
		if (c->state == CONN_OVER)
			return PROXY_CONN_OVER;
		if (steps[c->state](c) == STEP_WAIT)
			return PROXY_CONN_WAIT;
	}
	return c->state == CONN_OVER ? PROXY_CONN_OVER : PROXY_CONN_AGAIN;
}
