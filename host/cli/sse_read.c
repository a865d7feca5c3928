/* SPDX-License-Identifier: Apache-2.0 */
/* sse_read.c - a push parser of server-sent events. Owns its line and its event, nothing else. */
#include "sse_read.h"

#include <stdlib.h>
#include <string.h>

void sse_read_fini(struct sse_read *r)
{
	free(r->line);
	free(r->data);
	memset(r, 0, sizeof(*r));
}

void sse_read_restart(struct sse_read *r)
{
	free(r->data);
	r->data = NULL;
	r->data_len = r->len = 0;
	r->name[0] = '\0';
	r->event_id = r->id;
}

static int digit(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* In place. -1: this is no base64 (RFC 4648, padding asked for). */
static int decode(char *text, size_t n, size_t *out)
{
	size_t w = 0;

	if (n % 4)
		return -1;
	for (size_t i = 0; i < n; i += 4) {
		int last = i + 4 == n, pad = last ? (text[i + 3] == '=') + (text[i + 2] == '=') : 0;
		uint32_t v = 0;

		for (size_t k = 0; k < 4; k++) {
			int d = (int)k >= 4 - pad ? 0 : digit(text[i + k]);

			if (d < 0)
				return -1;
			v = v << 6 | (uint32_t)d;
		}
		text[w++] = (char)(v >> 16);
		if (pad < 2)
			text[w++] = (char)(v >> 8 & 0xff);
		if (pad < 1)
			text[w++] = (char)(v & 0xff);
	}
	*out = w;
	return 0;
}

static int dispatch(struct sse_read *r, sse_read_fn fn, void *arg)
{
	int rc = 0;
	size_t n = r->data_len;

	if (r->data) {
		if (!*r->name && decode(r->data, r->data_len, &n) < 0)
			r->broken = 1;
		else
			rc = fn(arg, r->name, r->data, n);
		r->id = r->event_id;
	}
	free(r->data);
	r->data = NULL;
	r->data_len = 0;
	r->name[0] = '\0';
	return rc || r->broken;
}

/* "data: …": kept as it is; more lines of one event are joined by newlines. */
static void add_data(struct sse_read *r, const char *value, size_t n)
{
	size_t at = r->data ? r->data_len + 1 : 0;
	char *bigger = at + n < SSE_READ_LINE_MAX ? realloc(r->data, at + n + 1) : NULL;

	if (!bigger) {
		r->broken = 1;
		return;
	}
	if (at > 0)
		bigger[at - 1] = '\n';
	memcpy(bigger + at, value, n);
	bigger[at + n] = '\0';
	r->data = bigger;
	r->data_len = at + n;
}

static int is_field(const struct sse_read *r, const char *name, const char **value, size_t *n)
{
	size_t len = strlen(name);

	if (r->len < len || memcmp(r->line, name, len) != 0)
		return 0;
	*value = r->line + len;
	*n = r->len - len;
	if (*n > 0 && **value == ' ') {
		++*value;
		--*n;
	}
	return 1;
}

static int take_line(struct sse_read *r, sse_read_fn fn, void *arg)
{
	const char *value;
	size_t n;

	if (r->len > 0 && r->line[r->len - 1] == '\r')
		r->len--;
	if (r->len == 0)
		return dispatch(r, fn, arg);
	if (is_field(r, "data:", &value, &n)) {
		add_data(r, value, n);
	} else if (is_field(r, "event:", &value, &n)) {
		n = n < sizeof(r->name) ? n : sizeof(r->name) - 1;
		memcpy(r->name, value, n);
		r->name[n] = '\0';
	} else if (is_field(r, "id:", &value, &n)) {
		r->event_id = 0;
		for (; n > 0 && *value >= '0' && *value <= '9'; n--)
			r->event_id = r->event_id * 10 + (uint64_t)(*value++ - '0');
	}
	return r->broken;
}

int sse_read_push(struct sse_read *r, const char *bytes, size_t n, sse_read_fn fn, void *arg)
{
	for (size_t i = 0; i < n && !r->broken; i++) {
		int stop;

		if (bytes[i] != '\n') {
			if (r->len == r->room) {
				size_t room = r->room ? r->room * 2 : 4096;
				char *bigger = room <= SSE_READ_LINE_MAX ? realloc(r->line, room) : NULL;

				if (!bigger) {
					r->broken = 1;
					break;
				}
				r->line = bigger;
				r->room = room;
			}
			r->line[r->len++] = bytes[i];
			continue;
		}
		stop = take_line(r, fn, arg);
		r->len = 0;
		if (stop)
			return stop;
	}
	return r->broken;
}
