/* SPDX-License-Identifier: Apache-2.0 */
/* record.h - one build as the database keeps it. */
#ifndef KILN_RECORD_H
#define KILN_RECORD_H

#include <stdint.h>

#include "job.h"
#include "state.h"

struct record {
	int64_t seq;                  /* the order of arrival; 0 before it is stored */
	char id[JOB_ID_BYTES];
	enum build_state state;
	int attempt;
	int64_t vcpus, memory_mib, disk_mib;
	uint64_t at_ms[STATE_COUNT];  /* wall clock, when each state was entered; 0: never */
	uint64_t updated_ms;
	char *repo_url;               /* heap or NULL, like every text below */
	char *branch;
	char *commit;                 /* the resolved one as soon as it is known */
	char *klass;                  /* with a verdict */
	char *message;
	int64_t artifacts_count;
	int64_t exit_code;            /* -1: none */
	char *job;                    /* JSON; with secrets until the verdict, without after it */
	char *result;                 /* JSON: the verdict with the steps and the facts */
};

struct record *record_new(void);            /* NULL: no memory */
void record_free(struct record *r);
/* Replace a text by a copy (NULL: by nothing). -1: no memory, *slot is then NULL. */
int record_text(char **slot, const char *text);

#endif
