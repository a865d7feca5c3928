/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gitsub.h - the submodules of a repository that was checked out.
 */
#ifndef KILN_AGENT_GITSUB_H
#define KILN_AGENT_GITSUB_H

#include <stdint.h>

#include "gitfetch.h"

#define GITSUB_MAX_LEVELS 16u
#define GITSUB_MAX_COUNT 4096u

struct gitsub_how {
	int recursive;
	uint32_t depth;             /* as in gitfetch_want */
	const struct gitcred *cred; /* as there: for submodules on the repository's own server */
};

/*
 * Fetch the submodules of repo at the commits it pins and check them out; recursive: theirs
 * too. Relative addresses are resolved against the repository's own
 * remote; other schemes than http and https are refused. *count grows by the submodules checked
 * out. Failures are of class user and name the submodule.
 */
int gitsub_run(git_repository *repo, const struct gitsub_how *how, const struct gitfetch_say *say,
	       uint32_t *count, struct fail *f);

#endif
