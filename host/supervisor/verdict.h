/* SPDX-License-Identifier: Apache-2.0 */
/*
 * verdict.h - from what is known about the end of a build to its class and sentence.
 *
 * The host decides over deadlines, lost guests, panics and its own failures; about the rest
 * the agent's RESULT is believed (PROTOCOL.md section 4). One pure function, so that every
 * row can be tested.
 */
#ifndef KILN_VERDICT_H
#define KILN_VERDICT_H

#include <stdbool.h>
#include <stdint.h>

#include "link.h"

#define VERDICT_MESSAGE_BYTES 1536

enum verdict_cause { /* what ended the build: the first that happened */
	VERDICT_NONE,
	VERDICT_RESULT,    /* RESULT came and was acknowledged */
	VERDICT_START,     /* the VM could not be prepared or started: text, start_class */
	VERDICT_DEADLINE,  /* deadline passed */
	VERDICT_CANCEL,    /* cancelled, cancel_word says by what */
	VERDICT_KILL,      /* killed at once through ctl */
	VERDICT_HEARTBEAT, /* silence; deadline holds the figures */
	VERDICT_BROKEN,    /* the agent broke the protocol: text */
	VERDICT_VM_EXIT,   /* the VMM ended: status */
	VERDICT_VSOCK_EXIT,/* vhost-device-vsock ended: status */
	VERDICT_HOST,      /* the host's own failure: text */
	VERDICT_CAUSE_COUNT
};

enum verdict_deadline { VERDICT_BOOT, VERDICT_BEGIN, VERDICT_CLONE, VERDICT_STEPS, VERDICT_UPLOAD,
			VERDICT_JOB, VERDICT_SILENCE, VERDICT_DEADLINE_COUNT };

struct verdict_facts {
	enum verdict_cause cause;
	enum verdict_deadline deadline; /* with DEADLINE and HEARTBEAT */
	uint64_t deadline_ms;           /* as held, factor included */
	uint32_t factor;
	int status;                     /* wait status, with VM_EXIT and VSOCK_EXIT */
	bool panicked;                  /* the console says "Kernel panic" */
	bool greeted;                   /* HELLO was accepted */
	const char *start_class;        /* "vmm" or "host" */
	const char *cancel_word;        /* "user", "shutdown" */
	const char *text;               /* of START, BROKEN, HOST */
	const char *host_text;          /* the host's failure after the cause: it overrides; or NULL */
	bool have_result;
	struct link_result result;
	const char *result_text;
};

struct verdict {
	const char *class_;   /* a word of docs/build-directory.md */
	char message[VERDICT_MESSAGE_BYTES];
	bool has_step;        /* step is to blame */
	uint32_t step;
	int32_t exit_code;
	uint32_t signal;
	bool with_console;    /* the console's tail belongs into result.json */
};

void verdict_decide(const struct verdict_facts *f, struct verdict *out);

#endif
