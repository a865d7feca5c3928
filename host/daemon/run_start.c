/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run_start.c - how a supervisor comes to be watched: started fresh, or adopted from a kilnd
 * that is gone. Owns nothing of its own; struct run is run.c's.
 *
 * What may be found at start, for a build that had left the queue:
 *   result.json                   -> that is the verdict
 *   lock held, run.json           -> adopt: pidfd, start time checked
 *   lock held, no run.json yet    -> wait for one of: run.json, the lock's end
 *   lock free, run.json           -> `host`: the supervisor died, or the machine was restarted
 *   lock free, no run.json        -> it never began: back to the queue
 */
#include "run_private.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "builddir.h"
#include "cleanup.h"
#include "fileio.h"
#include "log.h"
#include "scheduler.h"
#include "launch.h"
#include "store.h"
#include "talk.h"

#define START_TIMEOUT_MS 20000

/* ---- a fresh one ---- */

/* What an earlier try left goes away under another name, so that no late writer finds it. */
static int make_dir(struct kilnd *k, const char *id, struct err *e)
{
	char trash[64];

	snprintf(trash, sizeof(trash), ".trash-%s", id);
	if (renameat(k->builds_fd, id, k->builds_fd, trash) == 0 || errno != ENOENT) {
		if (fileio_remove_tree(k->builds_fd, trash, e) < 0)
			return -1;
	}
	if (mkdirat(k->builds_fd, id, 0700) < 0)
		return err_errno(e, "io", "cannot make the directory of %s", id);
	return 0;
}

static int make_frame(struct kilnd *k, const struct build *b, char **frame, size_t *n, struct err *e)
{
	struct record *stored = NULL;
	json_t *job = NULL, *doc = NULL;
	char *text = NULL;
	int rc = -1;

	if (store_get(k->store, b->id, &stored, e) < 0)
		return -1;
	job = json_loads(stored->job, 0, NULL);
	if (!job)
		err_set(e, "store", "the job of %s is unreadable", b->id);
	else if (job_supervisor_doc(job, k->cfg, b->id, b->attempt, &doc, e) == 0)
		text = json_dumps(doc, JSON_COMPACT);
	if (text) {
		rc = launch_frame(text, strlen(text), frame, n, e);
		explicit_bzero(text, strlen(text));
	}
	free(text);
	json_decref(doc);
	json_decref(job);
	record_free(stored);
	return rc;
}

static void on_started(void *arg, const char *line, const struct err *e)
{
	struct run *r = arg;
	struct kilnd *k = r->rs->k;
	struct build *b = builds_find(k->builds, r->id);
	char words[TALK_LINE_MAX + 64];

	r->start = NULL;
	if (line && strcmp(line, "ok") == 0) {
		log_line(LOG_LEVEL_DEBUG, r->id, "the supervisor has begun");
		if (r->ended) {
			run_on_end(r, "it ended at once");
		} else if (b && b->cancel_asked) {
			run_send_cancel(r);
		}
		return;
	}
	if (line && strncmp(line, "error ", 6) == 0)
		snprintf(words, sizeof(words), "%s", line + 6);
	else
		snprintf(words, sizeof(words), "the supervisor did not begin: %s",
			 e ? e->text : "its answer is neither ok nor error");
	/* Somebody else's supervisor has this build: one that a kilnd before us started. */
	if (b && builddir_locked(r->dirfd)) {
		log_line(LOG_LEVEL_WARN, r->id, "%s; adopting the one that holds the lock", words);
		run_free(r);
		run_adopt(k->runs, b);
		return;
	}
	if (b && run_take_result(r) < 0)
		builds_finish_with(k->builds, b, "host", words);
	if (r->ended)
		run_free(r);
	else
		child_signal(r->child, SIGKILL); /* hung: run_on_end reaps and frees */
}

