/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gitsub.c - walks .gitmodules and clones what it pins, with gitfetch.c. Owns the list of names
 * of one repository at a time. git_submodule_update() is not used: at depth 1 it finds only
 * commits that are tips, and it cannot fall back.
 */
#include "gitsub.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gitwords.h"
#include "wire_msg.h"

struct sub_walk {
	const struct gitsub_how *how;
	const struct gitfetch_say *say;
	uint32_t *count;
};

struct names {
	char **list;
	size_t count;
};

static int walk_level(const struct sub_walk *w, git_repository *repo, unsigned level, struct fail *f);

static int on_submodule(git_submodule *sm, const char *name, void *ctx)
{
	struct names *names = ctx;
	char **more = reallocarray(names->list, names->count + 1, sizeof(*more));

	(void)sm;
	if (!more)
		return -1;
	names->list = more;
	names->list[names->count] = strdup(name);
	if (!names->list[names->count])
		return -1;
	names->count++;
	return 0;
}

static void free_names(struct names *names)
{
	for (size_t i = 0; i < names->count; i++)
		free(names->list[i]);
	free(names->list);
}

/* Put the submodule's name before what went wrong inside it. */
static int fail_in(const char *path, const struct fail *inner, struct fail *f)
{
	return fail_set(f, inner->class_, "submodule '%.200s': %.800s", path, inner->text);
}

static int is_served(const char *url)
{
	return strncmp(url, "http://", 7) == 0 || strncmp(url, "https://", 8) == 0;
}

static int fetch_into(const struct sub_walk *w, git_submodule *sm, const char *url,
		      git_repository **sub, struct fail *f)
{
	char commit[GIT_OID_MAX_HEXSIZE + 1];
	struct gitfetch_want want = { .url = url, .branch = "", .tag = "", .commit = commit,
				      .depth = w->how->depth, .cred = w->how->cred };
	struct gitfetch_got got;

	git_oid_tostr(commit, sizeof(commit), git_submodule_head_id(sm));
	if (git_submodule_init(sm, 1) < 0 || git_submodule_repo_init(sub, sm, 1) < 0)
		return gitwords_fail_local(f, "cannot make its repository");
	return gitfetch_run(*sub, &want, w->say, &got, f);
}

/* The submodule has a commit and an address: clone it, then go below it. */
static int clone_one(const struct sub_walk *w, git_submodule *sm, const char *url, unsigned level,
		     struct fail *f)
{
	const char *path = git_submodule_path(sm);
	git_repository *sub = NULL;
	struct fail inner = { 0 };
	char text[512];
	int rc;

	if (++*w->count > GITSUB_MAX_COUNT)
		return fail_set(f, WIRE_CLASS_USER, "there are more than %u submodules",
				GITSUB_MAX_COUNT);
	snprintf(text, sizeof(text), "submodule %.200s from %.250s", path, url);
	w->say->line(w->say->ctx, text);
	rc = fetch_into(w, sm, url, &sub, &inner);
	if (rc == 0 && w->how->recursive)
		rc = walk_level(w, sub, level + 1, &inner);
	git_repository_free(sub);
	return rc < 0 ? fail_in(path, &inner, f) : 0;
}

static int visit(const struct sub_walk *w, git_repository *repo, const char *name, unsigned level,
		 struct fail *f)
{
	git_submodule *sm = NULL;
	git_buf url = { 0 };
	char text[512];
	int rc = 0;

	if (git_submodule_lookup(&sm, repo, name) < 0)
		return gitwords_fail_local(f, "cannot read a submodule");
	snprintf(text, sizeof(text), "submodule %.200s is left out: ", git_submodule_path(sm));
	if (!git_submodule_head_id(sm))
		; /* named in .gitmodules, but no such commit is pinned: git passes over it too */
	else if (!git_submodule_url(sm)) {
		strlcat(text, ".gitmodules has no address for it", sizeof(text));
		w->say->line(w->say->ctx, text);
	} else if (git_submodule_update_strategy(sm) == GIT_SUBMODULE_UPDATE_NONE) {
		strlcat(text, "its update strategy is none", sizeof(text));
		w->say->line(w->say->ctx, text);
	} else if (git_submodule_resolve_url(&url, repo, git_submodule_url(sm)) < 0) {
		rc = gitwords_fail_local(f, "cannot resolve the address of a submodule");
	} else if (!is_served(url.ptr)) {
		rc = fail_set(f, WIRE_CLASS_USER,
			      "submodule '%.200s' has the address '%.300s': kiln clones over http and "
			      "https only (submodules: none leaves submodules out)",
			      git_submodule_path(sm), url.ptr);
	} else {
		rc = clone_one(w, sm, url.ptr, level, f);
	}
	git_buf_dispose(&url);
	git_submodule_free(sm);
	return rc;
}

static int walk_level(const struct sub_walk *w, git_repository *repo, unsigned level, struct fail *f)
{
	struct names names = { 0 };
	int rc = 0;

	if (level > GITSUB_MAX_LEVELS)
		return fail_set(f, WIRE_CLASS_USER, "submodules lie more than %u levels deep",
				GITSUB_MAX_LEVELS);
	if (git_submodule_foreach(repo, on_submodule, &names) < 0)
		rc = gitwords_fail_local(f, "cannot read the submodules");
	for (size_t i = 0; rc == 0 && i < names.count; i++)
		rc = visit(w, repo, names.list[i], level, f);
	free_names(&names);
	return rc;
}

int gitsub_run(git_repository *repo, const struct gitsub_how *how, const struct gitfetch_say *say,
	       uint32_t *count, struct fail *f)
{
	struct sub_walk w = { how, say, count };

	return walk_level(&w, repo, 1, f);
}
