/* SPDX-License-Identifier: Apache-2.0 */
/*
 * proxy_conn_test.c - one proxied connection between a scripted client and a scripted host.
 *
 * bulk_dial() is this file's: it hands out one end of a socketpair, the test holds the other.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "bulk_dial.h"
#include "proxy_conn.h"
#include "wire.h"

static const uint8_t secret[WIRE_MAX_SECRET] = "0123456789abcdef0123456789abcdef";
static int dialed_fd; /* what bulk_dial gives out; -1: it fails */

struct rig {
	struct proxy_link link;
	struct proxy_conn *conn;
	int client, host; /* the test's ends */
	uint64_t now_ms;
	int over;
	size_t n;
	uint8_t buf[1 << 18], frame[1 << 17];
};

int bulk_dial(uint32_t port, int nonblock, struct fail *f)
{
	int fd = dialed_fd;

	assert_int_equal(port, 77);
	assert_int_equal(nonblock, 1);
	dialed_fd = -1;
	return fd >= 0 ? fd : fail_set(f, WIRE_CLASS_AGENT, "cannot connect to the host");
}

static void pair(int *mine, int *theirs)
{
	int sp[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, sp), 0);
	*mine = sp[0];
	*theirs = sp[1];
}

static int setup(void **state)
{
	struct rig *r = calloc(1, sizeof(*r));
	int theirs;

	r->now_ms = 1000;
	r->link = (struct proxy_link){ .secret = secret, .send_max_bytes = 4096, .vsock_port = 77,
				       .epoll_fd = epoll_create1(0) };
	pair(&r->host, &dialed_fd);
	pair(&r->client, &theirs);
	r->conn = proxy_conn_new(&r->link, theirs, 0x550000, r->now_ms);
	assert_non_null(r->conn);
	*state = r;
	return 0;
}

static int teardown(void **state)
{
	struct rig *r = *state;

	proxy_conn_free(r->conn);
	if (r->client >= 0)
		close(r->client);
	if (r->host >= 0)
		close(r->host);
	if (dialed_fd >= 0)
		close(dialed_fd);
	close(r->link.epoll_fd);
	free(r);
	return 0;
}

/* Run the connection until it waits for somebody. */
static void settle(struct rig *r)
{
	struct epoll_event ev[4];
	int n, more = 1;

	while (!r->over && more) {
		enum proxy_conn_result res = PROXY_CONN_WAIT;

		n = epoll_wait(r->link.epoll_fd, ev, 4, 0);
		for (int i = 0; i < n; i++) {
			assert_int_equal(ev[i].data.u64 & ~1ull, 0x550000);
			proxy_conn_on_event(r->conn, (enum proxy_conn_side)(ev[i].data.u64 & 1),
					    ev[i].events);
		}
		res = proxy_conn_pump(r->conn, r->now_ms);
		r->over = res == PROXY_CONN_OVER;
		more = n > 0 || res == PROXY_CONN_AGAIN;
	}
	if (r->over) {
		proxy_conn_free(r->conn);
		r->conn = NULL;
	}
}

static void client_says(struct rig *r, const char *text)
{
	assert_int_equal(send(r->client, text, strlen(text), MSG_NOSIGNAL), strlen(text));
	settle(r);
}

static void host_says(struct rig *r, const struct wire_msg *msg)
{
	static uint8_t out[WIRE_MAX_GUEST_FRAME];
	size_t n;

	assert_int_equal(wire_encode(msg, out, sizeof(out), &n), WIRE_OK);
	assert_int_equal(send(r->host, out, n, MSG_NOSIGNAL), n);
	settle(r);
}

static void host_data(struct rig *r, const char *text)
{
	host_says(r, &(struct wire_msg){ .type = WIRE_DATA,
					 .u.data.data = wire_text(text) });
}

/* The next frame that the guest sent; type 0 when there is none. */
static struct wire_msg host_hears(struct rig *r)
{
	struct wire_msg msg = { 0 };
	size_t used;
	ssize_t got = recv(r->host, r->buf + r->n, sizeof(r->buf) - r->n, MSG_DONTWAIT);

