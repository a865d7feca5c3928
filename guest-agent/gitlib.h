/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gitlib.h - setting libgit2 up for one worker, and reading where HEAD is.
 */
#ifndef KILN_AGENT_GITLIB_H
#define KILN_AGENT_GITLIB_H

#include <git2.h>

#include "worker.h"

/*
 * Initialise libgit2 in this process: no configuration but the repository's own, no owner
 * check, the CA bundle of env (when ca_path is not empty), every connection through the
 * proxy of env. Call after worker_drop.
 */
int gitlib_start(const struct worker_env *env, struct fail *f);

/*
 * The commit HEAD names, and its branch ("" when detached). repo_path holds a .git.
 * Returns 0, or -1 when there is no such repository or no commit.
 */
int gitlib_head(const char *repo_path, char commit[65], char ref[257], int *shallow);

#endif
