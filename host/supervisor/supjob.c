/* SPDX-License-Identifier: Apache-2.0 */
/*
 * supjob.c - parses the supervisor document. Owns nothing but the struct it fills; opens no
 * file but ca_file. What jansson allocated on the way is overwritten before it is freed,
 * because the spec may hold secrets.
 */
#include "supjob.h"

#include <fcntl.h>
#include <malloc.h>
#include <string.h>
#include <sys/param.h>

#include "cleanup.h"
#include "fileio.h"
#include "jsonx.h"

#define WORD_BYTES 256
#define PATH_BYTES 4095
#define DEADLINE_MS_MAX (INT64_C(30) * 24 * 3600 * 1000)
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static void cleanup_json(json_t **v)
{
	json_decref(*v);
}
#define _cleanup_json_ __attribute__((cleanup(cleanup_json)))

static void wipe_free(void *p)
{
	if (p)
		explicit_bzero(p, malloc_usable_size(p));
	free(p);
}

static int missing(struct err *e, const char *key)
{
	return err_field(e, "bad_value", key, "%s is missing", key);
}

static int copy(const char *s, const char *key, char **out, struct err *e)
{
	*out = strdup(s);
	return *out ? 0 : err_set(e, "io", "no memory for %s", key);
}

/* A string; when absent dflt, and when that is NULL an error. */
static int get_str(const json_t *o, const char *key, size_t max_bytes, const char *dflt,
		   char **out, struct err *e)
{
	const char *s = dflt;

	if (jsonx_str(o, key, max_bytes, &s, e) < 0)
		return -1;
	if (!s)
		return missing(e, key);
	return copy(s, key, out, e);
}

static int get_u64(const json_t *o, const char *key, int64_t min, int64_t max, int64_t dflt,
		   uint64_t *out, struct err *e)
{
	int64_t n = dflt;

	if (jsonx_int(o, key, min, max, &n, e) < 0)
		return -1;
	if (n < min)
		return missing(e, key);
	*out = (uint64_t)n;
	return 0;
}

static int get_u32(const json_t *o, const char *key, int64_t min, int64_t max, int64_t dflt,
		   uint32_t *out, struct err *e)
{
	uint64_t n = 0;

	if (get_u64(o, key, min, max, dflt, &n, e) < 0)
		return -1;
	*out = (uint32_t)n;
	return 0;
}

/* One of words; *out gets its index. */
static int get_word(const json_t *o, const char *key, const char *const *words, size_t n,
		    unsigned *out, struct err *e)
{
	const char *s = words[0];

	if (jsonx_str(o, key, WORD_BYTES, &s, e) < 0)
		return -1;
	for (size_t i = 0; i < n; i++)
		if (strcmp(words[i], s) == 0) {
			*out = (unsigned)i;
			return 0;
		}
	return err_field(e, "bad_value", key, "%s is not a value of %s", s, key);
}

static int get_object(const json_t *o, const char *key, json_t **out, struct err *e)
{
	*out = NULL;
	if (jsonx_object(o, key, out, e) < 0)
		return -1;
	return *out ? 0 : missing(e, key);
}

static int get_strings(const json_t *o, const char *key, struct supjob_strings *out,
		       struct err *e)
{
	json_t *a = NULL, *v;
	size_t i;

	if (jsonx_str_array(o, key, SUPJOB_RULES_MAX, SUPJOB_RULE_BYTES, &a, e) < 0)
		return -1;
	if (!a || json_array_size(a) == 0)
		return 0;
	out->item = calloc(json_array_size(a), sizeof(*out->item));
	if (!out->item)
		return err_set(e, "io", "no memory for %s", key);
	json_array_foreach(a, i, v) {
		if (copy(json_string_value(v), key, &out->item[i], e) < 0)
			return -1;
		out->count++;
	}
	return 0;
}

