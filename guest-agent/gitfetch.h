/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gitfetch.h - one repository: what to ask the server for, fetching it, checking it out.
 */
#ifndef KILN_AGENT_GITFETCH_H
#define KILN_AGENT_GITFETCH_H

#include <stdint.h>

#include <git2.h>

#include "fail.h"
#include "gitcred.h"

struct gitfetch_want {
	const char *url;                    /* http or https, without user info */
	const char *branch, *tag, *commit;  /* "" when not asked for; all "": the remote's HEAD */
	uint32_t depth;                     /* 0: the whole history, every branch and tag */
	const struct gitcred *cred;         /* said to their own server only, when it asks */
};

struct gitfetch_got {
	char commit[GIT_OID_SHA1_HEXSIZE + 1];
	char ref[257]; /* the branch or tag that was checked out, or "" */
	int shallow;
	int whole;     /* the whole history came, though a depth was asked for */
};

/* Say a line in the log (for the progress of long things). */
struct gitfetch_say {
	void (*line)(void *ctx, const char *text);
	void *ctx;
};

/*
 * Fetch what is wanted into the repository, which has no commit yet, and check it out. A remote
 * "origin" is made when there is none. Afterwards HEAD is a local branch that tracks
 * origin/<branch> when a branch was wanted or the remote's HEAD is one, else detached.
 * A commit is fetched alone where the server allows that; else the whole history is, which
 * is said. A branch, tag or commit that does not exist is a failure of class user.
 */
int gitfetch_run(git_repository *repo, const struct gitfetch_want *want,
		 const struct gitfetch_say *say, struct gitfetch_got *got, struct fail *f);

#endif
