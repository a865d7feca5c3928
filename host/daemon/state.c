/* SPDX-License-Identifier: Apache-2.0 */
/*
 * state.c - the states of a build as tables. Owns nothing. Who changes a build's state:
 * builds_set_state alone.
 *
 *   queued -> starting_vm -> cloning_repo -> running_build -> collecting_artifacts
 *      \____________\______________\______________\__________________\___-> completed,
 *                                                                     failed, cancelled
 * A state may be passed over (no repository: no cloning), never gone back to, but for one case:
 * a build whose supervisor never began goes back to the queue.
 */
#include "state.h"

#include <string.h>

#define BIT(s) (1u << (s))
#define FINAL (BIT(STATE_COMPLETED) | BIT(STATE_FAILED) | BIT(STATE_CANCELLED))

static const struct {
	const char *word;
	const char *sentence;
	unsigned next;
} states[STATE_COUNT] = {
	[STATE_QUEUED] = { "queued", "Build queued",
		BIT(STATE_STARTING_VM) | BIT(STATE_FAILED) | BIT(STATE_CANCELLED) },
	[STATE_STARTING_VM] = { "starting_vm", "Starting VM",
		BIT(STATE_QUEUED) | BIT(STATE_CLONING_REPO) | BIT(STATE_RUNNING_BUILD) |
		BIT(STATE_COLLECTING_ARTIFACTS) | FINAL },
	[STATE_CLONING_REPO] = { "cloning_repo", "Cloning repository",
		BIT(STATE_RUNNING_BUILD) | BIT(STATE_COLLECTING_ARTIFACTS) | FINAL },
	[STATE_RUNNING_BUILD] = { "running_build", "Running build",
		BIT(STATE_COLLECTING_ARTIFACTS) | FINAL },
	[STATE_COLLECTING_ARTIFACTS] = { "collecting_artifacts", "Collecting artifacts", FINAL },
	[STATE_COMPLETED] = { "completed", "Build completed", 0 },
	[STATE_FAILED] = { "failed", "Build failed", 0 },
	[STATE_CANCELLED] = { "cancelled", "Build cancelled", 0 },
};

const char *state_word(enum build_state s)
{
	return states[s].word;
}

const char *state_sentence(enum build_state s)
{
	return states[s].sentence;
}

int state_parse(const char *word, enum build_state *out)
{
	for (int i = 0; i < STATE_COUNT; i++) {
		if (strcmp(word, states[i].word) == 0) {
			*out = (enum build_state)i;
			return 0;
		}
	}
	return -1;
}

int state_final(enum build_state s)
{
	return (FINAL & BIT(s)) != 0;
}

int state_may(enum build_state from, enum build_state to)
{
	return (states[from].next & BIT(to)) != 0;
}

enum build_state state_of_class(const char *klass)
{
	if (strcmp(klass, "ok") == 0)
		return STATE_COMPLETED;
	return strcmp(klass, "cancelled") == 0 ? STATE_CANCELLED : STATE_FAILED;
}