	r->n += got > 0 ? (size_t)got : 0;
	if (wire_decode(WIRE_FROM_GUEST, r->buf, r->n, &msg, &used) != WIRE_OK)
		return (struct wire_msg){ 0 };
	memcpy(r->frame, r->buf, used);
	assert_int_equal(wire_decode(WIRE_FROM_GUEST, r->frame, used, &msg, &used), WIRE_OK);
	memmove(r->buf, r->buf + used, r->n - used);
	r->n -= used;
	return msg;
}

static const char *client_hears(struct rig *r)
{
	static char text[1 << 17];
	ssize_t n = recv(r->client, text, sizeof(text) - 1, MSG_DONTWAIT);

	text[n > 0 ? n : 0] = '\0';
	return n == 0 ? NULL : text;
}

static void open_stream(struct rig *r, const char *request, const char *host, unsigned port)
{
	struct wire_msg msg;

	client_says(r, request);
	msg = host_hears(r);
	assert_int_equal(msg.type, WIRE_OPEN);
	assert_int_equal(msg.u.open.kind, WIRE_KIND_TCP);
	assert_int_equal(msg.u.open.port, port);
	assert_memory_equal(msg.u.open.secret.p, secret, sizeof(secret));
	assert_int_equal(msg.u.open.host.n, strlen(host));
	assert_memory_equal(msg.u.open.host.p, host, strlen(host));
	host_says(r, &(struct wire_msg){ .type = WIRE_OPENED });
}

static void host_gets_data(struct rig *r, const char *text)
{
	struct wire_msg msg = host_hears(r);

	assert_int_equal(msg.type, WIRE_DATA);
	assert_int_equal(msg.u.data.data.n, strlen(text));
	assert_memory_equal(msg.u.data.data.p, text, strlen(text));
}

static void host_gets_end(struct rig *r, uint64_t total)
{
	struct wire_msg msg = host_hears(r);

	assert_int_equal(msg.type, WIRE_END);
	assert_int_equal(msg.u.end.total_bytes, total);
}

static void test_tunnel_both_ends_close(void **state)
{
	struct rig *r = *state;

	open_stream(r, "CONNECT example.org:443 HTTP/1.1\r\nHost: x\r\n\r\nearly", "example.org", 443);
	assert_string_equal(client_hears(r), "HTTP/1.1 200 Connection established\r\n\r\n");
	host_gets_data(r, "early");
	client_says(r, "ping");
	host_gets_data(r, "ping");
	host_data(r, "pong");
	assert_string_equal(client_hears(r), "pong");
	shutdown(r->client, SHUT_WR); /* half-close: the other direction goes on */
	settle(r);
	host_gets_end(r, 9);
	host_data(r, "late");
	assert_string_equal(client_hears(r), "late");
	host_says(r, &(struct wire_msg){ .type = WIRE_END, .u.end = { 8, 0 } });
	assert_null(client_hears(r)); /* end of file */
	assert_false(r->over);
	host_says(r, &(struct wire_msg){ .type = WIRE_STREAM_ACK, .u.stream_ack = { .total_bytes = 9 } });
	assert_true(r->over);
}

static void test_server_ends_first(void **state)
{
	struct rig *r = *state;

	open_stream(r, "CONNECT [::1]:22 HTTP/1.1\r\n\r\n", "::1", 22);
	client_hears(r);
	host_says(r, &(struct wire_msg){ .type = WIRE_END, .u.end = { 0, 0 } });
	assert_null(client_hears(r));
	assert_int_equal(host_hears(r).type, 0); /* the client may still talk */
	client_says(r, "bye");
	host_gets_data(r, "bye");
	shutdown(r->client, SHUT_WR);
	settle(r);
	host_gets_end(r, 3);
}

