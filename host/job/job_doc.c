/* SPDX-License-Identifier: Apache-2.0 */
/*
 * job_doc.c - what becomes of a job: the supervisor document, and the copy that people may see.
 */
#include "job.h"

#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "image.h"
#include "repo_url.h"

static const char *text_of(const json_t *job, const char *key)
{
	const char *s = json_string_value(json_object_get(job, key));

	return s ? s : "";
}

static void mask(json_t *object)
{
	const char *key;
	json_t *v;
	void *next;

	json_object_foreach_safe(object, next, key, v)
		json_object_set_new(object, key, json_string("***"));
}

int job_public(const json_t *job, json_t **out)
{
	json_t *copy = json_deep_copy(job);

	if (!copy)
		return -1;
	mask(json_object_get(copy, "secrets"));
	mask(json_object_get(copy, "credentials"));
	*out = copy;
	return 0;
}

static json_t *vmm(const struct config *cfg)
{
	char cache[PATH_MAX];

	if (config_below(cfg, cache, sizeof(cache), "cache") < 0)
		return NULL;
	return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s}",
			 "kind", config_str(cfg, CONFIG_VMM_KIND),
			 "accel", config_str(cfg, CONFIG_VMM_ACCEL),
			 "qemu", config_str(cfg, CONFIG_VMM_QEMU),
			 "vsock", config_str(cfg, CONFIG_VMM_VSOCK),
			 "vhost_device_vsock", config_str(cfg, CONFIG_VMM_VHOST_DEVICE_VSOCK),
			 "kernel", config_str(cfg, CONFIG_KERNEL),
			 "initramfs", config_str(cfg, CONFIG_INITRAMFS),
			 "probe_initramfs", config_str(cfg, CONFIG_PROBE_INITRAMFS),
			 "cmdline_append", config_str(cfg, CONFIG_VMM_CMDLINE_APPEND),
			 "cache_dir", cache);
}

static json_t *number(const struct config *cfg, enum config_key key, int64_t factor)
{
	return json_integer(config_int(cfg, key) * factor);
}

static int64_t timeout_ms(const json_t *job)
{
	return json_integer_value(json_object_get(job, "timeout_s")) * 1000;
}

/* A timeout that the ceiling allowed must not be cut short by the deadline of the whole job. */
static int64_t job_deadline_ms(const json_t *job, const struct config *cfg)
{
	static const enum config_key parts[] = { CONFIG_DEADLINES_BOOT_S, CONFIG_DEADLINES_CLONE_S,
						 CONFIG_DEADLINES_UPLOAD_S };
	int64_t whole = config_int(cfg, CONFIG_DEADLINES_JOB_S) * 1000, sum = timeout_ms(job);

	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
		sum += config_int(cfg, parts[i]) * 1000;
	return sum > whole ? sum : whole;
}

static json_t *deadlines(const json_t *job, const struct config *cfg)
{
	return json_pack("{s:o, s:o, s:I, s:o, s:I, s:o, s:o}",
			 "boot", number(cfg, CONFIG_DEADLINES_BOOT_S, 1000),
			 "clone", number(cfg, CONFIG_DEADLINES_CLONE_S, 1000),
			 "steps", (json_int_t)timeout_ms(job),
			 "upload", number(cfg, CONFIG_DEADLINES_UPLOAD_S, 1000),
			 "job", (json_int_t)job_deadline_ms(job, cfg),
			 "heartbeat", number(cfg, CONFIG_DEADLINES_HEARTBEAT_S, 1000),
			 "grace", number(cfg, CONFIG_DEADLINES_GRACE_S, 1000));
}

static json_t *limits(const struct config *cfg)
{
	return json_pack("{s:o, s:o, s:o, s:o, s:o}",
			 "log_bytes", number(cfg, CONFIG_LIMITS_LOG_BYTES, 1),
			 "artifact_bytes", number(cfg, CONFIG_LIMITS_ARTIFACT_BYTES, 1),
			 "artifact_files", number(cfg, CONFIG_LIMITS_ARTIFACT_FILES, 1),
			 "console_bytes", number(cfg, CONFIG_LIMITS_CONSOLE_BYTES, 1),
			 "events", number(cfg, CONFIG_LIMITS_EVENTS, 1));
}

static json_t *egress(const json_t *job, const struct config *cfg)
{
	const json_t *asked = json_object_get(job, "egress");
	json_t *allow = json_deep_copy(json_object_get(asked, "allow"));

	json_array_extend(allow, (json_t *)config_list(cfg, CONFIG_EGRESS_ALLOW));
	return json_pack("{s:s, s:o, s:O, s:O}", "mode", text_of(asked, "mode"), "allow", allow,
			 "deny", config_list(cfg, CONFIG_EGRESS_DENY),
			 "private", config_list(cfg, CONFIG_EGRESS_PRIVATE));
}

/* {name, run, timeout_s} in a job, {name, run, timeout_s or absent} for the guest. */
static json_t *spec_steps(const json_t *job)
{
	json_t *steps = json_deep_copy(json_object_get(job, "steps"));
	json_t *step;
	size_t i;

	json_array_foreach(steps, i, step)
		if (json_integer_value(json_object_get(step, "timeout_s")) == 0)
			json_object_del(step, "timeout_s");
	return steps;
}

