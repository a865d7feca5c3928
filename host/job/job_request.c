/* SPDX-License-Identifier: Apache-2.0 */
/*
 * job_request.c - from an untrusted request to a job. Everything in the body is hostile until a
 * part has checked it; nothing here touches the network or writes a file.
 */
#include "job.h"

#include <stdio.h>
#include <string.h>

#include "job_parts.h"
#include "jsonx.h"

/* What the guest protocol carries at most (PROTOCOL.md, JOB.spec), less room for the host's own. */
#define JOB_BYTES_MAX (262144u - 16384u)

static const char *const members[] = {
	"source", "repo_url", "branch", "tag", "commit", "depth", "submodules", "credentials",
	"command", "steps", "vcpus", "memory_mib", "disk_mib", "timeout_s", "user", "image",
	"egress", "workspace", "env", "secrets", "artifacts", "tags",
};

int job_put(struct job_ctx *c, const char *key, json_t *v, struct err *e)
{
	if (json_object_set_new(c->job, key, v) < 0)
		return err_set(e, "io", "no memory for the job");
	return 0;
}

int job_inside(struct err *e, const char *parent)
{
	char field[ERR_FIELD_BYTES];

	if (!e)
		return -1;
	snprintf(field, sizeof(field), "%s%s%.60s", parent, e->field[0] ? "." : "", e->field);
	memcpy(e->field, field, sizeof(field));
	return err_prefix(e, "%s", parent);
}

int job_plain(const char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < 0x20 || *text == 0x7f)
			return 0;
	return 1;
}

static int check_size(const json_t *job, struct err *e)
{
	size_t n = json_dumpb(job, NULL, 0, JSON_COMPACT);

	if (n > JOB_BYTES_MAX)
		return err_set(e, "out_of_range", "the job has %zu bytes, at most %u fit", n,
			       JOB_BYTES_MAX);
	return 0;
}

static int from_body(const json_t *body, const struct config *cfg, int has_stream, json_t **job,
		     struct err *e)
{
	static int (*const parts[])(struct job_ctx *, struct err *) = {
		job_part_source, job_part_steps, job_part_size, job_part_egress, job_part_world,
	};
	struct job_ctx c = { .body = body, .cfg = cfg, .has_stream = has_stream };

	if (!json_is_object(body))
		return err_set(e, "bad_type", "a job is a JSON object");
	if (jsonx_only(body, members, sizeof(members) / sizeof(members[0]), e) < 0)
		return -1;
	c.job = json_object();
	if (!c.job)
		return err_set(e, "io", "no memory for the job");
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
		if (parts[i](&c, e) < 0)
			goto fail;
	if (check_size(c.job, e) < 0)
		goto fail;
	*job = c.job;
	return 0;
fail:
	json_decref(c.job);
	return -1;
}

int job_from_request(const json_t *body, const struct config *cfg, json_t **job, struct err *e)
{
	return from_body(body, cfg, 0, job, e);
}

int job_from_local(const json_t *body, const struct config *cfg, json_t **job, struct err *e)
{
	return from_body(body, cfg, 1, job, e);
}
