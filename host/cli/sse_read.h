/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sse_read.h - reads server-sent events of kilnd's log (base64), cut anywhere. Pure but for its buffer.
 *
 *   event   = *( field LF ) LF          field = "event: " name / "id: " offset / "data: " text
 *   comment = ":" … LF
 */
#ifndef KILN_SSE_READ_H
#define KILN_SSE_READ_H

#include <stddef.h>
#include <stdint.h>

#define SSE_READ_LINE_MAX (1u << 20)

struct sse_read {
	char *line;           /* one line, not whole yet */
	size_t len, room;
	char *data;           /* of the event at hand */
	size_t data_len;
	char name[32];
	uint64_t id, event_id; /* of the last whole event; of the one at hand */
	int broken;           /* a line was too long, or base64 was none */
};

/* name: "" for a piece of the log, which comes decoded; else the event's data as it is. */
typedef int (*sse_read_fn)(void *arg, const char *name, const char *data, size_t n);

/* Zero-initialise. Returns nonzero when fn did, or when r->broken. */
int sse_read_push(struct sse_read *r, const char *bytes, size_t n, sse_read_fn fn, void *arg);
/* The connection broke: what is not whole is forgotten, id stays. */
void sse_read_restart(struct sse_read *r);
void sse_read_fini(struct sse_read *r);

#endif