static int start_process(struct run *r, const struct build *b, struct err *e)
{
	struct kilnd *k = r->rs->k;
	char dir[PATH_MAX + JOB_ID_BYTES + 1];
	char *argv[] = { (char *)config_str(k->cfg, CONFIG_SUPERVISOR), "--dir", dir, "--job-fd", "3",
			 NULL };
	_cleanup_free_ char *frame = NULL;
	_cleanup_fd_ int ours = -1, theirs = -1;
	int sv[2];
	size_t n = 0;
	pid_t pid;

	snprintf(dir, sizeof(dir), "%s/%s", k->builds_dir, b->id);
	if (make_frame(k, b, &frame, &n, e) < 0)
		return -1;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) < 0)
		return err_errno(e, "io", "cannot make a socket pair");
	ours = sv[0];
	theirs = sv[1];
	if (launch_process(argv, theirs, k->supervisor_log_fd, k->supervisor_log_fd, &pid, e) < 0)
		return -1;
	if (child_watch(k->loop, pid, 0, run_on_end, r, &r->child, e) < 0)
		return -1;
	return talk_start(k->loop, take_fd(&ours), take_ptr(&frame), n, START_TIMEOUT_MS, on_started, r,
			  &r->start, e);
}

void run_begin(struct runs *rs, struct build *b)
{
	struct kilnd *k = rs->k;
	struct run *r = NULL;
	struct err e = { 0 };

	if (make_dir(k, b->id, &e) == 0 && run_new(rs, b->id, &r, &e) == 0 &&
	    start_process(r, b, &e) == 0)
		return;
	if (r)
		run_free(r);
	builds_finish_with(k->builds, b, "host", e.text);
}

/* ---- one that lives ---- */

static void requeue(struct runs *rs, struct build *b)
{
	log_line(LOG_LEVEL_INFO, b->id, "its supervisor never began: back to the queue");
	scheduler_leave(rs->k->scheduler, b);
	json_decref(b->facts);
	b->facts = NULL;
	builds_set_state(rs->k->builds, b, STATE_QUEUED, 0, NULL);
	scheduler_enqueue(rs->k->scheduler, b);
	scheduler_kick(rs->k->scheduler);
}

/* 1: watched, 0: run.json is to come, -1: gone. */
static int watch_pid(struct run *r)
{
	struct err e = { 0 };
	json_t *run = NULL;
	int rc = -1;

	if (run_read_run_json(r, &run, &e) < 0)
		return strcmp(e.code, "not_found") == 0 ? 0 : -1;
	if (child_watch(r->rs->k->loop, (pid_t)json_integer_value(json_object_get(run, "pid")),
			(unsigned long long)json_integer_value(json_object_get(run, "start_ticks")),
			run_on_end, r, &r->child, &e) == 0)
		rc = 1;
	else
		log_line(LOG_LEVEL_WARN, r->id, "%s", e.text);
	json_decref(run);
	return rc;
}

void run_adopt_again(struct run *r)
{
	struct runs *rs = r->rs;
	struct build *b = builds_find(rs->k->builds, r->id);
	int locked = builddir_locked(r->dirfd);
	int found = 0;
	json_t *run = NULL;

	if (!b || run_take_result(r) == 0) {
		run_free(r);
		return;
	}
	if (locked)
		found = watch_pid(r);
	else if (run_read_run_json(r, &run, NULL) < 0)
		found = -2;
	else
		found = -1;
	json_decref(run);
	r->adopting = found == 0;
	if (found > 0) {
		log_line(LOG_LEVEL_INFO, r->id, "adopted in state %s", state_word(b->state));
		if (b->cancel_asked)
			run_send_cancel(r);
		return;
	}
	if (found == 0)
		return;
	if (found == -1)
		run_lost(r, "it was gone when kilnd came back");
	run_free(r);
	if (found == -2)
		requeue(rs, b);
}

void run_adopt(struct runs *rs, struct build *b)
{
	struct run *r = NULL;
	struct err e = { 0 };

	if (run_new(rs, b->id, &r, &e) == 0) {
		run_adopt_again(r);
	} else if (strcmp(e.code, "not_found") == 0) {
		requeue(rs, b);
	} else {
		builds_finish_with(rs->k->builds, b, "host", e.text);
	}
}
