/* SPDX-License-Identifier: Apache-2.0 */
/*
 * job_parts.h - the parts of a request, one function each: check the member of body, complete it
 * from cfg, put it into job. Internal to host/job.
 */
#ifndef KILN_JOB_PARTS_H
#define KILN_JOB_PARTS_H

#include "job.h"

#define JOB_STEPS_MAX 256u
#define JOB_RUN_MAX 65536u
#define JOB_NAME_MAX 128u
#define JOB_ENV_MAX 256u
#define JOB_ENV_VALUE_MAX 32768u
#define JOB_GLOBS_MAX 256u
#define JOB_GLOB_MAX 1024u
#define JOB_RULES_MAX 256u
#define JOB_TAGS_MAX 32u
#define JOB_TAG_MAX 64u
#define JOB_TIMEOUT_MAX_S 604800

struct job_ctx {
	const json_t *body;
	const struct config *cfg;
	json_t *job;
	int has_stream; /* the caller can send a source tar */
};

/* source, repo_url, branch, tag, commit, depth, submodules, credentials */
int job_part_source(struct job_ctx *c, struct err *e);
/* command or steps */
int job_part_steps(struct job_ctx *c, struct err *e);
/* vcpus, memory_mib, disk_mib, timeout_s, user, image: default and ceiling */
int job_part_size(struct job_ctx *c, struct err *e);
/* egress: default and ceiling */
int job_part_egress(struct job_ctx *c, struct err *e);
/* workspace, env, secrets, artifacts, tags */
int job_part_world(struct job_ctx *c, struct err *e);

/* Put a member into the job; takes v (NULL: no memory). */
int job_put(struct job_ctx *c, const char *key, json_t *v, struct err *e);
/* The field of e, and its words, lie inside parent: "paths" -> "artifacts.paths". Returns -1. */
int job_inside(struct err *e, const char *parent);

/* Nonzero when text has no control character (newline, tab included). */
int job_plain(const char *text);

#endif
