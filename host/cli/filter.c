/* SPDX-License-Identifier: Apache-2.0 */
/* filter.c - the states of ECMA-48 that matter for dropping what a terminal would obey. Pure. */
#include "filter.h"

#include <string.h>

enum filter_state {
	TEXT = 0,
	CHARACTER,  /* inside a UTF-8 character */
	ESCAPE,     /* after ESC */
	ESCAPE_INT, /* after ESC and an intermediate byte */
	CSI,        /* after ESC [, everything kept in seq so far */
	CSI_DROP,   /* a CSI that is no colour */
	STRING,     /* inside OSC, DCS, APC, PM, SOS */
	STRING_ESC  /* inside one of them, after ESC */
};

/* How many bytes a UTF-8 character has that begins with c; 0: none begins so. */
static size_t utf8_length(unsigned char c)
{
	if (c >= 0xc2 && c <= 0xdf)
		return 2;
	if (c >= 0xe0 && c <= 0xef)
		return 3;
	return c >= 0xf0 && c <= 0xf4 ? 4 : 0;
}

/* RFC 3629: the second byte rules out overlong forms, surrogates and what is above U+10FFFF. */
static int continues(const struct filter *f, unsigned char c)
{
	unsigned char first = f->seq[0];

	if ((c & 0xc0) != 0x80)
		return 0;
	if (f->seq_len > 1)
		return 1;
	return !((first == 0xe0 && c < 0xa0) || (first == 0xed && c > 0x9f) ||
		 (first == 0xf0 && c < 0x90) || (first == 0xf4 && c > 0x8f));
}

/* C1 controls are U+0080 to U+009F. */
static int is_c1(const struct filter *f)
{
	return f->seq_len == 2 && f->seq[0] == 0xc2 && f->seq[1] < 0xa0;
}

static size_t on_text(struct filter *f, unsigned char c, char *out)
{
	if (c == 0x1b) {
		f->state = ESCAPE;
		return 0;
	}
	if (c < 0x20 && c != '\n' && c != '\t' && c != '\r')
		return 0;
	if (c == 0x7f)
		return 0;
	if (c < 0x80) {
		out[0] = (char)c;
		return 1;
	}
	f->need = utf8_length(c);
	if (!f->need) {
		out[0] = '?';
		return 1;
	}
	f->need--;
	f->seq[0] = c;
	f->seq_len = 1;
	f->state = CHARACTER;
	return 0;
}

static size_t on_character(struct filter *f, unsigned char c, char *out)
{
	if (!continues(f, c)) {
		f->state = TEXT;
		out[0] = '?';
		return 1 + on_text(f, c, out + 1);
	}
	f->seq[f->seq_len++] = c;
	if (--f->need > 0)
		return 0;
	f->state = TEXT;
	if (is_c1(f))
		return 0;
	memcpy(out, f->seq, f->seq_len);
	return f->seq_len;
}

static size_t on_escape(struct filter *f, unsigned char c, char *out)
{
	if (c == '[') {
		memcpy(f->seq, "\x1b[", 2);
		f->seq_len = 2;
		f->state = CSI;
	} else if (strchr("]PX^_", c) && c) {
		f->state = STRING;
	} else if (c >= 0x20 && c <= 0x2f) {
		f->state = ESCAPE_INT;
	} else if (c != 0x1b) {
		f->state = TEXT;
		return c == '\n' ? on_text(f, c, out) : 0;
	}
	return 0;
}

static size_t on_csi(struct filter *f, unsigned char c, char *out)
{
	size_t n;

	if ((c >= '0' && c <= '9') || c == ';' || c == ':') {
		f->seq[f->seq_len++] = c;
		if (f->seq_len == FILTER_SEQ_MAX)
			f->state = CSI_DROP;
		return 0;
	}
	if (c == 'm') {
		f->state = TEXT;
		if (f->drop_colour)
			return 0;
		n = f->seq_len;
		memcpy(out, f->seq, n);
		out[n] = 'm';
		return n + 1;
	}
	if (c == 0x1b)
		f->state = ESCAPE;
	else if (c == '\n')
		f->state = TEXT;
	else
		f->state = c >= 0x40 && c <= 0x7e ? TEXT : CSI_DROP;
	return f->state == TEXT && c == '\n' ? on_text(f, c, out) : 0;
}

static size_t step(struct filter *f, unsigned char c, char *out)
{
	switch ((enum filter_state)f->state) {
	case TEXT: return on_text(f, c, out);
	case CHARACTER: return on_character(f, c, out);
	case ESCAPE: return on_escape(f, c, out);
	case ESCAPE_INT:
		if (c < 0x20 || c > 0x2f)
			f->state = c == 0x1b ? ESCAPE : TEXT;
		return 0;
	case CSI: return on_csi(f, c, out);
	case CSI_DROP:
		if (c == 0x1b)
			f->state = ESCAPE;
		else if (c == '\n' || (c >= 0x40 && c <= 0x7e))
			f->state = TEXT;
		return c == '\n' ? on_text(f, c, out) : 0;
	case STRING:
		/* A newline ends it too: one forgotten terminator must not swallow the whole log. */
		if (c == 0x07 || c == '\n' || c == 0x18 || c == 0x1a)
			f->state = TEXT;
		else if (c == 0x1b)
			f->state = STRING_ESC;
		return c == '\n' ? on_text(f, c, out) : 0;
	case STRING_ESC:
		if (c == '\\') {
			f->state = TEXT;
			return 0;
		}
		f->state = ESCAPE;
		return on_escape(f, c, out);
	}
	return 0;
}

size_t filter_push(struct filter *f, const char *in, size_t n, char *out)
{
	size_t w = 0;

	for (size_t i = 0; i < n; i++)
		w += step(f, (unsigned char)in[i], out + w);
	return w;
}

char *filter_line(const char *text, char *out, size_t n)
{
	struct filter f = { .drop_colour = 1 };
	size_t w = 0;
	char piece[FILTER_SEQ_MAX + 4];

	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;
		size_t got = step(&f, c < 0x20 || c == 0x7f ? '?' : c, piece);

		if (w + got >= n)
			break;
		memcpy(out + w, piece, got);
		w += got;
	}
	out[w] = '\0';
	return out;
}
