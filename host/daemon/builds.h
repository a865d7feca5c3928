/* SPDX-License-Identifier: Apache-2.0 */
/*
 * builds.h - the builds whose verdict is not yet recorded, in memory. The database has the
 * same and more; this is what scheduler, supervisors and followers work on.
 *
 * A struct build is valid within one turn of the loop: what survives a callback is the id.
 */
#ifndef KILN_BUILDS_H
#define KILN_BUILDS_H

#include <jansson.h>
#include <stdint.h>

#include "daemon.h"
#include "record.h"
#include "state.h"

struct request;

struct build {
	char id[JOB_ID_BYTES];
	int64_t seq;
	enum build_state state;
	int attempt;
	int64_t vcpus, memory_mib, disk_mib;
	uint64_t at_ms[STATE_COUNT], updated_ms;
	int cancel_asked;          /* passed on to the supervisor as soon as it listens */
	int holds_room;            /* the scheduler's */
	json_t *facts;             /* from the events so far (events.h); NULL before the first */
	json_t *verdict;           /* once there is one */
	struct request *waiting;   /* the request that cancelled it in the queue, or NULL */
	struct build *hash_next;
	struct build *prev, *next; /* the scheduler's queue */
};

struct builds;

struct builds *builds_new(struct kilnd *k);
/* Frees every build; waiting requests are answered first. */
void builds_free(struct builds *bs);

/* From a stored row. NULL: no memory. */
struct build *builds_add(struct builds *bs, const struct record *r);
/* NULL when there is no such build, or it is final and recorded. */
struct build *builds_find(struct builds *bs, const char *id);
/* How many are in this state. */
unsigned builds_count(const struct builds *bs, enum build_state s);

/*
 * The one function that changes a state. A step that state_may forbids is ignored. at_ms 0: now.
 * The change is stored in the background; done (may be NULL) is called with its outcome and
 * `struct kilnd *` as arg.
 */
void builds_set_state(struct builds *bs, struct build *b, enum build_state to, uint64_t at_ms,
		      void (*done)(void *k, const struct record *r, const struct err *e));
/*
 * The end: verdict is as in result.json (class, message, exit_code, …; a reference is taken),
 * the facts go into the record with it. Frees the slot; once recorded the followers
 * get their end and b is gone.
 */
void builds_finish(struct builds *bs, struct build *b, json_t *verdict);
/* The same with a verdict made here. */
void builds_finish_with(struct builds *bs, struct build *b, const char *klass, const char *message);

#endif
