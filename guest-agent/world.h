/* SPDX-License-Identifier: Apache-2.0 */
/*
 * world.h - what a step finds: its user, home, names, proxy, CA bundle and environment.
 */
#ifndef KILN_AGENT_WORLD_H
#define KILN_AGENT_WORLD_H

#include <stddef.h>
#include <stdint.h>

#include "fail.h"
#include "job.h"
#include "user.h"

#define WORLD_PROXY_PORT 3128u
#define WORLD_PROXY_UID 64999u
#define WORLD_CA_PATH "/run/kiln/ca.pem"
#define WORLD_ENV_MAX 4352u           /* variables: those of a job and ours */
#define WORLD_ENV_BYTES (1u << 20)

struct world {
	struct user user;
	char path[4096];          /* the image's PATH */
	char *image_env;          /* /etc/environment; lives until the end */
	const char *shell;        /* "/bin/bash" or "/bin/sh": what runs the steps */
	int has_ca;
	char commit[65];          /* as the clone resolved it; the job's before */
	char branch[257];         /* the job's, or the one that the clone found; "" for a tag */
};

/*
 * Prepare the root for the job: user entries, home, workspace (a directory of the scratch
 * disk, bound by the caller before), /etc files, CA bundle. Runs in the final root.
 */
int world_make(struct world *w, const struct job *job, const uint8_t *ca, size_t ca_bytes,
	       struct fail *f);

/*
 * The environment of a step as an array for execve(2). It lies in static memory and is valid
 * until the next call; meant to be called in the forked child. NULL when it does not fit.
 */
char *const *world_env(const struct world *w, const struct job *job, const char *step_name);

/* The clone reported its ref: without branch and tag in the job it is the branch. */
void world_resolved(struct world *w, const struct job *job, const char *ref);

/* 1 when an executable file of that name is on the image's PATH. */
int world_has_tool(const struct world *w, const char *tool);

#endif
