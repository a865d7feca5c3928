/* SPDX-License-Identifier: Apache-2.0 */
/*
 * err.h - the one error convention of the host programs.
 *
 * A function that can fail returns 0 or -1 and takes a struct err last, which it fills
 * once, where the path or id is known, and leaves alone on success. Callers may put words
 * in front (err_prefix), never rewrite. Only main functions and the HTTP edge print it.
 */
#ifndef KILN_ERR_H
#define KILN_ERR_H

#define ERR_TEXT_BYTES 768
#define ERR_FIELD_BYTES 96
#define ERR_CEILING_BYTES 256

struct err {
	const char *code;              /* a static word for programs: "bad_type", "not_found", … */
	char field[ERR_FIELD_BYTES];   /* the JSON field or setting at fault, or "" */
	char ceiling[ERR_CEILING_BYTES]; /* for "over_ceiling": what is allowed, as JSON, or "" */
	char text[ERR_TEXT_BYTES];     /* a sentence for people, without a full stop */
};

/* Fill e (may be NULL: the caller does not care). code: a static string. Returns -1. */
int err_set(struct err *e, const char *code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* The same with ": " and the text of errno behind it. errno is kept. Returns -1. */
int err_errno(struct err *e, const char *code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* The same, naming the field at fault. Returns -1. */
int err_field(struct err *e, const char *code, const char *field, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* Put words in front of a text that is there. Returns -1. */
int err_prefix(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
