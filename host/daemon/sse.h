/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sse.h - log bytes as server-sent events (HTML standard, "Server-sent events").
 *
 * The `data` of all events of a log, put together, is the log, with two exceptions that the
 * format asks for: a CR becomes a LF (CR LF one LF), and what is not UTF-8 becomes U+FFFD. In
 * base64 there are no exceptions.
 */
#ifndef KILN_SSE_H
#define KILN_SSE_H

#include <stddef.h>
#include <stdint.h>

/*
 * How many of n bytes can go out now: all but a character (or a CR LF) that may be cut at the
 * end.
 */
size_t sse_whole(const char *bytes, size_t n);

/*
 * One event: id, then bytes as text or base64. *out: heap, *out_len bytes, the caller frees.
 * id: the offset in the log behind the last byte. -1: no memory.
 */
int sse_text(uint64_t id, const char *bytes, size_t n, char **out, size_t *out_len);
int sse_base64(uint64_t id, const char *bytes, size_t n, char **out, size_t *out_len);
/* A named event with one line of data. */
int sse_named(const char *name, uint64_t id, const char *data, char **out, size_t *out_len);

#endif
