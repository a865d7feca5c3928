/* SPDX-License-Identifier: Apache-2.0 */
/*
 * collect.c - the worker that sends the artifacts: opens the stream while it is root, then
 * walks the workspace as the build user.
 *
 * Owns the stream and the counts. The patterns are select.c's, the walk walk.c's, the tar
 * tarout.c's. A file that cannot be read is named in the log and left out; a limit ends it.
 */
#include <errno.h>
#include <locale.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "bulk.h"
#include "bulk_dial.h"
#include "detect.h"
#include "select.h"
#include "tarout.h"
#include "walk.h"
#include "wire_msg.h"
#include "worker.h"

#define LINES_MAX 20u /* about single entries; the rest is counted */
#define UNMATCHED_MAX 10u

struct collect {
	const struct worker_env *env;
	struct bulk *bulk;
	struct select *select;
	struct tarout *tar;
	uint64_t files, bytes, lines;
};

static const char *const no_patterns[] = { NULL };

/* At most LINES_MAX lines about single entries. */
static void say(struct collect *c, const char *what, const char *path, const char *why)
{
	if (c->lines++ < LINES_MAX)
		worker_line(c->env, "artifacts: %s%s%s: %.300s", what, *why ? ": " : "", why, path);
}

static unsigned on_judge(void *ctx, const char *path, const struct stat *st, int inside)
{
	struct collect *c = ctx;

	return select_judge(c->select, path, st, inside);
}

static void on_unreadable(void *ctx, const char *path, int err)
{
	say(ctx, "left out what cannot be read", path, strerror(err));
}

static int over_limit(const struct collect *c, const struct stat *st, const char *path,
		      struct fail *f)
{
	const struct job *job = c->env->job;
	uint64_t bytes = c->bytes + (S_ISREG(st->st_mode) ? (uint64_t)st->st_size : 0);

	if (job->artifact_files_max && c->files + 1 > job->artifact_files_max)
		return fail_set(f, WIRE_CLASS_USER,
				"there are more artifacts than the limit of %llu "
				"(artifact_files_max); the next one was %.500s",
				(unsigned long long)job->artifact_files_max, path);
	if (job->artifact_bytes_max && bytes > job->artifact_bytes_max)
		return fail_set(f, WIRE_CLASS_USER,
				"the artifacts are larger than the limit of %llu bytes "
				"(artifact_bytes_max): with %.500s they are %llu bytes",
				(unsigned long long)job->artifact_bytes_max, path,
				(unsigned long long)bytes);
	return 0;
}

static int on_take(void *ctx, const char *path, const struct stat *st, struct fail *f)
{
	struct collect *c = ctx;
	uint64_t bytes;
	int note;

	if (over_limit(c, st, path, f) < 0)
		return -1;
	note = tarout_add(c->tar, c->env->workspace_fd, path, st, &bytes, f);
	if (note < 0)
		return -1;
	if (note == TAROUT_NO_FILE)
		say(c, "left out what is no file", path, "");
	else if (note == TAROUT_UNREADABLE)
		say(c, "left out what cannot be read", path, strerror(errno));
	else
		c->files++;
	if (note == TAROUT_SHRANK)
		say(c, "became shorter while it was read, filled up with zeros", path, "");
	else if (note == TAROUT_CHANGED)
		say(c, "changed while it was read", path, "");
	c->bytes += bytes;
	return 0;
}

/* What to take when the job names nothing: what its build system leaves. */
static const struct detect_system *default_system(const struct worker_env *env)
{
	const struct detect_system *s = NULL;

	if (env->build_system && *env->build_system)
		s = detect_by_name(env->build_system);
	if (!s)
		s = detect_find(env->workspace_fd, env->job->build_systems);
	/* None known: programs and libraries can be anywhere, as with make. */
	return s ? s : detect_by_name("make");
}

/* Times of files are those of the last tick: up to one tick before the clock's. */
static uint64_t began_by_file_clock(uint64_t began_ns)
{
	struct timespec tick = { 0 };

	clock_getres(CLOCK_REALTIME_COARSE, &tick);
	return began_ns > (uint64_t)tick.tv_nsec ? began_ns - (uint64_t)tick.tv_nsec : 0;
}

