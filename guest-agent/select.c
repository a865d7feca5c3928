/* SPDX-License-Identifier: Apache-2.0 */
/*
 * select.c - judges entries of the workspace by the patterns of the job. Owns the compiled
 * patterns; opens nothing.
 */
#include "select.h"

#include <stdlib.h>
#include <string.h>

#include "glob.h"
#include "wire_msg.h"

#define SELECT_MAX_PATTERNS 1024u

struct pattern {
	struct glob *glob;
	const char *text; /* the job's */
	int matched;
};

struct select {
	struct pattern *include, *exclude;
	size_t include_count, exclude_count;
	int products_only;
	uint64_t since_ns;
};

static size_t count_of(const char *const *list)
{
	size_t n = 0;

	while (list[n])
		n++;
	return n;
}

static const char *relative(const char *pattern, const char *workspace)
{
	size_t n = strlen(workspace);

	if (strncmp(pattern, workspace, n) == 0 && pattern[n] == '/')
		return pattern + n + 1;
	return pattern;
}

/* Add the patterns of a list to the array *out. */
static int compile(const char *const *list, const char *workspace, const char *field,
		   struct pattern **out, size_t *count, struct fail *f)
{
	size_t n = count_of(list);
	struct pattern *more;

	if (*count + n > SELECT_MAX_PATTERNS)
		return fail_set(f, WIRE_CLASS_USER, "artifacts.%s has %zu patterns, at most %u", field,
				n, SELECT_MAX_PATTERNS);
	more = reallocarray(*out, *count + n + 1, sizeof(*more));
	if (!more)
		return fail_set(f, WIRE_CLASS_AGENT, "no memory for the artifact patterns");
	*out = more;
	for (size_t i = 0; i < n; i++) {
		struct pattern *p = &more[*count];
		const char *why;

		if (glob_compile(relative(list[i], workspace), &p->glob, &why) < 0)
			return fail_set(f, WIRE_CLASS_USER, "artifacts.%s: the pattern '%.200s' %s",
					field, list[i], why);
		p->text = list[i];
		p->matched = 0;
		(*count)++;
	}
	return 0;
}

int select_new(const char *const *paths, const char *const *exclude, const char *workspace,
	       struct select **out, struct fail *f)
{
	struct select *s = calloc(1, sizeof(*s));

	if (!s)
		return fail_set(f, WIRE_CLASS_AGENT, "no memory for the artifact patterns");
	if (compile(paths, workspace, "paths", &s->include, &s->include_count, f) < 0 ||
	    compile(exclude, workspace, "exclude", &s->exclude, &s->exclude_count, f) < 0) {
		select_free(s);
		return -1;
	}
	*out = s;
	return 0;
}

int select_exclude(struct select *s, const char *const *exclude, const char *workspace,
		   struct fail *f)
{
	return compile(exclude, workspace, "exclude", &s->exclude, &s->exclude_count, f);
}

void select_products(struct select *s, uint64_t since_ns)
{
	s->products_only = 1;
	s->since_ns = since_ns;
}

static const char *name_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

static int below_git(const char *path)
{
	for (const char *p = path; (p = strstr(p, ".git")); p += 4) {
		if ((p == path || p[-1] == '/') && (p[4] == '\0' || p[4] == '/'))
			return 1;
	}
	return 0;
}

/* name.a, name.so, name.so.1.2 */
static int is_library_name(const char *name)
{
	size_t n = strlen(name), digits = n;

	if (n > 2 && strcmp(name + n - 2, ".a") == 0)
		return 1;
	while (digits > 0 && strchr("0123456789.", name[digits - 1]))
		digits--;
	if (digits < n && name[digits] != '.')
		return 0;
	return digits > 3 && memcmp(name + digits - 3, ".so", 3) == 0;
}

static int is_product(const struct select *s, const char *path, const struct stat *st)
{
	uint64_t changed_ns = (uint64_t)st->st_ctim.tv_sec * 1000000000u +
			      (uint64_t)st->st_ctim.tv_nsec;

	if (changed_ns < s->since_ns)
		return 0;
	if (S_ISREG(st->st_mode))
		return (st->st_mode & 0111) != 0 || is_library_name(name_of(path));
	return S_ISLNK(st->st_mode) && is_library_name(name_of(path));
}

static int excluded(const struct select *s, const char *path, size_t n)
{
	for (size_t i = 0; i < s->exclude_count; i++) {
		if (glob_match(s->exclude[i].glob, path, n) & GLOB_MATCH)
			return 1;
	}
	return 0;
}

unsigned select_judge(struct select *s, const char *path, const struct stat *st, int inside)
{
	size_t n = strlen(path);
	int git = below_git(path), taken = inside, below = 0;

	if (excluded(s, path, n))
		return 0;
	if (strcmp(name_of(path), ".git") == 0)
		taken = 0; /* what brings its directory does not bring it */
	if (s->products_only && !S_ISDIR(st->st_mode) && !is_product(s, path, st))
		return 0;
	for (size_t i = 0; i < s->include_count; i++) {
		struct pattern *p = &s->include[i];
		unsigned v;

		if (git && !glob_names_git(p->glob))
			continue;
		v = glob_match(p->glob, path, n);
		if (v & GLOB_MATCH)
			p->matched = taken = 1;
		if (v & GLOB_BELOW)
			below = 1;
	}
	if (S_ISDIR(st->st_mode) && s->products_only) /* an empty directory is no product */
		return taken || below ? SELECT_DESCEND : 0;
	if (S_ISDIR(st->st_mode))
		return (taken ? SELECT_TAKE : 0) | (taken || below ? SELECT_DESCEND : 0);
	return taken ? SELECT_TAKE : 0;
}

const char *select_unmatched(const struct select *s, size_t n)
{
	for (size_t i = 0; i < s->include_count; i++) {
		if (!s->include[i].matched && n-- == 0)
			return s->include[i].text;
	}
	return NULL;
}

static void free_patterns(struct pattern *list, size_t count)
{
	for (size_t i = 0; i < count; i++)
		glob_free(list[i].glob);
	free(list);
}

void select_free(struct select *s)
{
	if (!s)
		return;
	free_patterns(s->include, s->include_count);
	free_patterns(s->exclude, s->exclude_count);
	free(s);
}
