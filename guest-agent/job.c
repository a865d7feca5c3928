/* SPDX-License-Identifier: Apache-2.0 */
/*
 * job.c - parses the spec of JOB (PROTOCOL.md, section 8) with jansson. Owns the arena of
 * struct job; touches nothing outside. The host has checked the spec; here it is checked
 * again for what would harm the agent or make no sense in a guest.
 */
#include "job.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "wire_msg.h"

#define JOB_MAX_RUN 131000u    /* one argument of execve(2) holds 128 KiB */
#define JOB_MAX_STRINGS 4096u  /* entries of a list or of env */
#define JOB_MAX_NAME 128u
#define JOB_MAX_PATH 1024u
#define JOB_MAX_USERNAME 256u
#define JOB_MAX_PASSWORD 4096u
#define JOB_MAX_MS (1000ull * 3600 * 24 * 365)

/* The bump allocator everything of a job lies in; struct job is the first thing in it. */
struct arena {
	char *base;
	size_t at, cap;
};

struct parser {
	struct arena *arena;
	const json_t *spec;
	struct job *job;
	struct fail *f;
};

static const char *const default_systems[] = { "cargo", "make", "cmake", "meson", "npm", "go", NULL };

static void *take(struct arena *a, size_t n, size_t align)
{
	size_t at = (a->at + align - 1) / align * align;

	if (at > a->cap || n > a->cap - at)
		return NULL;
	a->at = at + n;
	return memset(a->base + at, 0, n);
}

static const char *keep(struct arena *a, const char *s)
{
	size_t n = strlen(s) + 1;
	char *to = take(a, n, 1);

	return to ? memcpy(to, s, n) : NULL;
}

static int bad(struct parser *p, const char *key, const char *what)
{
	return fail_set(p->f, WIRE_CLASS_AGENT, "the job's %s %s", key, what);
}

static int get_string(struct parser *p, const json_t *in, const char *key, size_t max,
		      const char *absent, const char **out)
{
	const json_t *v = json_object_get(in, key);

	if (v && !json_is_null(v) && !json_is_string(v))
		return bad(p, key, "is not a string");
	*out = json_is_string(v) ? json_string_value(v) : absent;
	if (strlen(*out) > max)
		return bad(p, key, "is too long");
	*out = keep(p->arena, *out);
	return *out ? 0 : bad(p, key, "does not fit into memory");
}

static int get_number(struct parser *p, const json_t *in, const char *key, uint64_t max,
		      uint64_t absent, uint64_t *out)
{
	const json_t *v = json_object_get(in, key);

	*out = absent;
	if (!v || json_is_null(v))
		return 0;
	if (!json_is_integer(v) || json_integer_value(v) < 0 ||
	    (uint64_t)json_integer_value(v) > max)
		return bad(p, key, "is not a number in its range");
	*out = (uint64_t)json_integer_value(v);
	return 0;
}

/* A list of strings as a NULL-terminated array; *out stays NULL when the member is absent. */
static int get_list(struct parser *p, const json_t *in, const char *key, const char ***out)
{
	const json_t *v = json_object_get(in, key);
	size_t n = json_array_size(v);

	*out = NULL;
	if (!v || json_is_null(v))
		return 0;
	if (!json_is_array(v) || n > JOB_MAX_STRINGS)
		return bad(p, key, "is not a list, or too long");
	*out = take(p->arena, (n + 1) * sizeof(**out), sizeof(void *));
	if (!*out)
		return bad(p, key, "does not fit into memory");
	for (size_t i = 0; i < n; i++) {
		const char *s = json_string_value(json_array_get(v, i));

		if (!s)
			return bad(p, key, "holds something that is not a string");
		(*out)[i] = keep(p->arena, s);
		if (!(*out)[i])
			return bad(p, key, "does not fit into memory");
	}
	return 0;
}

static int get_word(struct parser *p, const char *key, const char *const *words, int absent,
		    int *out)
{
	const json_t *v = json_object_get(p->spec, key);
	const char *s = json_string_value(v);

	*out = absent;
	if (!v || json_is_null(v))
		return 0;
	for (int i = 0; s && words[i]; i++)
		if (strcmp(s, words[i]) == 0) {
			*out = i;
			return 0;
		}
	return bad(p, key, "has a value that this agent does not know");
}

