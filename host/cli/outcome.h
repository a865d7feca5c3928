/* SPDX-License-Identifier: Apache-2.0 */
/* outcome.h - result.json in one sentence and one exit status. */
#ifndef KILN_OUTCOME_H
#define KILN_OUTCOME_H

#include <jansson.h>
#include <stddef.h>

/*
 * 0 for ok; for user the step's exit code, 128 + n for a signal, 1 when there is neither (the
 * clone failed); 125 for every other class.
 */
int outcome_status(const json_t *result);

/* "user: step 1 (make) exited with 2". Returns buf. */
char *outcome_text(const json_t *result, char *buf, size_t n);

#define OUTCOME_ADVICE_BYTES 1800

/* What a build was started with. */
struct outcome_command {
	const char *verb; /* "run" or "build" */
	const char *what; /* the repository or directory, or NULL when that is not known */
};

/*
 * The command to try next, for people, or "" after a success. n: OUTCOME_ADVICE_BYTES. Returns buf.
 */
char *outcome_advice(const json_t *result, const struct outcome_command *again, const char *id, char *buf,
		     size_t n);

#endif
