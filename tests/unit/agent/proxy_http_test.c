/* SPDX-License-Identifier: Apache-2.0 */
/* proxy_http_test.c - heads of requests: what is taken, what is refused, what goes on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "proxy_http.h"

#define END "\r\n\r\n"

struct row {
	const char *head;
	enum proxy_http_status status;
	const char *host;
	unsigned port;
	int is_connect;
};

static const struct row rows[] = {
	{ "CONNECT example.org:443 HTTP/1.1" END, PROXY_HTTP_DONE, "example.org", 443, 1 },
	{ "CONNECT [::1]:443 HTTP/1.1" END, PROXY_HTTP_DONE, "::1", 443, 1 },
	{ "CONNECT example.org HTTP/1.1" END, PROXY_HTTP_BAD, NULL, 0, 0 },
	{ "CONNECT example.org:0 HTTP/1.1" END, PROXY_HTTP_BAD, NULL, 0, 0 },
	{ "CONNECT example.org:65536 HTTP/1.1" END, PROXY_HTTP_BAD, NULL, 0, 0 },
	{ "CONNECT example.org:4 4 HTTP/1.1" END, PROXY_HTTP_BAD, NULL, 0, 0 },
	{ "CONNECT example.org:443x HTTP/1.1" END, PROXY_HTTP_BAD, NULL, 0, 0 },
	{ "CONNECT [::1:443 HTTP/1.1" END, PROXY_HTTP_BAD, NULL, 0, 0 },
	{ "CONNECT u@example.org:443 HTTP/1.1" END, PROXY_HTTP_BAD, NULL, 0, 0 },
	{ "GET http://example.org/a?b=c HTTP/1.1" END, PROXY_HTTP_DONE, "example.org", 80, 0 },
	{ "GET HTTP://example.org HTTP/1.0" END, PROXY_HTTP_DONE, "example.org", 80, 0 },
	{ "GET http://example.org:8080/ HTTP/1.1\r\nX: y" END, PROXY_HTTP_DONE, "example.org", 8080, 0 },
	{ "GET http://[fe80::1]:81/ HTTP/1.1" END, PROXY_HTTP_DONE, "fe80::1", 81, 0 },
	{ "\r\nGET http://a/ HTTP/1.1" END, PROXY_HTTP_DONE, "a", 80, 0 },
	{ "GET http://user:pw@example.org/ HTTP/1.1" END, PROXY_HTTP_BAD, NULL, 0, 0 },
	{ "GET http:///x HTTP/1.1" END, PROXY_HTTP_BAD, NULL, 0, 0 },
	{ "GET https://example.org/ HTTP/1.1" END, PROXY_HTTP_SCHEME, NULL, 0, 0 },
	{ "GET / HTTP/1.1" END, PROXY_HTTP_NOT_PROXY, NULL, 0, 0 },
	{ "OPTIONS * HTTP/1.1" END, PROXY_HTTP_NOT_PROXY, NULL, 0, 0 },
	{ "GET example.org HTTP/1.1" END, PROXY_HTTP_BAD, NULL, 0, 0 },
	{ "GET http://a/ HTTP/2.0" END, PROXY_HTTP_BAD, NULL, 0, 0 },
	{ "GET http://a/ b HTTP/1.1" END, PROXY_HTTP_BAD, NULL, 0, 0 },
	{ "G@T http://a/ HTTP/1.1" END, PROXY_HTTP_BAD, NULL, 0, 0 },
	{ "GET" END, PROXY_HTTP_BAD, NULL, 0, 0 },
	{ "GET http://a/ HTTP/1.1\r\n folded: x" END, PROXY_HTTP_BAD, NULL, 0, 0 },
	{ "GET http://a/ HTTP/1.1\r\nname : x" END, PROXY_HTTP_BAD, NULL, 0, 0 },
	{ "GET http://a/ HTTP/1.1\r\nname" END, PROXY_HTTP_BAD, NULL, 0, 0 },
	{ "GET http://a/ HTTP/1.1\r\nname: \x01" END, PROXY_HTTP_BAD, NULL, 0, 0 },
	{ "GET http://a/ HTTP/1.1\n\n", PROXY_HTTP_BAD, NULL, 0, 0 },
	{ "GET http://a/ HTTP/1.1\r\nx: y\rz: w" END, PROXY_HTTP_BAD, NULL, 0, 0 },
	{ "\x16\x03\x01 hello", PROXY_HTTP_MORE, NULL, 0, 0 },
};

/* Push in pieces of the given size; used gets the bytes of the head. */
static enum proxy_http_status push_pieces(struct proxy_http *h, const char *p, size_t n, size_t piece,
					  size_t *used)
{
	enum proxy_http_status st = PROXY_HTTP_MORE;

	proxy_http_init(h);
	*used = 0;
	while (st == PROXY_HTTP_MORE && *used < n) {
		size_t part = n - *used < piece ? n - *used : piece, taken;

		st = proxy_http_push(h, p + *used, part, &taken);
		assert_true(taken <= part && (taken == part || st != PROXY_HTTP_MORE));
		*used += taken;
	}
	return st;
}

static void test_rows_cut_anywhere(void **state)
{
	static struct proxy_http h;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char text[512];
		int n = snprintf(text, sizeof(text), "%sBODY", rows[i].head);

		for (size_t piece = 1; piece <= (size_t)n; piece++) {
			size_t used;
			enum proxy_http_status st = push_pieces(&h, text, (size_t)n, piece, &used);

			if (st != rows[i].status)
				fail_msg("row %zu in pieces of %zu: %d, expected %d", i, piece, st,
					 rows[i].status);
			if (st != PROXY_HTTP_DONE)
				continue;
			assert_string_equal(h.host, rows[i].host);
			assert_int_equal(h.port, rows[i].port);
			assert_int_equal(h.is_connect, rows[i].is_connect);
			assert_string_equal(text + used, "BODY");
		}
	}
}