static int choose(struct collect *c, struct fail *f)
{
	const struct job *job = c->env->job;
	const struct detect_system *s;
	const char *exclude[sizeof(s->exclude) / sizeof(s->exclude[0]) + 1] = { NULL };

	if (job->artifact_paths)
		return select_new(job->artifact_paths,
				  job->artifact_exclude ? job->artifact_exclude : no_patterns,
				  job->workspace, &c->select, f);
	s = default_system(c->env);
	memcpy(exclude, s->exclude, sizeof(s->exclude));
	if (select_new(s->artifacts, exclude, job->workspace, &c->select, f) < 0)
		return -1;
	if (s->products_only)
		select_products(c->select, began_by_file_clock(c->env->steps_began_ns));
	return select_exclude(c->select, job->artifact_exclude ? job->artifact_exclude : no_patterns,
			      job->workspace, f);
}

/* Everything that needs the secret; afterwards this process does not have it any more. */
static int open_stream(struct collect *c, struct fail *f)
{
	const struct worker_env *env = c->env;
	struct bulk_want want = { .kind = WIRE_KIND_ARTIFACTS, .secret = env->secret,
				  .send_max_bytes = env->send_max_bytes };
	int fd = bulk_dial(env->vsock_port, 0, f);
	int rc = fd < 0 ? -1 : bulk_open(fd, &want, &c->bulk, NULL, f);

	worker_wipe_secret(env);
	return rc;
}

static void say_unmatched(const struct collect *c)
{
	const char *pattern;

	if (!c->env->job->artifact_paths) {
		if (c->files == 0)
			worker_line(c->env, "no artifacts: the build left nothing in the usual places; "
				    "name them with artifacts.paths");
		return;
	}
	for (size_t i = 0; i < UNMATCHED_MAX && (pattern = select_unmatched(c->select, i)); i++)
		worker_line(c->env, "no file matched the artifact pattern '%.500s'", pattern);
	if (c->files == 0 && !c->env->job->artifact_paths[0])
		worker_line(c->env, "no artifacts: the job asks for none");
}

static void say_result(const struct collect *c, const struct bulk_ack *ack,
		       const struct timespec *began)
{
	struct timespec now;
	double seconds;

	clock_gettime(CLOCK_MONOTONIC, &now);
	seconds = (double)(now.tv_sec - began->tv_sec) + (double)(now.tv_nsec - began->tv_nsec) / 1e9;
	if (c->lines > LINES_MAX)
		worker_line(c->env, "artifacts: %llu more remarks of this kind",
			    (unsigned long long)(c->lines - LINES_MAX));
	if (ack->refused > 0)
		worker_line(c->env, "artifacts: the host refused %u entries", (unsigned)ack->refused);
	if (c->files > 0)
		worker_line(c->env, "artifacts: %llu, %.1f MiB in %.1f s",
			    (unsigned long long)c->files, (double)c->bytes / 1048576.0, seconds);
}

static int collect(struct collect *c, struct fail *f)
{
	static const struct walk_ops ops = { on_judge, on_take, on_unreadable };
	struct bulk_ack ack;
	struct timespec began;

	clock_gettime(CLOCK_MONOTONIC, &began);
	if (open_stream(c, f) < 0 || worker_drop(c->env, f) < 0 || choose(c, f) < 0 ||
	    tarout_new(c->bulk, &c->tar, f) < 0 ||
	    walk_run(c->env->workspace_fd, &ops, c, f) < 0 || tarout_finish(c->tar, f) < 0 ||
	    bulk_end(c->bulk, f) < 0 || bulk_await_ack(c->bulk, &ack, f) < 0)
		return -1;
	say_unmatched(c);
	say_result(c, &ack, &began);
	return 0;
}

int collect_main(const struct worker_env *env)
{
	struct collect c = { .env = env };
	struct fail f = { 0 };
	int rc;

	setlocale(LC_CTYPE, "C.UTF-8"); /* libarchive converts names by it */
	rc = collect(&c, &f);
	if (rc < 0 && c.bulk)
		bulk_reset(c.bulk, f.class_ == WIRE_CLASS_USER ? WIRE_CODE_LIMIT :
			   WIRE_CODE_INTERNAL, f.text);
	tarout_free(c.tar);
	select_free(c.select);
	bulk_free(c.bulk);
	return rc < 0 ? worker_fail(env, &f) : worker_done(env);
}
