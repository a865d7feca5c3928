/* SPDX-License-Identifier: Apache-2.0 */
/*
 * job.h - what the agent was asked to do: the spec of JOB (PROTOCOL.md, section 8), parsed
 * once into heap memory that lives until the end. Read-only afterwards.
 */
#ifndef KILN_AGENT_JOB_H
#define KILN_AGENT_JOB_H

#include <stddef.h>
#include <stdint.h>

#include "fail.h"

#define JOB_MAX_STEPS 256u

enum job_source { JOB_SOURCE_GIT, JOB_SOURCE_TAR, JOB_SOURCE_NONE };
enum job_submodules { JOB_SUBMODULES_RECURSIVE, JOB_SUBMODULES_TOP, JOB_SUBMODULES_NONE };

struct job_step {
	const char *name;
	const char *run;      /* shell text */
	uint64_t timeout_ms;  /* 0: only the common one */
};

struct job {
	const char *build_id, *repo_url, *branch, *tag, *commit; /* "" when absent */
	const char *username, *password; /* for the repository's own server; password "": none */
	enum job_source source;
	enum job_submodules submodules;
	uint32_t depth;       /* 0: whole history */
	struct job_step *steps;
	size_t steps_count;   /* 0: to be detected */
	const char **build_systems; /* NULL-terminated order of detection */
	const char **env;     /* NULL-terminated "NAME=value" */
	const char *workspace, *user, *image;
	const char **artifact_paths;   /* NULL-terminated; NULL: what the build system leaves */
	const char **artifact_exclude; /* NULL-terminated, never NULL */
	uint64_t artifact_bytes_max, artifact_files_max; /* 0: no limit of the agent's */
	uint64_t timeout_ms, grace_ms;
	const char **log_lines;
};

/*
 * Parse the spec. text is not kept; strings are copied into one arena that *out owns
 * (job_free). Unknown members are ignored, wrong types and absurd sizes are errors.
 */
int job_parse(const char *text, size_t n, struct job **out, struct fail *f);
void job_free(struct job *job);

#endif
