/* SPDX-License-Identifier: Apache-2.0 */
/* state.h - the states of a build and which may follow which. */
#ifndef KILN_STATE_H
#define KILN_STATE_H

enum build_state {
	STATE_QUEUED,
	STATE_STARTING_VM,
	STATE_CLONING_REPO,
	STATE_RUNNING_BUILD,
	STATE_COLLECTING_ARTIFACTS,
	STATE_COMPLETED,
	STATE_FAILED,
	STATE_CANCELLED,
	STATE_COUNT
};

/* "queued", … as the API writes it. A static string. */
const char *state_word(enum build_state s);
/* "Build queued", … as the status lines of a build write it. A static string. */
const char *state_sentence(enum build_state s);
/* The state of a word; -1 when it is none. */
int state_parse(const char *word, enum build_state *out);
/* Nonzero for completed, failed and cancelled. */
int state_final(enum build_state s);
/* Nonzero when `to` may follow `from`. */
int state_may(enum build_state from, enum build_state to);
/* The final state that a verdict's class means: ok, cancelled, or anything else. */
enum build_state state_of_class(const char *klass);

#endif
