/* SPDX-License-Identifier: Apache-2.0 */
/*
 * verdict.h - what RESULT will say. Pure: decided once, from facts that others found.
 */
#ifndef KILN_AGENT_VERDICT_H
#define KILN_AGENT_VERDICT_H

#include <stddef.h>
#include <stdint.h>

#include "fail.h"

struct verdict {
	int decided;         /* else: ok so far */
	uint8_t class_;      /* enum wire_class */
	uint32_t step;       /* WIRE_NO_STEP */
	int32_t exit_code;
	uint32_t signal;
	char text[FAIL_TEXT_BYTES];
};

/* How a step ended. */
struct verdict_step {
	uint32_t index;
	size_t count;        /* of the job's steps */
	const char *name;
	int status;          /* of waitpid */
	int oom, disk_full;
	uint64_t job_memory_bytes, scratch_bytes; /* for the sentences */
};

void verdict_init(struct verdict *v);

/* A failure without a step to blame. The first failure stays. */
void verdict_fail(struct verdict *v, const struct fail *f);

/* A step ended: nothing is decided when it succeeded. The first failure stays. */
void verdict_step(struct verdict *v, const struct verdict_step *s);

/*
 * A deadline (class timeout) or CANCEL (class cancelled) ended the build: beats what came
 * before, except an earlier call of this function. step: the one that ran, or WIRE_NO_STEP.
 */
void verdict_stop(struct verdict *v, uint8_t cls, uint32_t step, const char *text);

#endif
