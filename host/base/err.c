/* SPDX-License-Identifier: Apache-2.0 */
/* err.c - fills struct err. Owns nothing; never logs, never exits. */
#include "err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void fill(struct err *e, const char *code, const char *field, const char *fmt, va_list ap)
{
	e->code = code;
	snprintf(e->field, sizeof(e->field), "%s", field);
	e->ceiling[0] = '\0';
	vsnprintf(e->text, sizeof(e->text), fmt, ap);
}

int err_set(struct err *e, const char *code, const char *fmt, ...)
{
	va_list ap;

	if (!e)
		return -1;
	va_start(ap, fmt);
	fill(e, code, "", fmt, ap);
	va_end(ap);
	return -1;
}

int err_errno(struct err *e, const char *code, const char *fmt, ...)
{
	int saved = errno;
	va_list ap;
	size_t n;

	if (!e)
		return -1;
	va_start(ap, fmt);
	fill(e, code, "", fmt, ap);
	va_end(ap);
	n = strlen(e->text);
	snprintf(e->text + n, sizeof(e->text) - n, ": %s", strerror(saved));
	errno = saved;
	return -1;
}

int err_field(struct err *e, const char *code, const char *field, const char *fmt, ...)
{
	va_list ap;

	if (!e)
		return -1;
	va_start(ap, fmt);
	fill(e, code, field, fmt, ap);
	va_end(ap);
	return -1;
}

int err_prefix(struct err *e, const char *fmt, ...)
{
	char was[ERR_TEXT_BYTES];
	va_list ap;
	size_t n;

	if (!e)
		return -1;
	memcpy(was, e->text, sizeof(was));
	va_start(ap, fmt);
	vsnprintf(e->text, sizeof(e->text), fmt, ap);
	va_end(ap);
	n = strlen(e->text);
	snprintf(e->text + n, sizeof(e->text) - n, ": %.*s", (int)(sizeof(was) - 1), was);
	return -1;
}
