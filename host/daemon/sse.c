/* SPDX-License-Identifier: Apache-2.0 */
/* sse.c - log bytes as server-sent events. Pure: bytes in, text out. Owns nothing. */
#include "sse.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEAD_MAX 64

/*
 * Length of the UTF-8 character at p (of n bytes): 1..4; 0 when it is not one; -1 when it may
 * become one with more bytes (RFC 3629, section 4: the table of well-formed sequences).
 */
static int utf8_at(const unsigned char *p, size_t n)
{
	unsigned lo = 0x80, hi = 0xbf;
	size_t need;

	if (p[0] < 0x80)
		return 1;
	if (p[0] < 0xc2 || p[0] > 0xf4)
		return 0;
	need = p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
	lo = p[0] == 0xe0 ? 0xa0 : p[0] == 0xf0 ? 0x90 : 0x80;
	hi = p[0] == 0xed ? 0x9f : p[0] == 0xf4 ? 0x8f : 0xbf;
	for (size_t i = 1; i < need; i++, lo = 0x80, hi = 0xbf) {
		if (i == n)
			return -1;
		if (p[i] < lo || p[i] > hi)
			return 0;
	}
	return (int)need;
}

size_t sse_whole(const char *bytes, size_t n)
{
	const unsigned char *p = (const unsigned char *)bytes;

	if (n > 0 && p[n - 1] == '\r')
		return n - 1;
	for (size_t back = 1; back <= 3 && back <= n; back++) {
		unsigned char c = p[n - back];

		if (c >= 0xc0)
			return utf8_at(p + n - back, back) < 0 ? n - back : n;
		if (c < 0x80)
			break;
	}
	return n;
}

static size_t put(char *to, const char *text)
{
	size_t n = strlen(text);

	memcpy(to, text, n);
	return n;
}

int sse_text(uint64_t id, const char *bytes, size_t n, char **out, size_t *out_len)
{
	const unsigned char *p = (const unsigned char *)bytes;
	/* A line end is the longest: one byte becomes "\ndata: ". */
	char *o = malloc(HEAD_MAX + n * 7 + 2);
	size_t len;

	if (!o)
		return -1;
	len = (size_t)snprintf(o, HEAD_MAX, "id: %" PRIu64 "\ndata: ", id);
	for (size_t i = 0; i < n;) {
		int c = utf8_at(p + i, n - i);

		if (p[i] == '\n' || p[i] == '\r') {
			i += p[i] == '\r' && i + 1 < n && p[i + 1] == '\n' ? 2 : 1;
			len += put(o + len, "\ndata: ");
		} else if (c <= 0) {
			len += put(o + len, "\xef\xbf\xbd");
			i++;
		} else {
			memcpy(o + len, p + i, (size_t)c);
			len += (size_t)c;
			i += (size_t)c;
		}
	}
	len += put(o + len, "\n\n");
	*out = o;
	*out_len = len;
	return 0;
}

int sse_base64(uint64_t id, const char *bytes, size_t n, char **out, size_t *out_len)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const unsigned char *p = (const unsigned char *)bytes;
	char *o = malloc(HEAD_MAX + (n + 2) / 3 * 4 + 2);
	size_t len;

	if (!o)
		return -1;
	len = (size_t)snprintf(o, HEAD_MAX, "id: %" PRIu64 "\ndata: ", id);
	for (size_t i = 0; i < n; i += 3) {
		size_t left = n - i;
		uint32_t v = (uint32_t)p[i] << 16 | (left > 1 ? (uint32_t)p[i + 1] << 8 : 0) |
			     (left > 2 ? p[i + 2] : 0);

		o[len++] = digits[v >> 18];
		o[len++] = digits[v >> 12 & 63];
		o[len++] = left > 1 ? digits[v >> 6 & 63] : '=';
		o[len++] = left > 2 ? digits[v & 63] : '=';
	}
	len += put(o + len, "\n\n");
	*out = o;
	*out_len = len;
	return 0;
}

int sse_named(const char *name, uint64_t id, const char *data, char **out, size_t *out_len)
{
	int n = asprintf(out, "event: %s\nid: %" PRIu64 "\ndata: %s\n\n", name, id, data);

	if (n < 0)
		return -1;
	*out_len = (size_t)n;
	return 0;
}
