/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run.c - a build of `kiln run`. Owns the build directory until the supervisor does; from then on it
 * reads, and speaks through ctl. One poll loop: directory, supervisor, signals.
 */
#include "run.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "builddir.h"
#include "cleanup.h"
#include "clock.h"
#include "fileio.h"
#include "follow.h"

#define ENDING_MS 5000

static int make_directory(struct run *r, char path[PATH_MAX], struct err *e)
{
	const struct config *cfg = r->cli->cfg;

	if (config_below(cfg, path, PATH_MAX, "builds") < 0 || fileio_mkdirs(path, 0755, e) < 0)
		return err_prefix(e, "dir %s", config_str(cfg, CONFIG_DIR));
	if (job_new_id(r->id, e) < 0)
		return -1;
	if (config_below(cfg, path, PATH_MAX, "builds/%s", r->id) < 0)
		return err_set(e, "io", "the path of dir is too long");
	/* Logs may hold what nobody else should read; the supervisor opens it to its own uid. */
	if (mkdir(path, 0700) < 0)
		return err_errno(e, "io", "cannot make %s", path);
	return builddir_open(cfg, r->id, &r->dirfd, e);
}

/* Says, next to the build, that it is ours: `kiln clean` may remove it, and `kiln ps` names it. */
static int write_local(struct run *r, struct err *e)
{
	json_t *o = json_pack("{s:i, s:s, s:O, s:I}", "format", 1, "source",
			      json_string_value(json_object_get(r->job, "source")), "repo_url",
			      json_object_get(r->job, "repo_url"), "created_at_ms",
			      (json_int_t)clock_wall_ms());
	_cleanup_free_ char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;

	json_decref(o);
	if (!text)
		return err_set(e, "io", "no memory");
	return fileio_replace(r->dirfd, BUILDDIR_LOCAL, text, strlen(text), 0600, e);
}

int run_start(struct run *r, struct supervise *s, struct err *e)
{
	char path[PATH_MAX];
	json_t *doc = NULL;
	int rc;

	if (make_directory(r, path, e) < 0)
		return -1;
	rc = job_supervisor_doc(r->job, r->cli->cfg, r->id, 1, &doc, e);
	if (rc == 0 && r->log_lines)
		json_object_set(json_object_get(doc, "spec"), "log_lines", r->log_lines);
	if (rc == 0)
		rc = supervise_start(r->cli->cfg, path, doc, r->source_fd, s, e);
	json_decref(doc);
	/* Not before the start: `kiln clean` removes what is ours and has no process. */
	if (rc == 0 && write_local(r, e) < 0) {
		supervise_kill(s);
		rc = -1;
	}
	if (rc < 0) {
		char builds[PATH_MAX];

		/* Nothing runs: nothing of it shall stay. */
		if (config_below(r->cli->cfg, builds, sizeof(builds), "builds/%s", r->id) == 0)
			fileio_remove_tree(AT_FDCWD, builds, NULL);
		return -1;
	}
	return 0;
}

static void on_signal(struct run *r, int signal_fd, int *count)
{
	struct signalfd_siginfo si;
	struct err e = { 0 };
	const char *cmd;

	if (read(signal_fd, &si, sizeof(si)) != (ssize_t)sizeof(si))
		return;
	++*count;
	cmd = *count == 1 ? "cancel" : "kill";
	if (*count == 1)
		term_say(&r->cli->term, TERM_BOLD, "cancelling the build (once more kills the VM)");
	else
		term_say(&r->cli->term, TERM_BOLD, "killing the VM");
	if (builddir_ctl(r->dirfd, cmd, &e) < 0 && (*count < 2 || builddir_kill(r->dirfd, &e) < 0))
		term_say(&r->cli->term, TERM_BAD, "%s", e.text);
}

/* The supervisor is gone, or the verdict is there. */
static int finish(struct run *r, struct supervise *s, struct follow *f, struct err *e)
{
	struct err why = { 0 };
	char words[256];
	int final;

	if (follow_read(f, &final, e) < 0)
		return -1;
	logview_end(r->view);
	if (builddir_json(r->dirfd, "result.json", &r->result, &why) == 0)
		return 0;
	supervise_last_words(s, words, sizeof(words));
	return err_set(e, "supervisor", "kiln-supervisor ended without a verdict%s%s", *words ? ": " : "",
		       words);
}

static int loop(struct run *r, struct supervise *s, struct follow *f, int signal_fd, struct err *e)
{
	struct pollfd p[3] = { { follow_fd(f), POLLIN, 0 }, { s->pidfd, POLLIN, 0 },
			       { signal_fd, POLLIN, 0 } };
	int final = 0, signals = 0;

	for (;;) {
		int gone;

		if (follow_read(f, &final, e) < 0)
			return -1;
		gone = p[1].revents != 0;
		if (final || gone)
			return finish(r, s, f, e);
		if (poll(p, 3, -1) < 0 && errno != EINTR)
			return err_errno(e, "io", "poll");
		if (p[2].revents)
			on_signal(r, signal_fd, &signals);
		p[2].revents = 0;
	}
}

int run_follow(struct run *r, struct supervise *s, struct err *e)
{
	_cleanup_fd_ int signal_fd = -1;
	struct follow *f = NULL;
	sigset_t set;
	int rc;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	signal_fd = signalfd(-1, &set, SFD_CLOEXEC);
	if (signal_fd < 0)
		return err_errno(e, "io", "signalfd");
	if (follow_open(r->dirfd, r->view, &f, e) < 0)
		return -1;
	rc = loop(r, s, f, signal_fd, e);
	follow_close(f);
	/* The verdict is the last thing a supervisor writes: it is ending now. */
	poll(&(struct pollfd){ s->pidfd, POLLIN, 0 }, 1, ENDING_MS);
	waitpid(s->pid, NULL, WNOHANG);
	return rc;
}
