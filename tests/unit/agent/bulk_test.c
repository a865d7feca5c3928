/* SPDX-License-Identifier: Apache-2.0 */
/* bulk_test.c - the agent's end of a bulk stream against a scripted host on a socketpair. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "bulk.h"
#include "wire.h"

#define SEND_MAX 4096u

static const uint8_t secret[WIRE_MAX_SECRET] = "0123456789abcdef0123456789abcdef";

/* The host's side: frames in, frames out. */
struct host {
	int fd;
	size_t n;
	uint8_t buf[1 << 17];
	uint8_t frame[1 << 17]; /* the last one: views of struct wire_msg point here */
};

static void host_send(struct host *h, const struct wire_msg *msg)
{
	static uint8_t out[WIRE_MAX_GUEST_FRAME];
	size_t n;

	assert_int_equal(wire_encode(msg, out, sizeof(out), &n), WIRE_OK);
	assert_int_equal(send(h->fd, out, n, MSG_NOSIGNAL), n);
}

static void host_get(struct host *h, struct wire_msg *msg)
{
	size_t used;
	enum wire_status st;

	while ((st = wire_decode(WIRE_FROM_GUEST, h->buf, h->n, msg, &used)) == WIRE_MORE) {
		ssize_t got = recv(h->fd, h->buf + h->n, sizeof(h->buf) - h->n, 0);

		assert_true(got > 0);
		h->n += (size_t)got;
	}
	assert_int_equal(st, WIRE_OK);
	memcpy(h->frame, h->buf, used);
	assert_int_equal(wire_decode(WIRE_FROM_GUEST, h->frame, used, msg, &used), WIRE_OK);
	memmove(h->buf, h->buf + used, h->n - used);
	h->n -= used;
}

/* sp[1] is given to bulk_open, with the host's answer sent beforehand on sp[0]. */
static struct bulk *open_on(struct host *h, int sp[2], uint8_t kind, uint64_t announced,
			    uint32_t send_max)
{
	struct bulk_want want = { .kind = kind, .secret = secret, .send_max_bytes = send_max };
	struct wire_msg msg = { .type = WIRE_OPENED, .u.opened = { announced } };
	struct bulk *b = NULL;
	struct fail f = { 0 };
	uint64_t total = 0;

	memset(h, 0, sizeof(*h));
	h->fd = sp[0];
	host_send(h, &msg);
	if (bulk_open(sp[1], &want, &b, &total, &f) < 0)
		fail_msg("%s", f.text);
	assert_int_equal(total, announced);
	host_get(h, &msg);
	assert_int_equal(msg.type, WIRE_OPEN);
	assert_int_equal(msg.u.open.kind, kind);
	assert_memory_equal(msg.u.open.secret.p, secret, WIRE_MAX_SECRET);
	return b;
}