static void test_plain_request(void **state)
{
	struct rig *r = *state;

	open_stream(r, "POST http://a.example:81/p HTTP/1.1\r\nHost: b\r\nContent-Length: 4\r\n\r\nbody",
		    "a.example", 81);
	assert_string_equal(client_hears(r), "");
	host_gets_data(r, "POST /p HTTP/1.1\r\nHost: a.example:81\r\nContent-Length: 4\r\n"
			  "Connection: close\r\n\r\nbody");
	host_data(r, "HTTP/1.1 200 OK\r\n\r\nhi");
	assert_string_equal(client_hears(r), "HTTP/1.1 200 OK\r\n\r\nhi");
	/* The answer ends the exchange, though the client would keep the connection. */
	host_says(r, &(struct wire_msg){ .type = WIRE_END, .u.end = { 21, 0 } });
	assert_null(client_hears(r));
	assert_int_equal(host_hears(r).type, WIRE_END);
	host_says(r, &(struct wire_msg){ .type = WIRE_STREAM_ACK });
	assert_true(r->over);
}

static void test_refusals(void **state)
{
	static const struct { uint16_t code; const char *line; } table[] = {
		{ WIRE_CODE_POLICY, "HTTP/1.1 403 Forbidden\r\n" },
		{ WIRE_CODE_LIMIT, "HTTP/1.1 503 Service Unavailable\r\n" },
		{ WIRE_CODE_RESOLVE, "HTTP/1.1 502 Bad Gateway\r\n" },
		{ WIRE_CODE_CONNECT, "HTTP/1.1 502 Bad Gateway\r\n" },
	};
	(void)state;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		void *s;
		struct rig *r;
		struct wire_msg msg = { .type = WIRE_REFUSED };
		const char *said;

		setup(&s);
		r = s;
		client_says(r, "CONNECT example.org:443 HTTP/1.1\r\n\r\n");
		msg.u.error = (struct wire_error){ table[i].code, wire_text("egress refused: because") };
		host_says(r, &msg);
		said = client_hears(r);
		assert_memory_equal(said, table[i].line, strlen(table[i].line));
		assert_non_null(strstr(said, "\r\nX-Kiln-Refused: egress refused: because\r\n"));
		assert_non_null(strstr(said, "\r\n\r\negress refused: because\n"));
		assert_null(client_hears(r));
		close(r->client); /* it drains until the client is gone */
		r->client = -1;
		settle(r);
		assert_true(r->over);
		teardown(&s);
	}
}

static void test_bad_requests_reach_no_host(void **state)
{
	struct rig *r = *state;

	client_says(r, "GET / HTTP/1.1\r\n\r\n");
	assert_memory_equal(client_hears(r), "HTTP/1.1 400 ", 13);
	assert_int_equal(host_hears(r).type, 0);
	assert_true(dialed_fd >= 0); /* never dialled */
	/* What the client still sends is thrown away, but not for ever. */
	client_says(r, "more");
	assert_false(r->over);
	assert_int_equal(proxy_conn_deadline_ms(r->conn), r->now_ms + 5000);
	r->now_ms += 5000;
	settle(r);
	assert_true(r->over);
}

static void test_no_host(void **state)
{
	struct rig *r = *state;

	close(dialed_fd);
	dialed_fd = -1;
	client_says(r, "CONNECT a:1 HTTP/1.1\r\n\r\n");
	assert_memory_equal(client_hears(r), "HTTP/1.1 502 ", 13);
}

static void test_host_lost_before_the_answer(void **state)
{
	struct rig *r = *state;

	client_says(r, "CONNECT a:1 HTTP/1.1\r\n\r\n");
	assert_int_equal(host_hears(r).type, WIRE_OPEN);
	close(r->host);
	r->host = -1;
	settle(r);
	assert_memory_equal(client_hears(r), "HTTP/1.1 502 ", 13);
}