static json_t *spec_env(const json_t *job)
{
	json_t *env = json_deep_copy(json_object_get(job, "env"));

	json_object_update(env, json_object_get(job, "secrets"));
	return env;
}

/* An absent artifacts.paths means: what the build system leaves. */
static json_t *spec_artifacts(const json_t *job)
{
	json_t *a = json_deep_copy(json_object_get(job, "artifacts"));

	if (json_is_null(json_object_get(a, "paths")))
		json_object_del(a, "paths");
	return a;
}

static void copy_text(json_t *spec, const json_t *job, const char *key)
{
	if (*text_of(job, key))
		json_object_set(spec, key, json_object_get(job, key));
}

static json_t *spec_doc(const json_t *job, const struct config *cfg, const char *build_id)
{
	json_t *spec = json_pack("{s:s, s:O, s:O, s:O, s:O, s:O, s:O, s:O, s:o, s:o, s:o, s:o, s:I, "
				 "s:o, s:[]}",
				 "build_id", build_id,
				 "source", json_object_get(job, "source"),
				 "depth", json_object_get(job, "depth"),
				 "submodules", json_object_get(job, "submodules"),
				 "build_systems", config_list(cfg, CONFIG_BUILD_SYSTEMS),
				 "workspace", json_object_get(job, "workspace"),
				 "user", json_object_get(job, "user"),
				 "image", json_object_get(job, "image"),
				 "env", spec_env(job),
				 "artifacts", spec_artifacts(job),
				 "artifact_bytes_max", number(cfg, CONFIG_LIMITS_ARTIFACT_BYTES, 1),
				 "artifact_files_max", number(cfg, CONFIG_LIMITS_ARTIFACT_FILES, 1),
				 "timeout_ms", (json_int_t)timeout_ms(job),
				 "grace_ms", number(cfg, CONFIG_DEADLINES_GRACE_S, 1000),
				 "log_lines");

	if (!spec)
		return NULL;
	copy_text(spec, job, "repo_url");
	copy_text(spec, job, "branch");
	copy_text(spec, job, "tag");
	copy_text(spec, job, "commit");
	if (json_object_size(json_object_get(job, "credentials")) > 0)
		json_object_set(spec, "credentials", json_object_get(job, "credentials"));
	if (json_is_array(json_object_get(job, "steps")))
		json_object_set_new(spec, "steps", spec_steps(job));
	return spec;
}

static int add_repo(json_t *doc, const json_t *job, struct err *e)
{
	struct repo_url url;

	if (!*text_of(job, "repo_url"))
		return 0;
	if (repo_url_parse(text_of(job, "repo_url"), &url, e) < 0)
		return -1;
	if (json_object_set_new(doc, "repo", json_pack("{s:s, s:s, s:i}", "scheme", url.scheme, "host",
						       url.host, "port", url.port)) < 0)
		return err_set(e, "io", "no memory for the job");
	return 0;
}

static json_t *machine(const json_t *job, const struct image *image)
{
	return json_pack("{s:s, s:s, s:s, s:O, s:O, s:O}", "image", image->path, "image_name",
			 image->name, "image_format", image->format,
			 "vcpus", json_object_get(job, "vcpus"),
			 "memory_mib", json_object_get(job, "memory_mib"),
			 "disk_mib", json_object_get(job, "disk_mib"));
}

static json_t *uid_range(const struct config *cfg)
{
	if (geteuid() != 0)
		return json_null();
	return json_pack("[I, I]", (json_int_t)config_int(cfg, CONFIG_UID_FIRST),
			 (json_int_t)config_int(cfg, CONFIG_UID_COUNT));
}

json_t *job_probe_doc(const struct config *cfg)
{
	json_t *d = vmm(cfg);

	if (d && json_object_set_new(d, "uid_range", uid_range(cfg)) < 0) {
		json_decref(d);
		return NULL;
	}
	return d;
}

int job_supervisor_doc(const json_t *job, const struct config *cfg, const char *build_id,
		       int attempt, json_t **doc, struct err *e)
{
	char uid_dir[PATH_MAX];
	struct image image;
	json_t *d;

	if (image_find(cfg, text_of(job, "image"), &image, e) < 0)
		return -1;
	if (config_below(cfg, uid_dir, sizeof(uid_dir), "uids") < 0)
		return err_field(e, "io", "dir", "the path of dir is too long");
	d = json_pack("{s:i, s:s, s:i, s:o, s:o, s:o, s:s, s:o, s:o, s:o, s:o, s:s, s:o}", "format", 1,
		      "build_id", build_id, "attempt", attempt, "vmm", vmm(cfg),
		      "machine", machine(job, &image), "uid_range", uid_range(cfg), "uid_dir", uid_dir,
		      "deadlines_ms", deadlines(job, cfg), "emulation_factor",
		      number(cfg, CONFIG_EMULATION_FACTOR, 1), "limits", limits(cfg), "egress",
		      egress(job, cfg), "ca_file", config_str(cfg, CONFIG_CA_FILE), "spec",
		      spec_doc(job, cfg, build_id));
	if (!d)
		return err_set(e, "io", "no memory for the job");
	if (add_repo(d, job, e) < 0) {
		json_decref(d);
		return -1;
	}
	*doc = d;
	return 0;
}
