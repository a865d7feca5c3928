/* SPDX-License-Identifier: Apache-2.0 */
/*
 * term.h - what kiln prints: the build's output on stdout, its own lines on stderr, each kept from
 * running into the other where both are the same terminal.
 */
#ifndef KILN_TERM_H
#define KILN_TERM_H

#include <jansson.h>
#include <stddef.h>

#include "filter.h"

struct term {
	struct filter filter;
	int out_tty;   /* stdout is a terminal: build output is filtered */
	int colour;    /* kiln's own lines are coloured */
	int mid_line;  /* the last byte of build output was no newline */
	int out_gone;  /* stdout was closed by its reader */
};

enum term_tone { TERM_PLAIN, TERM_DIM, TERM_BOLD, TERM_GOOD, TERM_BAD };

/* no_colour: --no-color was given. NO_COLOR (no-color.org) and a missing tty count too. */
void term_init(struct term *t, int no_colour);

/* Build output, as it is, or filtered when stdout is a terminal. */
void term_output(struct term *t, const char *data, size_t n);

/* Bytes of kiln's own on stdout: lists, JSON. Whoever calls answers for what is in them. */
void term_raw(struct term *t, const char *data, size_t n);

/* JSON and a line end on stdout; flags: of json_dumps(3). On a terminal it is ASCII: U+009B is a control, too. */
void term_json(struct term *t, const json_t *o, size_t flags);

/* One line of kiln's own on stderr, "kiln: " in front; control characters in it become '?'. */
void term_say(struct term *t, enum term_tone tone, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* The same without "kiln: ": headings. */
void term_heading(struct term *t, enum term_tone tone, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* "812 ms", "12.3 s", "4 min 5 s", "3 h 2 min". Returns buf. */
char *term_duration(unsigned long long ms, char *buf, size_t n);
/* "812 B", "1.5 MiB". Returns buf. */
char *term_size(unsigned long long bytes, char *buf, size_t n);

#endif
