/* SPDX-License-Identifier: Apache-2.0 */
/* job_world.c - the part of a request that says in what world the steps run, and what they leave. */
#include <ctype.h>
#include <string.h>

#include "job_parts.h"
#include "jsonx.h"

#define WORKSPACE_MAX 255u

/* Does the path lie at or below one of these, which the guest needs as they are? */
static int is_system_dir(const char *path)
{
	static const char *const dirs[] = { "/proc", "/sys", "/dev", "/run", "/etc", "/usr", "/bin",
					    "/sbin", "/lib", "/lib64", "/boot" };

	for (size_t i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++) {
		size_t n = strlen(dirs[i]);

		if (strncmp(path, dirs[i], n) == 0 && (path[n] == '\0' || path[n] == '/'))
			return 1;
	}
	return 0;
}

/* "..", "." or an empty component between slashes. */
static int has_odd_component(const char *path)
{
	while (*path) {
		size_t n = strcspn(path, "/");

		if (n == 0 || (n == 1 && path[0] == '.') || (n == 2 && strncmp(path, "..", 2) == 0))
			return 1;
		path += n;
		if (*path == '/' && *++path == '\0')
			return 1;
	}
	return 0;
}

static int put_workspace(struct job_ctx *c, struct err *e)
{
	const char *path = "/workspace";

	if (jsonx_str(c->body, "workspace", WORKSPACE_MAX, &path, e) < 0)
		return -1;
	if (path[0] != '/' || path[1] == '\0' || has_odd_component(path + 1) || !job_plain(path) ||
	    is_system_dir(path))
		return err_field(e, "bad_value", "workspace", "workspace must be an absolute path "
				 "without '.', '..' or '//', not a directory of the system");
	return job_put(c, "workspace", json_string(path), e);
}

static int name_ok(const char *name)
{
	size_t n = strlen(name);

	return n > 0 && n <= JOB_NAME_MAX && !isdigit((unsigned char)name[0]) &&
	       strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_") == n;
}

/* env and secrets: an object of strings under names that a shell takes. */
static int put_vars(struct job_ctx *c, const char *key, struct err *e)
{
	json_t *given = NULL, *v;
	const char *name, *value;

	if (jsonx_object(c->body, key, &given, e) < 0)
		return -1;
	if (json_object_size(given) > JOB_ENV_MAX)
		return err_field(e, "out_of_range", key, "%s has more than %u members", key,
				 JOB_ENV_MAX);
	json_object_foreach(given, name, v) {
		if (!name_ok(name))
			return err_field(e, "bad_value", key, "%s: '%.64s' is not a variable's name "
					 "(letters, digits, '_', no digit first)", key,
					 job_plain(name) ? name : "?");
		if (json_is_null(v))
			return err_field(e, "bad_type", key, "%s.%.64s must be a string, not null", key,
					 name);
		if (jsonx_str(given, name, JOB_ENV_VALUE_MAX, &value, e) < 0)
			return job_inside(e, key);
	}
	return job_put(c, key, given ? json_deep_copy(given) : json_object(), e);
}

static int check_globs(const json_t *globs, const char *field, struct err *e)
{
	const json_t *item;
	size_t i;

	json_array_foreach(globs, i, item) {
		const char *g = json_string_value(item);
		size_t n = strlen(g);

		if (n > 0 && g[n - 1] == '/') /* "dist/" is "dist" */
			n--;
		if (n == 0 || g[0] == '/' || !job_plain(g) || strstr(g, "/../") ||
		    strncmp(g, "../", 3) == 0 || strcmp(g, "..") == 0 ||
		    (n > 2 && strncmp(g + n - 3, "/..", 3) == 0))
			return err_field(e, "bad_value", field, "%s[%zu]: a glob is relative to the "
					 "workspace and does not lead out of it", field, i);
	}
	return 0;
}

static int put_artifacts(struct job_ctx *c, struct err *e)
{
	static const char *const known[] = { "paths", "exclude" };
	json_t *given = NULL, *paths = NULL, *exclude = NULL;

	if (jsonx_object(c->body, "artifacts", &given, e) < 0)
		return -1;
	if (given && (jsonx_only(given, known, 2, e) < 0 ||
		      jsonx_str_array(given, "paths", JOB_GLOBS_MAX, JOB_GLOB_MAX, &paths, e) < 0 ||
		      jsonx_str_array(given, "exclude", JOB_GLOBS_MAX, JOB_GLOB_MAX, &exclude, e) < 0))
		return job_inside(e, "artifacts");
	if (check_globs(paths, "artifacts.paths", e) < 0 ||
	    check_globs(exclude, "artifacts.exclude", e) < 0)
		return -1;
	return job_put(c, "artifacts",
		       json_pack("{s:o, s:o}", "paths", paths ? json_deep_copy(paths) : json_null(),
				 "exclude", exclude ? json_deep_copy(exclude) : json_array()), e);
}

static int put_tags(struct job_ctx *c, struct err *e)
{
	json_t *tags = NULL;
	const json_t *item;
	size_t i;

	if (jsonx_str_array(c->body, "tags", JOB_TAGS_MAX, JOB_TAG_MAX, &tags, e) < 0)
		return -1;
	json_array_foreach(tags, i, item)
		if (!*json_string_value(item) || !job_plain(json_string_value(item)))
			return err_field(e, "bad_value", "tags", "tags[%zu] is empty or holds a control "
					 "character", i);
	return job_put(c, "tags", tags ? json_deep_copy(tags) : json_array(), e);
}

int job_part_world(struct job_ctx *c, struct err *e)
{
	if (put_workspace(c, e) < 0 || put_vars(c, "env", e) < 0 || put_vars(c, "secrets", e) < 0 ||
	    put_artifacts(c, e) < 0)
		return -1;
	return put_tags(c, e);
}