static int parse_vmm(struct supjob_vmm *v, const json_t *o, struct err *e)
{
	static const char *const known[] = { "kind", "accel", "qemu", "vsock", "vhost_device_vsock",
					     "kernel", "initramfs", "probe_initramfs",
					     "cmdline_append", "cache_dir" };
	static const char *const accels[] = { "auto", "kvm", "tcg" };
	static const char *const vsocks[] = { "auto", "kernel", "user" };
	unsigned accel = 0, vsock = 0;

	if (jsonx_only(o, known, COUNT(known), e) < 0 ||
	    get_str(o, "kind", WORD_BYTES, "qemu", &v->kind, e) < 0 ||
	    get_word(o, "accel", accels, COUNT(accels), &accel, e) < 0 ||
	    get_word(o, "vsock", vsocks, COUNT(vsocks), &vsock, e) < 0 ||
	    get_str(o, "qemu", PATH_BYTES, "qemu-system-x86_64", &v->qemu, e) < 0 ||
	    get_str(o, "vhost_device_vsock", PATH_BYTES, "", &v->vhost_device_vsock, e) < 0 ||
	    get_str(o, "kernel", PATH_BYTES, "", &v->kernel, e) < 0 ||
	    get_str(o, "initramfs", PATH_BYTES, "", &v->initramfs, e) < 0 ||
	    get_str(o, "probe_initramfs", PATH_BYTES, "", &v->probe_initramfs, e) < 0 ||
	    get_str(o, "cmdline_append", 1024, "", &v->cmdline_append, e) < 0 ||
	    get_str(o, "cache_dir", PATH_BYTES, "", &v->cache_dir, e) < 0)
		return -1;
	if (strcmp(v->kind, "qemu") != 0)
		return err_field(e, "bad_value", "kind", "there is no VMM '%.64s', only qemu", v->kind);
	v->accel = (enum supjob_accel)accel;
	v->vsock = (enum supjob_vsock)vsock;
	return 0;
}

static int parse_machine(struct supjob_machine *m, const json_t *o, struct err *e)
{
	static const char *const known[] = { "image", "image_name", "image_format", "vcpus",
					     "memory_mib", "disk_mib" };

	if (jsonx_only(o, known, COUNT(known), e) < 0 ||
	    get_str(o, "image", PATH_BYTES, NULL, &m->image, e) < 0 ||
	    get_str(o, "image_name", WORD_BYTES, "", &m->image_name, e) < 0 ||
	    get_str(o, "image_format", WORD_BYTES, "", &m->image_format, e) < 0 ||
	    get_u32(o, "vcpus", 1, 255, 2, &m->vcpus, e) < 0 ||
	    get_u32(o, "memory_mib", 64, 16 * 1024 * 1024, 2048, &m->memory_mib, e) < 0 ||
	    get_u32(o, "disk_mib", 16, 64 * 1024 * 1024, 8192, &m->disk_mib, e) < 0)
		return -1;
	return 0;
}

static int parse_deadlines(struct supjob_deadlines *d, const json_t *o, struct err *e)
{
	static const char *const known[] = { "boot", "clone", "steps", "upload", "job", "heartbeat",
					     "grace" };
	uint64_t *const out[] = { &d->boot, &d->clone, &d->steps, &d->upload, &d->job,
				  &d->heartbeat, &d->grace };

	if (jsonx_only(o, known, COUNT(known), e) < 0)
		return -1;
	for (size_t i = 0; i < COUNT(known); i++) /* only grace may be 0: nothing lasts forever */
		if (get_u64(o, known[i], out[i] == &d->grace ? 0 : 1, DEADLINE_MS_MAX, -1, out[i],
			    e) < 0)
			return err_prefix(e, "deadlines_ms");
	return 0;
}

static int parse_limits(struct supjob_limits *l, const json_t *o, struct err *e)
{
	static const char *const known[] = { "log_bytes", "artifact_bytes", "artifact_files",
					     "console_bytes", "events" };

	if (jsonx_only(o, known, COUNT(known), e) < 0 ||
	    get_u64(o, "log_bytes", 0, INT64_MAX, -1, &l->log_bytes, e) < 0 ||
	    get_u64(o, "artifact_bytes", 0, INT64_MAX, -1, &l->artifact_bytes, e) < 0 ||
	    get_u32(o, "artifact_files", 0, INT32_MAX, -1, &l->artifact_files, e) < 0 ||
	    get_u64(o, "console_bytes", 4096, 1 << 30, -1, &l->console_bytes, e) < 0 ||
	    get_u32(o, "events", 64, INT32_MAX, -1, &l->events, e) < 0)
		return err_prefix(e, "limits");
	return 0;
}

static int parse_egress(struct supjob_egress *g, const json_t *o, struct err *e)
{
	static const char *const known[] = { "mode", "allow", "deny", "private" };
	static const char *const modes[] = { "none", "allow", "audit", "all" };
	unsigned mode = 0;

	if (jsonx_only(o, known, COUNT(known), e) < 0 ||
	    get_word(o, "mode", modes, COUNT(modes), &mode, e) < 0 ||
	    get_strings(o, "allow", &g->allow, e) < 0 ||
	    get_strings(o, "deny", &g->deny, e) < 0 ||
	    get_strings(o, "private", &g->private_, e) < 0)
		return err_prefix(e, "egress");
	g->mode = (enum supjob_egress_mode)mode;
	return 0;
}