static void test_deadlines(void **state)
{
	struct rig *r = *state;

	assert_int_equal(proxy_conn_deadline_ms(r->conn), r->now_ms + 60000);
	client_says(r, "CONNECT a:1 HTTP/1.1\r\n");
	r->now_ms += 59999;
	settle(r);
	assert_string_equal(client_hears(r), "");
	r->now_ms += 1;
	settle(r);
	assert_memory_equal(client_hears(r), "HTTP/1.1 408 ", 13);
}

static void test_client_breaks_off(void **state)
{
	struct rig *r = *state;
	struct wire_msg msg;

	open_stream(r, "CONNECT a:1 HTTP/1.1\r\n\r\n", "a", 1);
	client_hears(r);
	close(r->client); /* gone: what the server sends can't be delivered */
	r->client = -1;
	settle(r);
	host_gets_end(r, 0);
	host_data(r, "x");
	msg = host_hears(r);
	assert_int_equal(msg.type, WIRE_RESET);
	assert_int_equal(msg.u.error.code, WIRE_CODE_PEER);
	assert_true(r->over);
}

static void test_host_breaks_the_rules(void **state)
{
	static const struct wire_msg bad[] = {
		{ .type = WIRE_END, .u.end = { 5, 0 } }, /* a wrong count */
		{ .type = WIRE_STREAM_ACK },
		{ .type = WIRE_OPENED },
		{ .type = WIRE_RESET, .u.error = { .code = WIRE_CODE_PEER } },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		void *s;
		struct rig *r;

		setup(&s);
		r = s;
		open_stream(r, "CONNECT a:1 HTTP/1.1\r\n\r\n", "a", 1);
		client_hears(r);
		host_says(r, &bad[i]);
		assert_true(r->over);
		teardown(&s);
	}
}

/* Neither side piles up: a client that does not read stops the reading of the stream. */
static void test_back_pressure_and_bulk(void **state)
{
	struct rig *r = *state;
	static uint8_t data[WIRE_MAX_DATA];
	struct wire_msg msg = { .type = WIRE_DATA, .u.data.data = { data, sizeof(data) } };
	static uint8_t out[WIRE_MAX_GUEST_FRAME];
	size_t n, sent = 0, got = 0, frames = 0;

	open_stream(r, "CONNECT a:1 HTTP/1.1\r\n\r\n", "a", 1);
	client_hears(r);
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 7 >> 3);
	assert_int_equal(wire_encode(&msg, out, sizeof(out), &n), WIRE_OK);
	for (size_t at = 0;;) { /* until both sockets and the buffer are full */
		ssize_t w = send(r->host, out + at, n - at, MSG_NOSIGNAL);

		settle(r);
		if (w < 0)
			break;
		at += (size_t)w;
		sent += (size_t)w;
		frames += at == n;
		at = at == n ? 0 : at;
		assert_true(sent < 4u << 20);
	}
	assert_true(frames > 1);
	for (;;) {
		static uint8_t in[65536];
		ssize_t k = recv(r->client, in, sizeof(in), MSG_DONTWAIT);

		if (k <= 0)
			break;
		for (ssize_t i = 0; i < k; i++, got++)
			assert_int_equal(in[i], data[got % sizeof(data)]);
		settle(r);
	}
	assert_true(got >= frames * sizeof(data));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_tunnel_both_ends_close, setup, teardown),
		cmocka_unit_test_setup_teardown(test_server_ends_first, setup, teardown),
		cmocka_unit_test_setup_teardown(test_plain_request, setup, teardown),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test_setup_teardown(test_bad_requests_reach_no_host, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_host, setup, teardown),
		cmocka_unit_test_setup_teardown(test_host_lost_before_the_answer, setup, teardown),
		cmocka_unit_test_setup_teardown(test_deadlines, setup, teardown),
		cmocka_unit_test_setup_teardown(test_client_breaks_off, setup, teardown),
		cmocka_unit_test(test_host_breaks_the_rules),
		cmocka_unit_test_setup_teardown(test_back_pressure_and_bulk, setup, teardown),
	};

	return cmocka_run_group_tests_name("agent/proxy_conn", tests, NULL, NULL);
}
