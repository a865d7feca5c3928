/* SPDX-License-Identifier: Apache-2.0 */
/*
 * clone.c - the worker that clones the repository into the workspace, as the build user.
 *
 * Owns the repository while it works. Needs no session secret: the proxy has it. What to fetch
 * is gitfetch.c's, how to reach the server gitstream.c's business.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "gitfetch.h"
#include "gitlib.h"
#include "gitsub.h"
#include "gitwords.h"
#include "wire_msg.h"
#include "worker.h"

#define ATTRIBUTES_BYTES 65536u

static void on_line(void *ctx, const char *text)
{
	worker_line(ctx, "%s", text);
}

static double seconds_since(const struct timespec *began)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)(now.tv_sec - began->tv_sec) + (double)(now.tv_nsec - began->tv_nsec) / 1e9;
}

static int make_repository(git_repository **repo, struct fail *f)
{
	git_repository_init_options o;

	git_repository_init_options_init(&o, GIT_REPOSITORY_INIT_OPTIONS_VERSION);
	o.flags = GIT_REPOSITORY_INIT_NO_REINIT;
	if (git_repository_init_ext(repo, ".", &o) < 0)
		return gitwords_fail_local(f, "cannot make a repository in the workspace");
	return 0;
}

/* Files that Git LFS keeps elsewhere come as pointers: better said now than found out later. */
static void warn_of_lfs(const struct worker_env *env)
{
	static char text[ATTRIBUTES_BYTES];
	int fd = open(".gitattributes", O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

	if (fd >= 0)
		close(fd);
	if (n <= 0)
		return;
	text[n] = '\0';
	if (strstr(text, "filter=lfs"))
		worker_line(env, "the repository uses Git LFS: its large files are here as pointers");
}

static void report(const struct worker_env *env, const struct gitfetch_got *got,
		   uint32_t submodules, double seconds)
{
	char depth[32] = "the whole history";
	char where[300] = "";

	if (got->shallow)
		snprintf(depth, sizeof(depth), "depth %u", (unsigned)env->job->depth);
	if (*got->ref)
		snprintf(where, sizeof(where), " (%s)", got->ref);
	worker_line(env, "cloned %s at %.12s%s, %s in %.1f s", env->job->repo_url, got->commit, where,
		    depth, seconds);
	worker_source(env, got->commit, got->ref, got->shallow, submodules);
}

static int clone(const struct worker_env *env, git_repository **repo, struct fail *f)
{
	const struct job *job = env->job;
	struct gitcred cred = { job->username, job->password, job->repo_url };
	struct gitfetch_want want = { .url = job->repo_url, .branch = job->branch, .tag = job->tag,
				      .commit = job->commit, .depth = job->depth, .cred = &cred };
	struct gitsub_how how = { .recursive = job->submodules == JOB_SUBMODULES_RECURSIVE,
				  .depth = job->depth, .cred = &cred };
	struct gitfetch_say say = { .line = on_line, .ctx = (void *)env };
	struct gitfetch_got got;
	uint32_t submodules = 0;
	struct timespec began;

	clock_gettime(CLOCK_MONOTONIC, &began);
	worker_wipe_secret(env);
	if (fchdir(env->workspace_fd) < 0)
		return fail_errno(f, WIRE_CLASS_AGENT, "cannot go to the workspace");
	if (worker_drop(env, f) < 0 || gitlib_start(env, f) < 0 || make_repository(repo, f) < 0 ||
	    gitfetch_run(*repo, &want, &say, &got, f) < 0)
		return -1;
	if (job->submodules != JOB_SUBMODULES_NONE &&
	    gitsub_run(*repo, &how, &say, &submodules, f) < 0)
		return -1;
	warn_of_lfs(env);
	report(env, &got, submodules, seconds_since(&began));
	return 0;
}

int clone_main(const struct worker_env *env)
{
	git_repository *repo = NULL;
	struct fail f = { 0 };
	int rc = clone(env, &repo, &f);

	git_repository_free(repo);
	return rc < 0 ? worker_fail(env, &f) : worker_done(env);
}
