/* SPDX-License-Identifier: Apache-2.0 */
/*
 * events.h - events.jsonl of the build directory (docs/build-directory.md): one JSON object
 * a line, stamped with seq and at_ms. What the guest can make come without end is capped.
 */
#ifndef KILN_EVENTS_H
#define KILN_EVENTS_H

#include <jansson.h>
#include <stdint.h>

#include "err.h"

#define EVENTS_LINE_BYTES 32768 /* a path of 4096 bytes, each escaped to six, and the rest */

enum events_weight {
	EVENTS_KEEP,  /* few by nature (states, steps, totals): always written */
	EVENTS_CAPPED /* the guest decides how many: written up to the cap, then only counted */
};

struct events { /* fields belong to events.c */
	int fd;
	uint64_t seq, capped, cap, dropped;
	char line[EVENTS_LINE_BYTES];
};

/* fd: the open, empty file; stays the caller's. cap: capped events to write, 0 for no cap. */
void events_init(struct events *ev, int fd, uint64_t cap);

/*
 * Write one event. members: an object without seq, at_ms and type; taken over, also on
 * failure; NULL (what a failed json_pack returns) is an error. Codes: "io", "internal".
 */
int events_put(struct events *ev, enum events_weight weight, const char *type, json_t *members,
	       struct err *e);

/* Write an event that control composed: JSON text of an object with `type`. Codes as above. */
int events_put_text(struct events *ev, const char *text, struct err *e);

/* Say how many were dropped, if any (a note `events_dropped`), then fdatasync. Code "io". */
int events_finish(struct events *ev, struct err *e);

/* A string of the guest for an event: UTF-8, which may have been cut within its last character. */
json_t *events_text(const uint8_t *p, size_t n);

#endif
