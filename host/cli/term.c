/* SPDX-License-Identifier: Apache-2.0 */
/*
 * term.c - writes to stdout and stderr, unbuffered, so that the order of what a person sees is the
 * order of what was said. Owns nothing but what struct term holds.
 */
#include "term.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "err.h"
#include "fileio.h"

#define CHUNK 16384u
#define LINE_MAX_BYTES 2048u

void term_init(struct term *t, int no_colour)
{
	const char *env = getenv("NO_COLOR"), *kind = getenv("TERM");

	memset(t, 0, sizeof(*t));
	if ((env && *env) || (kind && strcmp(kind, "dumb") == 0))
		no_colour = 1;
	t->out_tty = isatty(STDOUT_FILENO);
	t->colour = !no_colour && isatty(STDERR_FILENO);
	t->filter.drop_colour = no_colour;
}

static void put(struct term *t, const char *data, size_t n)
{
	struct err e;

	if (t->out_gone || n == 0)
		return;
	t->mid_line = data[n - 1] != '\n';
	if (fileio_write_full(STDOUT_FILENO, data, n, &e) < 0)
		t->out_gone = 1;
}

void term_output(struct term *t, const char *data, size_t n)
{
	char out[CHUNK + FILTER_SEQ_MAX];

	if (!t->out_tty) {
		put(t, data, n);
		return;
	}
	while (n > 0) {
		size_t piece = n < CHUNK ? n : CHUNK;

		put(t, out, filter_push(&t->filter, data, piece, out));
		data += piece;
		n -= piece;
	}
}

void term_raw(struct term *t, const char *data, size_t n)
{
	put(t, data, n);
}

void term_json(struct term *t, const json_t *o, size_t flags)
{
	char *text = json_dumps(o, flags | (t->out_tty ? JSON_ENSURE_ASCII : 0));

	if (text) {
		term_raw(t, text, strlen(text));
		term_raw(t, "\n", 1);
	}
	free(text);
}

static const char *tone_code(enum term_tone tone)
{
	switch (tone) {
	case TERM_DIM: return "\x1b[2m";
	case TERM_BOLD: return "\x1b[1m";
	case TERM_GOOD: return "\x1b[1;32m";
	case TERM_BAD: return "\x1b[1;31m";
	default: return "";
	}
}

static void line(struct term *t, enum term_tone tone, const char *head, const char *fmt, va_list ap)
{
	char raw[LINE_MAX_BYTES], clean[LINE_MAX_BYTES], out[LINE_MAX_BYTES + 64];
	const char *code = t->colour ? tone_code(tone) : "";
	int n;

	vsnprintf(raw, sizeof(raw), fmt, ap);
	filter_line(raw, clean, sizeof(clean));
	/* Colours of the build must not run on into this line, nor its half line stand before it. */
	n = snprintf(out, sizeof(out), "%s%s%s%s%s%s\n",
		     t->mid_line && t->out_tty && isatty(STDERR_FILENO) ? "\n" : "",
		     t->colour ? "\x1b[0m" : "", code, head, clean, *code ? "\x1b[0m" : "");
	if (t->out_tty)
		t->mid_line = 0;
	(void)fileio_write_full(STDERR_FILENO, out, (size_t)n, NULL);
}

void term_say(struct term *t, enum term_tone tone, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	line(t, tone, "kiln: ", fmt, ap);
	va_end(ap);
}

void term_heading(struct term *t, enum term_tone tone, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	line(t, tone, "", fmt, ap);
	va_end(ap);
}

char *term_duration(unsigned long long ms, char *buf, size_t n)
{
	if (ms < 1000)
		snprintf(buf, n, "%llu ms", ms);
	else if (ms < 60000)
		snprintf(buf, n, "%llu.%llu s", ms / 1000, ms % 1000 / 100);
	else if (ms < 3600000)
		snprintf(buf, n, "%llu min %llu s", ms / 60000, ms % 60000 / 1000);
	else
		snprintf(buf, n, "%llu h %llu min", ms / 3600000, ms % 3600000 / 60000);
	return buf;
}

char *term_size(unsigned long long bytes, char *buf, size_t n)
{
	static const char *const units[] = { "KiB", "MiB", "GiB", "TiB" };
	double v = (double)bytes / 1024.0;
	int u = 0;

	if (bytes < 1024) {
		snprintf(buf, n, "%llu B", bytes);
		return buf;
	}
	for (; v >= 1024.0 && u < 3; u++)
		v /= 1024.0;
	snprintf(buf, n, "%.1f %s", v, units[u]);
	return buf;
}