static int parse_repo(struct supjob_repo *r, const json_t *doc, struct err *e)
{
	static const char *const known[] = { "scheme", "host", "port" };
	json_t *o = NULL;
	uint64_t port = 0;

	if (jsonx_object(doc, "repo", &o, e) < 0)
		return -1;
	if (!o)
		return 0;
	if (jsonx_only(o, known, COUNT(known), e) < 0 ||
	    get_str(o, "scheme", 16, NULL, &r->scheme, e) < 0 ||
	    get_str(o, "host", 255, NULL, &r->host, e) < 0 ||
	    get_u64(o, "port", 1, 65535, -1, &port, e) < 0)
		return err_prefix(e, "repo");
	r->port = (uint16_t)port;
	return 0;
}

static int parse_uid_range(struct supjob *job, const json_t *doc, struct err *e)
{
	const json_t *v = json_object_get(doc, "uid_range");

	if (!v || json_is_null(v))
		return 0;
	if (!json_is_array(v) || json_array_size(v) != 2 ||
	    !json_is_integer(json_array_get(v, 0)) || !json_is_integer(json_array_get(v, 1)))
		return err_field(e, "bad_type", "uid_range",
				 "uid_range must be null or two integers, first and count");
	json_int_t first = json_integer_value(json_array_get(v, 0));
	json_int_t count = json_integer_value(json_array_get(v, 1));
	if (first < 1 || count < 1 || first > INT32_MAX || count > INT32_MAX - first)
		return err_field(e, "out_of_range", "uid_range",
				 "uid_range needs a first uid above 0 and a count above 0");
	job->uid_first = (uint32_t)first;
	job->uid_count = (uint32_t)count;
	return 0;
}

static int parse_uids(struct supjob *job, const json_t *doc, struct err *e)
{
	if (parse_uid_range(job, doc, e) < 0)
		return -1;
	return job->uid_count ? get_str(doc, "uid_dir", PATH_BYTES, NULL, &job->uid_dir, e) : 0;
}

static int set_spec(struct supjob *job, const json_t *spec, struct err *e)
{
	char *text = json_dumps(spec, JSON_COMPACT);

	if (!text)
		return err_set(e, "io", "no memory for the spec");
	if (strlen(text) > SUPJOB_SPEC_BYTES) {
		wipe_free(text);
		return err_field(e, "out_of_range", "spec", "the spec is larger than %u bytes",
				 SUPJOB_SPEC_BYTES);
	}
	wipe_free(job->spec);
	job->spec = text;
	job->spec_bytes = strlen(text);
	return 0;
}

static int parse_id(struct supjob *job, const json_t *doc, struct err *e)
{
	const char *id = NULL;
	int64_t format = 0;

	if (jsonx_int(doc, "format", 0, INT64_MAX, &format, e) < 0 ||
	    jsonx_str(doc, "build_id", sizeof(job->build_id) - 1, &id, e) < 0 ||
	    get_u32(doc, "attempt", 1, INT32_MAX, 1, &job->attempt, e) < 0 ||
	    get_u32(doc, "emulation_factor", 1, 1000, 1, &job->emulation_factor, e) < 0)
		return -1;
	if (format != 1)
		return err_field(e, "bad_value", "format", "format must be 1");
	if (!id || !*id || strspn(id, "abcdefghijklmnopqrstuvwxyz0123456789_-") != strlen(id))
		return err_field(e, "bad_value", "build_id", "build_id is missing or malformed");
	snprintf(job->build_id, sizeof(job->build_id), "%s", id);
	return 0;
}

static int parse_document(struct supjob *job, const json_t *doc, struct err *e)
{
	static const char *const known[] = { "format", "build_id", "attempt", "vmm", "machine",
					     "uid_range", "uid_dir", "deadlines_ms",
					     "emulation_factor", "limits", "egress", "repo",
					     "ca_file", "spec" };
	json_t *o;

	if (jsonx_only(doc, known, COUNT(known), e) < 0 || parse_id(job, doc, e) < 0)
		return -1;
	if (get_object(doc, "vmm", &o, e) < 0 || parse_vmm(&job->vmm, o, e) < 0)
		return -1;
	if (get_object(doc, "machine", &o, e) < 0 || parse_machine(&job->machine, o, e) < 0)
		return -1;
	if (get_object(doc, "deadlines_ms", &o, e) < 0 ||
	    parse_deadlines(&job->deadlines_ms, o, e) < 0)
		return -1;
	if (get_object(doc, "limits", &o, e) < 0 || parse_limits(&job->limits, o, e) < 0)
		return -1;
	if (get_object(doc, "egress", &o, e) < 0 || parse_egress(&job->egress, o, e) < 0)
		return -1;
	if (parse_repo(&job->repo, doc, e) < 0 || parse_uids(job, doc, e) < 0 ||
	    get_str(doc, "ca_file", PATH_BYTES, "", &job->ca_file, e) < 0)
		return -1;
	if (get_object(doc, "spec", &o, e) < 0)
		return -1;
	return set_spec(job, o, e);
}