static int get_env(struct parser *p)
{
	json_t *env = json_object_get(p->spec, "env");
	size_t n = json_object_size(env), i = 0;
	const char *key;
	json_t *v;

	if (env && !json_is_null(env) && !json_is_object(env))
		return bad(p, "env", "is not an object");
	if (n > JOB_MAX_STRINGS)
		return bad(p, "env", "has too many members");
	p->job->env = take(p->arena, (n + 1) * sizeof(*p->job->env), sizeof(void *));
	if (!p->job->env)
		return bad(p, "env", "does not fit into memory");
	json_object_foreach(env, key, v) {
		size_t len = strlen(key) + json_string_length(v) + 2;
		char *to = take(p->arena, len, 1);

		if (!json_is_string(v) || !*key || strchr(key, '='))
			return bad(p, "env", "has a member that is no variable");
		if (!to)
			return bad(p, "env", "does not fit into memory");
		snprintf(to, len, "%s=%s", key, json_string_value(v));
		p->job->env[i++] = to;
	}
	return 0;
}

static int get_step(struct parser *p, const json_t *in, size_t index)
{
	struct job_step *step = &p->job->steps[index];
	char name[32];

	snprintf(name, sizeof(name), "step %zu", index + 1);
	if (!json_is_object(in))
		return bad(p, "steps", "holds something that is not an object");
	if (get_string(p, in, "name", JOB_MAX_NAME, name, &step->name) < 0 ||
	    get_string(p, in, "run", JOB_MAX_RUN, "", &step->run) < 0)
		return -1;
	if (!*step->name)
		step->name = keep(p->arena, name);
	if (!step->name)
		return bad(p, "steps", "does not fit into memory");
	json_t *seconds = json_object_get(in, "timeout_s");
	if (json_is_real(seconds)) { /* a person may write 0.5 */
		double s = json_real_value(seconds);

		if (!(s >= 0 && s <= (double)JOB_MAX_MS / 1000))
			return bad(p, "timeout_s", "is not a number in its range");
		step->timeout_ms = (uint64_t)(s * 1000);
		return 0;
	}
	if (get_number(p, in, "timeout_s", JOB_MAX_MS / 1000, 0, &step->timeout_ms) < 0)
		return -1;
	step->timeout_ms *= 1000;
	return 0;
}

static int get_steps(struct parser *p)
{
	const json_t *steps = json_object_get(p->spec, "steps");
	size_t n = json_array_size(steps);

	if (!steps || json_is_null(steps))
		return 0;
	if (!json_is_array(steps) || n > JOB_MAX_STEPS)
		return bad(p, "steps", "is not a list, or too long");
	p->job->steps = take(p->arena, (n + 1) * sizeof(*p->job->steps), sizeof(void *));
	if (!p->job->steps)
		return bad(p, "steps", "does not fit into memory");
	for (size_t i = 0; i < n; i++)
		if (get_step(p, json_array_get(steps, i), i) < 0)
			return -1;
	p->job->steps_count = n;
	return 0;
}

/* The workspace is a mount point: it must not hide what the agent or a build stands on. */
static int check_workspace(struct parser *p)
{
	static const char *const taken[] = { "/proc", "/sys", "/dev", "/run", "/etc", "/bin", "/sbin",
					     "/lib", "/lib64", "/usr", "/tmp", "/var", "/home",
					     "/root", NULL };
	static const char *const closed[] = { "/proc/", "/sys/", "/dev/", "/run/", NULL };
	const char *w = p->job->workspace;

	if (w[0] != '/' || !w[1] || strstr(w, "//") || strstr(w, "/./") || strstr(w, "/../") ||
	    w[strlen(w) - 1] == '/' || w[strlen(w) - 1] == '.')
		return bad(p, "workspace", "is not a plain absolute path");
	for (size_t i = 0; taken[i]; i++)
		if (strcmp(w, taken[i]) == 0)
			return bad(p, "workspace", "is a folder of the system");
	for (size_t i = 0; closed[i]; i++)
		if (strncmp(w, closed[i], strlen(closed[i])) == 0)
			return bad(p, "workspace", "is inside a folder of the system");
	return 0;
}

static int get_words(struct parser *p)
{
	static const char *const sources[] = { "git", "tar", "none", NULL };
	static const char *const submodules[] = { "recursive", "top", "none", NULL };
	static const char *const users[] = { "build", "root", NULL };
	int source, sub, user;

	if (get_word(p, "source", sources, JOB_SOURCE_GIT, &source) < 0 ||
	    get_word(p, "submodules", submodules, JOB_SUBMODULES_RECURSIVE, &sub) < 0 ||
	    get_word(p, "user", users, 0, &user) < 0)
		return -1;
	p->job->source = (enum job_source)source;
	p->job->submodules = (enum job_submodules)sub;
	p->job->user = users[user];
	return 0;
}

