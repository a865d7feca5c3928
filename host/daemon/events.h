/* SPDX-License-Identifier: Apache-2.0 */
/*
 * events.h - events.jsonl of a build, read piece by piece, to what the API shows of it.
 *
 * A push parser: bytes may come cut anywhere. Lines that are no events, or too long, are
 * passed over: the guest had its hand in them.
 */
#ifndef KILN_EVENTS_H
#define KILN_EVENTS_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "state.h"

#define EVENTS_LINE_MAX (64u * 1024)
#define EVENTS_STEPS_MAX 1024

typedef void (*events_state_fn)(void *arg, enum build_state s, uint64_t at_ms);

struct events {
	char *line;        /* the part of a line that came so far */
	size_t len;
	int skip;          /* inside a line that is too long */
	json_t *facts;     /* object: vmm, agent, kernel, commit, ref, steps, notes, egress, … */
	events_state_fn on_state;
	void *arg;
};

/* -1: no memory. */
int events_init(struct events *ev, events_state_fn on_state, void *arg);
void events_fini(struct events *ev);
void events_feed(struct events *ev, const char *bytes, size_t n);

#endif
