/* SPDX-License-Identifier: Apache-2.0 */
/*
 * text.c - makes any bytes into text that a frame may carry. Owns nothing.
 */
#include "text.h"

#include <stdint.h>

/* Length of the UTF-8 character at p[0..n), 0 when there is none. */
static size_t char_len(const uint8_t *p, size_t n)
{
	uint32_t cp;
	size_t len;

	if (p[0] < 0x80)
		return 1;
	if (p[0] >= 0xc2 && p[0] <= 0xdf)
		len = 2;
	else if ((p[0] & 0xf0) == 0xe0)
		len = 3;
	else if (p[0] >= 0xf0 && p[0] <= 0xf4)
		len = 4;
	else
		return 0;
	if (n < len)
		return 0;
	cp = p[0] & (0xffu >> (len + 1));
	for (size_t i = 1; i < len; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		cp = cp << 6 | (p[i] & 0x3f);
	}
	if (len == 3 && (cp < 0x800 || (cp >= 0xd800 && cp <= 0xdfff)))
		return 0;
	if (len == 4 && (cp < 0x10000 || cp > 0x10ffff))
		return 0;
	return len;
}

size_t text_copy(char *dst, size_t cap, const char *src, size_t n)
{
	const uint8_t *p = (const uint8_t *)src;
	size_t at = 0, out = 0;

	while (at < n && p[at]) {
		size_t len = char_len(p + at, n - at);
		int bad = !len || (len == 1 && (p[at] == 0x7f ||
						(p[at] < 0x20 && p[at] != '\n' && p[at] != '\t')));

		if (out + (len ? len : 1) >= cap)
			break;
		if (bad) {
			dst[out++] = '?';
			at++;
			continue;
		}
		while (len--)
			dst[out++] = (char)p[at++];
	}
	dst[out] = '\0';
	return out;
}