static int get_strings(struct parser *p)
{
	struct job *job = p->job;

	if (get_string(p, p->spec, "build_id", JOB_MAX_NAME, "", &job->build_id) < 0 ||
	    get_string(p, p->spec, "repo_url", 4096, "", &job->repo_url) < 0 ||
	    get_string(p, p->spec, "branch", JOB_MAX_PATH, "", &job->branch) < 0 ||
	    get_string(p, p->spec, "tag", JOB_MAX_PATH, "", &job->tag) < 0 ||
	    get_string(p, p->spec, "commit", 64, "", &job->commit) < 0 ||
	    get_string(p, p->spec, "image", JOB_MAX_NAME, "", &job->image) < 0 ||
	    get_string(p, p->spec, "workspace", JOB_MAX_PATH, "/workspace", &job->workspace) < 0)
		return -1;
	return check_workspace(p);
}

static int get_credentials(struct parser *p)
{
	const json_t *given = json_object_get(p->spec, "credentials");

	if (given && !json_is_null(given) && !json_is_object(given))
		return bad(p, "credentials", "is not an object");
	if (get_string(p, given, "username", JOB_MAX_USERNAME, "", &p->job->username) < 0)
		return -1;
	return get_string(p, given, "password", JOB_MAX_PASSWORD, "", &p->job->password);
}

static int get_lists(struct parser *p)
{
	struct job *job = p->job;
	const json_t *artifacts = json_object_get(p->spec, "artifacts");

	if (artifacts && !json_is_null(artifacts) && !json_is_object(artifacts))
		return bad(p, "artifacts", "is not an object");
	if (get_list(p, p->spec, "build_systems", &job->build_systems) < 0 ||
	    get_list(p, p->spec, "log_lines", &job->log_lines) < 0 ||
	    get_list(p, artifacts, "paths", &job->artifact_paths) < 0 ||
	    get_list(p, artifacts, "exclude", &job->artifact_exclude) < 0)
		return -1;
	if (!job->build_systems)
		job->build_systems = (const char **)default_systems;
	if (!job->log_lines)
		job->log_lines = take(p->arena, sizeof(void *), sizeof(void *));
	if (!job->artifact_exclude)
		job->artifact_exclude = take(p->arena, sizeof(void *), sizeof(void *));
	return job->log_lines && job->artifact_exclude ? 0 : bad(p, "spec", "does not fit into memory");
}

static int get_numbers(struct parser *p)
{
	struct job *job = p->job;
	uint64_t depth;

	if (get_number(p, p->spec, "depth", INT32_MAX, 1, &depth) < 0 ||
	    get_number(p, p->spec, "artifact_bytes_max", INT64_MAX, 0, &job->artifact_bytes_max) < 0 ||
	    get_number(p, p->spec, "artifact_files_max", INT64_MAX, 0, &job->artifact_files_max) < 0 ||
	    get_number(p, p->spec, "timeout_ms", JOB_MAX_MS, 0, &job->timeout_ms) < 0 ||
	    get_number(p, p->spec, "grace_ms", JOB_MAX_MS, 10000, &job->grace_ms) < 0)
		return -1;
	job->depth = (uint32_t)depth;
	return 0;
}

static int parse(struct parser *p)
{
	if (get_words(p) < 0 || get_strings(p) < 0 || get_credentials(p) < 0 || get_numbers(p) < 0 ||
	    get_lists(p) < 0 || get_env(p) < 0 || get_steps(p) < 0)
		return -1;
	if (p->job->source == JOB_SOURCE_GIT && !*p->job->repo_url)
		return bad(p, "repo_url", "is missing");
	return 0;
}

int job_parse(const char *text, size_t n, struct job **out, struct fail *f)
{
	/* strings are no longer than their JSON; a pointer or a step takes a few bytes of it */
	struct arena arena = { .cap = 8 * n + 16384 };
	struct parser p = { .arena = &arena, .f = f };
	json_error_t err;
	json_t *spec = json_loadb(text, n, JSON_REJECT_DUPLICATES, &err);
	int rc;

	if (!json_is_object(spec)) {
		json_decref(spec);
		return fail_set(f, WIRE_CLASS_AGENT, "the job is not a JSON object: %s", err.text);
	}
	arena.base = malloc(arena.cap);
	p.spec = spec;
	p.job = arena.base ? take(&arena, sizeof(*p.job), sizeof(void *)) : NULL;
	rc = p.job ? parse(&p) : fail_set(f, WIRE_CLASS_AGENT, "no memory for the job");
	json_decref(spec);
	if (rc < 0) {
		free(arena.base);
		return -1;
	}
	*out = p.job;
	return 0;
}

void job_free(struct job *job)
{
	free(job); /* the arena begins with it */
}