static void test_rewrite(void **state)
{
	static struct proxy_http h;
	static const char request[] =
		"POST http://Example.org:8080/a/b?c#frag HTTP/1.1\r\n"
		"Host: other.example\r\n"
		"Proxy-Connection: keep-alive\r\n"
		"connection: close, X-Hop ,content-length\r\n"
		"X-Hop: secret\r\n"
		"X-Hopper: stays\r\n"
		"Proxy-Authorization: Basic eDp5\r\n"
		"Keep-Alive: 5\r\n"
		"TE: trailers\r\n"
		"Upgrade: h2c\r\n"
		"Content-Length: 3\r\n"
		"Transfer-Encoding: chunked\r\n"
		"Authorization: Basic eDp5\r\n\r\n";
	char out[2048];
	size_t used, n;

	(void)state;
	assert_int_equal(push_pieces(&h, request, sizeof(request) - 1, 7, &used), PROXY_HTTP_DONE);
	n = proxy_http_rewrite(&h, out, sizeof(out) - 1);
	out[n] = '\0';
	assert_string_equal(out, "POST /a/b?c HTTP/1.1\r\n"
				 "Host: Example.org:8080\r\n"
				 "X-Hopper: stays\r\n"
				 "Content-Length: 3\r\n"
				 "Transfer-Encoding: chunked\r\n"
				 "Authorization: Basic eDp5\r\n"
				 "Connection: close\r\n\r\n");
	for (size_t cap = 0; cap < n; cap++)
		assert_int_equal(proxy_http_rewrite(&h, out, cap), 0);
}

static void test_rewrite_of_targets(void **state)
{
	static const struct { const char *target, *line; } table[] = {
		{ "GET http://a HTTP/1.1", "GET / HTTP/1.1\r\nHost: a\r\n" },
		{ "GET http://a:80?q HTTP/1.0", "GET /?q HTTP/1.0\r\nHost: a\r\n" },
		{ "OPTIONS http://a HTTP/1.1", "OPTIONS * HTTP/1.1\r\nHost: a\r\n" },
		{ "GET http://[::1]:8/ HTTP/1.1", "GET / HTTP/1.1\r\nHost: [::1]:8\r\n" },
	};
	static struct proxy_http h;

	(void)state;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		char in[128], out[256], expected[256];
		size_t used, n;

		snprintf(in, sizeof(in), "%s" END, table[i].target);
		snprintf(expected, sizeof(expected), "%sConnection: close\r\n\r\n", table[i].line);
		assert_int_equal(push_pieces(&h, in, strlen(in), 999, &used), PROXY_HTTP_DONE);
		n = proxy_http_rewrite(&h, out, sizeof(out) - 1);
		out[n] = '\0';
		assert_string_equal(out, expected);
	}
}

static void test_caps(void **state)
{
	static struct proxy_http h;
	static char big[2 * PROXY_HTTP_HEAD_BYTES];
	char host[600];
	size_t used;

	(void)state;
	memset(big, 'a', sizeof(big));
	assert_int_equal(push_pieces(&h, big, sizeof(big), 1000, &used), PROXY_HTTP_TOO_LONG);
	/* The longest host there is, and one more. */
	for (size_t n = 255; n <= 256; n++) {
		snprintf(host, sizeof(host), "CONNECT %.*s:443 HTTP/1.1" END, (int)n, big);
		assert_int_equal(push_pieces(&h, host, strlen(host), 999, &used),
				 n == 255 ? PROXY_HTTP_DONE : PROXY_HTTP_BAD);
	}
	/* A head of exactly the cap fits, and its rewriting too. */
	snprintf(big, sizeof(big), "GET http://a/ HTTP/1.1\r\nx: ");
	memset(big + strlen(big), 'y', PROXY_HTTP_HEAD_BYTES);
	memcpy(big + PROXY_HTTP_HEAD_BYTES - 4, END, 4);
	assert_int_equal(push_pieces(&h, big, PROXY_HTTP_HEAD_BYTES, 4096, &used), PROXY_HTTP_DONE);
	static char out[PROXY_HTTP_HEAD_BYTES + PROXY_HTTP_HOST_BYTES + 64];
	assert_true(proxy_http_rewrite(&h, out, sizeof(out)) > PROXY_HTTP_HEAD_BYTES);
}

static void test_answer(void **state)
{
	char out[4096], small[16], sentence[1024];
	size_t n = proxy_http_answer(403, "no\r\nSet-Cookie: x", 17, out, sizeof(out) - 1);

	(void)state;
	out[n] = '\0';
	assert_string_equal(out, "HTTP/1.1 403 Forbidden\r\n"
				 "X-Kiln-Refused: no  Set-Cookie: x\r\n"
				 "Content-Type: text/plain; charset=utf-8\r\n"
				 "Content-Length: 18\r\nConnection: close\r\n\r\n"
				 "no\r\nSet-Cookie: x\n");
	assert_int_equal(proxy_http_answer(403, "x", 1, small, sizeof(small)), 0);
	memset(sentence, 'x', sizeof(sentence));
	assert_true(proxy_http_answer(502, sentence, sizeof(sentence), out, sizeof(out)) > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows_cut_anywhere),
		cmocka_unit_test(test_rewrite),
		cmocka_unit_test(test_rewrite_of_targets),
		cmocka_unit_test(test_caps),
		cmocka_unit_test(test_answer),
	};

	return cmocka_run_group_tests_name("agent/proxy_http", tests, NULL, NULL);
}
