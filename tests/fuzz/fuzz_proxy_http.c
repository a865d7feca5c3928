/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_proxy_http.c - a request's head, whole and cut into pieces. What must hold: both ways of
 * feeding it end alike, a host and a port are there when it is taken, and what is written
 * for the server is itself a head with one line end before its end and no hop-by-hop field.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "proxy_http.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static struct proxy_http whole, cut;
static char out[PROXY_HTTP_HEAD_BYTES + PROXY_HTTP_HOST_BYTES + 64];

static void must(int truth)
{
	if (!truth)
		abort();
}

static enum proxy_http_status feed(struct proxy_http *h, const char *p, size_t n, size_t piece,
				   size_t *used)
{
	enum proxy_http_status st = PROXY_HTTP_MORE;

	proxy_http_init(h);
	for (*used = 0; st == PROXY_HTTP_MORE && *used < n;) {
		size_t part = n - *used < piece ? n - *used : piece, taken;

		st = proxy_http_push(h, p + *used, part, &taken);
		must(taken <= part);
		*used += taken;
	}
	return st;
}

static void check_rewrite(const struct proxy_http *h)
{
	size_t n = proxy_http_rewrite(h, out, sizeof(out));

	must(n > 4 && memcmp(out + n - 4, "\r\n\r\n", 4) == 0);
	must(memmem(out, n - 4, "\r\n\r\n", 4) == NULL);
	must(memmem(out, n, "\r\nHost: ", 8) != NULL);
	must(memchr(out, '\0', n) == NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	size_t piece = n > 0 ? 1 + data[0] % 31u : 1, used, used_cut;
	const char *text = (const char *)data + (n > 0);
	enum proxy_http_status st;

	n -= n > 0;
	st = feed(&whole, text, n, n + 1, &used);
	must(feed(&cut, text, n, piece, &used_cut) == st && used == used_cut);
	if (st != PROXY_HTTP_DONE)
		return 0;
	must(whole.host[0] && strlen(whole.host) < sizeof(whole.host) && whole.port > 0);
	must(strcmp(whole.host, cut.host) == 0 && whole.port == cut.port);
	if (!whole.is_connect)
		check_rewrite(&whole);
	return 0;
}
