/* SPDX-License-Identifier: Apache-2.0 */
/*
 * job.h - what a person asks for: checked, completed from the configuration, held under its
 * ceilings.
 *
 * A *request* is the untrusted body of POST /build (or what `kiln run` made of its options). A
 * *job* is the checked JSON object that the queue keeps; every member is there:
 *
 *   source, repo_url, branch, tag, commit (strings, "" when absent), depth, submodules,
 *   steps (array of {name, run, timeout_s}, or null: found from the source),
 *   vcpus, memory_mib, disk_mib, timeout_s, workspace, user, image, env, secrets, credentials,
 *   artifacts {paths (array or null), exclude}, egress {mode, allow}, tags
 *
 * Secrets stand in it in clear: show it only through job_public.
 */
#ifndef KILN_JOB_H
#define KILN_JOB_H

#include <jansson.h>

#include "config.h"
#include "err.h"

/*
 * Check body and complete it. *job is new (json_decref). e->field names the member at fault
 * ("egress.allow", "steps[2].run").
 * Codes for 403: "over_ceiling". For 400: "bad_type", "bad_value", "out_of_range",
 * "unknown_field", "missing_field", "unsupported_scheme", "unknown_image". For 500: "io".
 * Source "tar" is refused: a request brings no source stream.
 */
int job_from_request(const json_t *body, const struct config *cfg, json_t **job, struct err *e);

/* The same for a caller that has a source stream for `tar` (`kiln run`). */
int job_from_local(const json_t *body, const struct config *cfg, json_t **job, struct err *e);

/* A copy for people and the API: every value of secrets and credentials is "***". */
int job_public(const json_t *job, json_t **out);

/*
 * The supervisor document (docs/build-directory.md). *doc is new and holds secrets. The image is
 * looked up again. Codes: "unknown_image", "io".
 */
int job_supervisor_doc(const json_t *job, const struct config *cfg, const char *build_id,
		       int attempt, json_t **doc, struct err *e);

/* The document of kiln-supervisor --probe. New, or NULL without memory. */
json_t *job_probe_doc(const struct config *cfg);

/*
 * "build_" and a random UUID (version 4), NUL-terminated. Code "io".
 */
#define JOB_ID_BYTES 43
int job_new_id(char id[JOB_ID_BYTES], struct err *e);
/* Nonzero when text is such an id. */
int job_id_ok(const char *text);

#endif