static int start(struct supjob *job, const char *text, size_t n, json_t **out, struct err *e)
{
	*job = (struct supjob){ .factor = 1, .source_fd = -1 };
	json_set_alloc_funcs(malloc, wipe_free);
	return jsonx_parse_object(text, n, SUPJOB_DOCUMENT_BYTES, out, e);
}

int supjob_parse(struct supjob *job, const char *text, size_t n, struct err *e)
{
	_cleanup_json_ json_t *doc = NULL;

	if (start(job, text, n, &doc, e) < 0)
		return -1;
	return parse_document(job, doc, e);
}

int supjob_parse_vmm(struct supjob *job, const char *text, size_t n, struct err *e)
{
	_cleanup_json_ json_t *doc = NULL;

	if (start(job, text, n, &doc, e) < 0 || parse_uid_range(job, doc, e) < 0)
		return -1;
	json_object_del(doc, "uid_range"); /* the rest are the members of vmm */
	return parse_vmm(&job->vmm, doc, e);
}

int supjob_load_ca(struct supjob *job, struct err *e)
{
	_cleanup_free_ char *path = NULL;

	if (!*job->ca_file) {
		job->ca_bundle = calloc(1, 1);
		return job->ca_bundle ? 0 : err_set(e, "io", "no memory");
	}
	path = realpath(job->ca_file, NULL); /* it may be a link */
	if (!path)
		return err_errno(e, "not_found", "ca_file %s", job->ca_file);
	if (fileio_read(AT_FDCWD, path, SUPJOB_CA_BYTES, &job->ca_bundle, &job->ca_bundle_bytes, e) < 0)
		return err_prefix(e, "ca_file");
	return 0;
}

static void scale_member(json_t *o, const char *key, uint32_t factor)
{
	json_t *v = json_object_get(o, key);

	if (json_is_integer(v) && json_integer_value(v) > 0)
		json_integer_set(v, MIN(json_integer_value(v), DEADLINE_MS_MAX) * factor);
}

int supjob_scale(struct supjob *job, uint32_t factor, struct err *e)
{
	struct supjob_deadlines *d = &job->deadlines_ms;
	_cleanup_json_ json_t *spec = NULL;
	json_t *steps, *step;
	size_t i;

	job->factor = factor;
	if (factor == 1)
		return 0;
	d->boot *= factor;
	d->clone *= factor;
	d->steps *= factor;
	d->upload *= factor;
	d->job *= factor;
	d->heartbeat *= factor;
	if (jsonx_parse_object(job->spec, job->spec_bytes, SUPJOB_SPEC_BYTES, &spec, e) < 0)
		return err_prefix(e, "spec");
	scale_member(spec, "timeout_ms", factor);
	steps = json_object_get(spec, "steps");
	json_array_foreach(steps, i, step) {
		scale_member(step, "timeout_s", factor);
	}
	return set_spec(job, spec, e);
}

void supjob_wipe(struct supjob *job)
{
	wipe_free(job->spec);
	wipe_free(job->ca_bundle);
	job->spec = job->ca_bundle = NULL;
	job->spec_bytes = job->ca_bundle_bytes = 0;
}

static void free_strings(struct supjob_strings *s)
{
	for (size_t i = 0; i < s->count; i++)
		free(s->item[i]);
	free(s->item);
}

void supjob_fini(struct supjob *job)
{
	struct supjob_vmm *v = &job->vmm;
	char *const owned[] = { v->kind, v->qemu, v->vhost_device_vsock, v->kernel, v->initramfs,
				v->probe_initramfs, v->cmdline_append, v->cache_dir,
				job->machine.image, job->machine.image_name,
				job->machine.image_format, job->uid_dir, job->repo.scheme,
				job->repo.host, job->ca_file };

	supjob_wipe(job);
	for (size_t i = 0; i < COUNT(owned); i++)
		free(owned[i]);
	free_strings(&job->egress.allow);
	free_strings(&job->egress.deny);
	free_strings(&job->egress.private_);
	*job = (struct supjob){ .source_fd = -1 };
}
