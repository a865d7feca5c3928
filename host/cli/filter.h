/* SPDX-License-Identifier: Apache-2.0 */
/*
 * filter.h - makes a build's output harmless for a terminal. A push filter that can be cut
 * anywhere; pure.
 *
 * Passed on: valid UTF-8, newline, tab, carriage return, and the colours of a build (CSI … m of
 * digits, ';' and ':'). Everything else that a terminal would obey is dropped: other CSI, OSC, DCS,
 * APC, PM, SOS, ESC and one character, C0 and C1 controls. Bytes that are no UTF-8 become '?'.
 */
#ifndef KILN_FILTER_H
#define KILN_FILTER_H

#include <stddef.h>

#define FILTER_SEQ_MAX 48u

struct filter {
	int state;                         /* enum filter_state */
	int drop_colour;                   /* set by the caller: colours are dropped too */
	unsigned char seq[FILTER_SEQ_MAX]; /* a sequence or character that is not whole yet */
	size_t seq_len;
	size_t need;                       /* bytes of a UTF-8 character that are still to come */
};

/* A zeroed struct is a fresh filter. */

/*
 * Filter in[0..n) into out, which has room for at least n + FILTER_SEQ_MAX bytes. Returns how many
 * bytes were written. What is not whole at the end is kept for the next call.
 */
size_t filter_push(struct filter *f, const char *in, size_t n, char *out);

/*
 * A text of the guest for one line of kiln's own: control characters and bytes that are no
 * UTF-8 become '?', at most n - 1 bytes, NUL-terminated, cut at a whole character. Returns out.
 */
char *filter_line(const char *text, char *out, size_t n);

#endif