static struct bulk *open_pair(struct host *h, uint8_t kind, uint64_t announced)
{
	int sp[2], size = 1 << 20;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, sp), 0);
	setsockopt(sp[1], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	setsockopt(sp[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	return open_on(h, sp, kind, announced, SEND_MAX);
}

/* A TCP connection with a small send buffer: unlike a Unix socket it cuts what is sent. */
static void tcp_pair(int sp[2])
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t n = sizeof(at);
	int listener = socket(AF_INET, SOCK_STREAM, 0), size = 4096;

	assert_int_equal(bind(listener, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(listen(listener, 1), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&at, &n), 0);
	sp[1] = socket(AF_INET, SOCK_STREAM, 0);
	setsockopt(sp[1], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	assert_int_equal(connect(sp[1], (struct sockaddr *)&at, sizeof(at)), 0);
	sp[0] = accept(listener, NULL, NULL);
	assert_true(sp[0] >= 0);
	close(listener);
}

static void test_artifacts(void **state)
{
	static uint8_t data[50000];
	struct host h;
	struct bulk *b = open_pair(&h, WIRE_KIND_ARTIFACTS, 0);
	struct bulk_ack ack;
	struct wire_msg msg;
	struct fail f;
	size_t at = 0;

	(void)state;
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 7 >> 3);
	assert_int_equal(bulk_write(b, data, 1, &f), 0);
	assert_int_equal(bulk_write(b, data + 1, 0, &f), 0);
	assert_int_equal(bulk_write(b, data + 1, sizeof(data) - 1, &f), 0);
	assert_int_equal(bulk_end(b, &f), 0);
	for (host_get(&h, &msg); msg.type == WIRE_DATA; host_get(&h, &msg)) {
		assert_true(WIRE_HEADER_BYTES + 4 + msg.u.data.data.n <= SEND_MAX);
		assert_memory_equal(msg.u.data.data.p, data + at, msg.u.data.data.n);
		at += msg.u.data.data.n;
	}
	assert_int_equal(msg.type, WIRE_END);
	assert_int_equal(at, sizeof(data));
	assert_int_equal(msg.u.end.total_bytes, sizeof(data));
	assert_true(msg.u.end.xxh3 == XXH3_64bits(data, sizeof(data)));
	msg = (struct wire_msg){ .type = WIRE_STREAM_ACK };
	msg.u.stream_ack = (struct wire_stream_ack){ sizeof(data), 3, 1, { secret, 32 } };
	host_send(&h, &msg);
	assert_int_equal(bulk_await_ack(b, &ack, &f), 0);
	assert_int_equal(ack.entries, 3);
	assert_int_equal(ack.refused, 1);
	bulk_free(b);
	close(h.fd);
}

static void test_wrong_acknowledgement(void **state)
{
	struct host h;
	struct bulk *b = open_pair(&h, WIRE_KIND_ARTIFACTS, 0);
	struct wire_msg msg = { .type = WIRE_STREAM_ACK, .u.stream_ack = { .total_bytes = 4 } };
	struct bulk_ack ack;
	struct fail f;

	(void)state;
	assert_int_equal(bulk_write(b, "hello", 5, &f), 0);
	host_send(&h, &msg);
	assert_int_equal(bulk_await_ack(b, &ack, &f), -1);
	assert_string_equal(f.text, "the host acknowledges 4 bytes of a stream of 5");
	bulk_free(b);
	close(h.fd);
}

static void test_refused(void **state)
{
	struct bulk_want want = { .kind = WIRE_KIND_SOURCE, .secret = secret };
	struct wire_msg msg = { .type = WIRE_REFUSED };
	struct host h = { 0 };
	struct bulk *b = NULL;
	struct fail f = { 0 };
	int sp[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, sp), 0);
	h.fd = sp[0];
	msg.u.error = (struct wire_error){ WIRE_CODE_LIMIT, wire_text("one stream a build") };
	host_send(&h, &msg);
	assert_int_equal(bulk_open(sp[1], &want, &b, NULL, &f), -1);
	assert_null(b);
	assert_int_equal(f.class_, WIRE_CLASS_USER);
	assert_string_equal(f.text, "the host refused the stream: one stream a build");
	assert_int_equal(close(sp[1]), -1); /* it was closed */
	close(h.fd);
}

/* The host resets in the middle of the writing: its words are the failure. */
static void test_reset_while_writing(void **state)
{
	static uint8_t data[1 << 20];
	struct host h;
	struct bulk *b = open_pair(&h, WIRE_KIND_ARTIFACTS, 0);
	struct wire_msg msg = { .type = WIRE_RESET };
	struct fail f = { 0 };

	(void)state;
	msg.u.error = (struct wire_error){ WIRE_CODE_LIMIT, wire_text("too many artifacts") };
	host_send(&h, &msg);
	close(h.fd);
	assert_int_equal(bulk_write(b, data, sizeof(data), &f), -1);
	assert_string_equal(f.text, "the host ended the stream: too many artifacts");
	assert_int_equal(f.class_, WIRE_CLASS_USER);
	bulk_free(b);
}

static void test_connection_lost(void **state)
{
	struct host h;
	struct bulk *b = open_pair(&h, WIRE_KIND_ARTIFACTS, 0);
	struct bulk_ack ack;
	struct fail f = { 0 };

	(void)state;
	close(h.fd); /* end of file is never a message */
	assert_int_equal(bulk_await_ack(b, &ack, &f), -1);
	assert_non_null(strstr(f.text, "the stream from the host broke"));
	assert_int_equal(f.class_, WIRE_CLASS_AGENT);
	bulk_free(b);
}

static void send_source(struct host *h, const uint8_t *data, size_t n, size_t part, uint64_t total,
			uint64_t hash)
{
	struct wire_msg msg = { .type = WIRE_DATA };

	for (size_t at = 0; at < n; at += part) {
		size_t bytes = n - at < part ? n - at : part;

		msg.u.data.data = (struct wire_bytes){ data + at, (uint32_t)bytes };
		host_send(h, &msg);
	}
	msg = (struct wire_msg){ .type = WIRE_END, .u.end = { total, hash } };
	host_send(h, &msg);
}

static void test_source(void **state)
{
	static const size_t parts[] = { 1, 1000, WIRE_MAX_DATA };
	static uint8_t data[100000], got[100000];

	(void)state;
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 11 >> 2);
	for (size_t k = 0; k < 3; k++) {
		size_t all = k == 0 ? 200 : sizeof(data), at = 0, n;
		struct host h;
		struct bulk *b = open_pair(&h, WIRE_KIND_SOURCE, all);
		struct wire_msg msg;
		struct fail f = { 0 };
		const uint8_t *p;

		send_source(&h, data, all, parts[k], all, XXH3_64bits(data, all));
		do {
			if (bulk_read(b, &p, &n, &f) < 0)
				fail_msg("%s", f.text);
			memcpy(got + at, p, n);
			at += n;
		} while (n > 0);
		assert_int_equal(at, all);
		assert_memory_equal(got, data, all);
		assert_int_equal(bulk_received_bytes(b), all);
		assert_int_equal(bulk_send_ack(b, 9, 0, &f), 0);
		host_get(&h, &msg);
		assert_int_equal(msg.type, WIRE_STREAM_ACK);
		assert_int_equal(msg.u.stream_ack.total_bytes, all);
		assert_int_equal(msg.u.stream_ack.entries, 9);
		bulk_free(b);
		close(h.fd);
	}
}

