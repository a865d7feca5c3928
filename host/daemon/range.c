/* SPDX-License-Identifier: Apache-2.0 */
/*
 * range.c - one byte range. Owns nothing.
 *   bytes=FIRST-LAST | bytes=FIRST- | bytes=-SUFFIX          (blanks around it are allowed)
 */
#include "range.h"

#include <string.h>
#include <strings.h>

/* Digits to a number; 19 of them fit. Returns what follows, or NULL. */
static const char *number(const char *p, uint64_t *out)
{
	uint64_t n = 0;
	int digits = 0;

	for (; *p >= '0' && *p <= '9'; p++, digits++) {
		if (digits == 18)
			return NULL;
		n = n * 10 + (uint64_t)(*p - '0');
	}
	*out = n;
	return digits ? p : NULL;
}

static const char *blanks(const char *p)
{
	return p + strspn(p, " \t");
}

enum range_kind range_parse(const char *header, uint64_t size, uint64_t *first, uint64_t *count)
{
	uint64_t a = 0, b = 0;
	const char *p = header, *q;
	int open_end = 0;

	if (!p || strncasecmp(p, "bytes=", 6) != 0)
		return RANGE_ALL;
	p = blanks(p + 6);
	if (*p == '-') {
		q = number(p + 1, &b);
		if (!q || *blanks(q))
			return RANGE_ALL;
		if (b == 0 || size == 0)
			return RANGE_UNSATISFIABLE;
		*count = b < size ? b : size;
		*first = size - *count;
		return RANGE_PART;
	}
	p = number(p, &a);
	if (!p || *p != '-')
		return RANGE_ALL;
	p = blanks(p + 1);
	open_end = *p == '\0';
	if (!open_end) {
		q = number(p, &b);
		if (!q || *blanks(q) || b < a)
			return RANGE_ALL;
	}
	if (a >= size)
		return RANGE_UNSATISFIABLE;
	*first = a;
	*count = open_end || b >= size ? size - a : b - a + 1;
	return RANGE_PART;
}
