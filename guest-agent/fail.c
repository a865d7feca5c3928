/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fail.c - fills struct fail. Owns nothing, writes nowhere else.
 */
#include "fail.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "text.h"
#include "wire_msg.h"

static void fill(struct fail *f, uint8_t cls, const char *fmt, va_list ap, int err)
{
	char raw[FAIL_TEXT_BYTES];
	int n = vsnprintf(raw, sizeof(raw), fmt, ap);

	if (n < 0)
		n = 0;
	if (err && (size_t)n < sizeof(raw))
		snprintf(raw + n, sizeof(raw) - (size_t)n, ": %s", strerror(err));
	f->class_ = cls;
	text_copy(f->text, sizeof(f->text), raw, strlen(raw));
}

int fail_set(struct fail *f, uint8_t cls, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fill(f, cls, fmt, ap, 0);
	va_end(ap);
	return -1;
}

int fail_errno(struct fail *f, uint8_t cls, const char *fmt, ...)
{
	int err = errno;
	va_list ap;

	va_start(ap, fmt);
	fill(f, err == ENOSPC ? WIRE_CLASS_DISK_FULL : cls, fmt, ap, err);
	va_end(ap);
	return -1;
}