/* A wrong count or a wrong digest is answered with RESET code 2. */
static void test_damaged_source(void **state)
{
	(void)state;
	for (int k = 0; k < 2; k++) {
		struct host h;
		struct bulk *b = open_pair(&h, WIRE_KIND_SOURCE, 5);
		uint64_t hash = XXH3_64bits("hello", 5);
		struct wire_msg msg;
		struct fail f = { 0 };
		const uint8_t *p;
		size_t n;

		send_source(&h, (const uint8_t *)"hello", 5, 5, k ? 5 : 6, k ? hash + 1 : hash);
		assert_int_equal(bulk_read(b, &p, &n, &f), 0);
		assert_int_equal(bulk_read(b, &p, &n, &f), -1);
		assert_string_equal(f.text, "the stream from the host arrived damaged");
		host_get(&h, &msg);
		assert_int_equal(msg.type, WIRE_RESET);
		assert_int_equal(msg.u.error.code, WIRE_CODE_PROTOCOL);
		bulk_free(b);
		close(h.fd);
	}
}

static void test_rubbish_and_out_of_place(void **state)
{
	static const uint8_t rubbish[16] = { 0xff, 0xff, 0xff, 0xff, 0x13 };
	struct wire_msg msg = { .type = WIRE_OPENED };

	(void)state;
	for (int k = 0; k < 2; k++) {
		struct host h;
		struct bulk *b = open_pair(&h, WIRE_KIND_SOURCE, 5);
		struct fail f = { 0 };
		const uint8_t *p;
		size_t n;

		if (k == 0)
			assert_int_equal(send(h.fd, rubbish, sizeof(rubbish), 0), sizeof(rubbish));
		else
			host_send(&h, &(struct wire_msg){ .type = WIRE_OPENED });
		assert_int_equal(bulk_read(b, &p, &n, &f), -1);
		assert_int_equal(f.class_, WIRE_CLASS_AGENT);
		host_get(&h, &msg);
		assert_int_equal(msg.type, WIRE_RESET);
		assert_int_equal(msg.u.error.code, WIRE_CODE_PROTOCOL);
		bulk_free(b);
		close(h.fd);
	}
	bulk_free(NULL);
}

static void on_alarm(int signo)
{
	(void)signo;
}

/* A signal every millisecond, without SA_RESTART: blocked sends come back early. */
static void ring(suseconds_t every_us)
{
	struct sigaction sa = { .sa_handler = every_us ? on_alarm : SIG_IGN };
	struct itimerval timer = { { 0, every_us }, { 0, every_us } };

	assert_int_equal(sigaction(SIGALRM, &sa, NULL), 0);
	assert_int_equal(setitimer(ITIMER_REAL, &timer, NULL), 0);
}

/* Sends that are cut anywhere and interrupted: the bytes that arrive are the same. */
static void test_partial_sends(void **state)
{
	static uint8_t data[8 << 20];
	static struct host h;
	struct wire_msg msg;
	struct fail f = { 0 };
	struct bulk *b;
	int status, sp[2];
	pid_t pid;

	(void)state;
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 13 >> 4);
	tcp_pair(sp);
	b = open_on(&h, sp, WIRE_KIND_ARTIFACTS, 0, WIRE_MAX_DATA);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		XXH3_state_t *hash = XXH3_createState();

		bulk_free(b); /* the child is the host */
		XXH3_64bits_reset(hash);
		for (host_get(&h, &msg); msg.type == WIRE_DATA; host_get(&h, &msg))
			XXH3_64bits_update(hash, msg.u.data.data.p, msg.u.data.data.n);
		_exit(msg.type == WIRE_END && msg.u.end.xxh3 == XXH3_64bits_digest(hash) ? 0 : 1);
	}
	ring(1000);
	assert_int_equal(bulk_write(b, data, sizeof(data), &f), 0);
	assert_int_equal(bulk_end(b, &f), 0);
	ring(0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	bulk_free(b);
	close(h.fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_artifacts),
		cmocka_unit_test(test_wrong_acknowledgement),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_reset_while_writing),
		cmocka_unit_test(test_connection_lost),
		cmocka_unit_test(test_source),
		cmocka_unit_test(test_damaged_source),
		cmocka_unit_test(test_rubbish_and_out_of_place),
		cmocka_unit_test(test_partial_sends),
	};

	return cmocka_run_group_tests_name("agent/bulk", tests, NULL, NULL);
}
