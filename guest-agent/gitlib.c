/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gitlib.c - the global options of libgit2, in one place. Owns nothing.
 */
#include "gitlib.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gitstream.h"
#include "gitwords.h"

/* Nothing of the image or of a home may change how a repository is cloned. */
static int forget_configuration(void)
{
	static const int levels[] = { GIT_CONFIG_LEVEL_SYSTEM, GIT_CONFIG_LEVEL_XDG,
				      GIT_CONFIG_LEVEL_GLOBAL, GIT_CONFIG_LEVEL_PROGRAMDATA };

	for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++) {
		if (git_libgit2_opts(GIT_OPT_SET_SEARCH_PATH, levels[i], "") < 0)
			return -1;
	}
	return git_libgit2_opts(GIT_OPT_SET_TEMPLATE_PATH, "");
}

int gitlib_start(const struct worker_env *env, struct fail *f)
{
	if (env->home)
		setenv("HOME", env->home, 1);
	if (git_libgit2_init() < 0 || forget_configuration() < 0 ||
	    git_libgit2_opts(GIT_OPT_SET_OWNER_VALIDATION, 0) < 0 ||
	    /* Ids are computed while a pack is indexed; reading need not hash everything again. */
	    git_libgit2_opts(GIT_OPT_ENABLE_STRICT_HASH_VERIFICATION, 0) < 0 ||
	    gitstream_register(env->proxy_port) < 0)
		return gitwords_fail_local(f, "cannot set libgit2 up");
	if (env->ca_path && *env->ca_path &&
	    git_libgit2_opts(GIT_OPT_SET_SSL_CERT_LOCATIONS, env->ca_path, NULL) < 0)
		return gitwords_fail_local(f, "cannot read the CA bundle");
	return 0;
}

int gitlib_head(const char *repo_path, char commit[65], char ref[257], int *shallow)
{
	git_repository *repo = NULL;
	git_reference *head = NULL;
	git_oid id;
	int rc = git_repository_open_ext(&repo, repo_path, GIT_REPOSITORY_OPEN_NO_SEARCH, NULL);

	if (rc == 0)
		rc = git_reference_name_to_id(&id, repo, "HEAD");
	if (rc == 0)
		rc = git_repository_head(&head, repo);
	if (rc == 0) {
		git_oid_tostr(commit, 65, &id);
		snprintf(ref, 257, "%.256s",
			 git_reference_is_branch(head) ? git_reference_shorthand(head) : "");
		*shallow = git_repository_is_shallow(repo) == 1;
	}
	git_reference_free(head);
	git_repository_free(repo);
	return rc < 0 ? -1 : 0;
}
