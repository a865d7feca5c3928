/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_logs.c - `kiln logs`: from the build directory when it is here, else from kilnd. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "apilog.h"
#include "builddir.h"
#include "cleanup.h"
#include "cli.h"
#include "fileio.h"
#include "follow.h"
#include "outcome.h"

#define CONSOLE_MAX (1u << 30)

static const struct opt options[] = {
	{ "--follow", 'f', NULL, "go on until the verdict; the exit status is then the build's" },
	{ "--step", 's', "N", "only step N" },
	{ "--timestamps", 't', NULL, "the time in front of each line: with -f when it came, else when its "
				     "step began" },
	{ "--console", 0, NULL, "the VM's serial console instead" },
	{ "--json", 0, NULL, "events, log and result as JSON, one object a line" },
	{ "--no-color", 0, NULL, "no colours" },
	{ 0 },
};

static void put_result(struct cli *c, json_t *result)
{
	json_object_set_new(result, "type", json_string("result"));
	term_json(&c->term, result, JSON_COMPACT);
}

/* The last lines. result: result.json or the build as the API shows it. */
static int conclude(struct cli *c, json_t *result, const json_t *local, const char *id)
{
	/* Ours tells its repository beside the verdict, kilnd's within it. */
	struct outcome_command again = { local ? "run" : "build", json_string_value(json_object_get(
					 local ? local : result, "repo_url")) };
	char text[1400], advice[OUTCOME_ADVICE_BYTES];
	int status;

	if (!json_is_string(json_object_get(result, "class"))) {
		term_say(&c->term, TERM_DIM, "the build is not over (-f follows it)");
		return CLI_OK;
	}
	if (opt_get(&c->opts, "--json"))
		put_result(c, result);
	status = outcome_status(result);
	if (status == CLI_OK) {
		term_say(&c->term, TERM_GOOD, "ok");
		return CLI_OK;
	}
	term_say(&c->term, TERM_BAD, "failed: %s", outcome_text(result, text, sizeof(text)));
	if (*outcome_advice(result, &again, id, advice, sizeof(advice)))
		term_say(&c->term, TERM_PLAIN, "try: %s", advice);
	return opt_get(&c->opts, "--follow") ? status : CLI_OK;
}

/* Until the verdict is there or nobody lives who could write one. */
static int wait_local(struct follow *f, int dirfd, struct err *e)
{
	json_t *run = NULL;
	_cleanup_fd_ int pidfd = -1;
	pid_t pid = 0;
	int final;

	if (follow_read(f, &final, e) < 0)
		return -1;
	if (!final && builddir_process(dirfd, &run, &pid, NULL) == 0) {
		json_decref(run);
		if (pid > 0)
			pidfd = pidfd_open(pid, 0);
	}
	while (!final) {
		struct pollfd p[2] = { { follow_fd(f), POLLIN, 0 }, { pidfd, POLLIN, 0 } };

		if (pidfd >= 0 && poll(p, 2, -1) < 0 && errno != EINTR)
			return err_errno(e, "io", "poll");
		if (follow_read(f, &final, e) < 0)
			return -1;
		if (pidfd < 0 || p[1].revents)
			return 0;
	}
	return 0;
}

static int show_local(struct cli *c, struct logview *v, const char *id, int dirfd, struct err *e)
{
	struct follow *f = NULL;
	json_t *result = NULL, *local = NULL;
	struct err why = { 0 };
	int final, rc;

	if (follow_open(dirfd, v, &f, e) < 0)
		return -1;
	rc = opt_get(&c->opts, "--follow") ? wait_local(f, dirfd, e) : follow_read(f, &final, e);
	follow_close(f);
	if (rc < 0)
		return -1;
	logview_end(v);
	if (builddir_json(dirfd, "result.json", &result, &why) < 0) {
		json_t *run = NULL;
		pid_t pid = 0;

		if (builddir_process(dirfd, &run, &pid, NULL) == 0)
			json_decref(run);
		if (pid == 0)
			return err_set(e, "host", "the build has no verdict, and its supervisor is gone");
		result = json_object();
	}
	builddir_json(dirfd, BUILDDIR_LOCAL, &local, NULL);
	rc = conclude(c, result, local, id);
	json_decref(local);
	json_decref(result);
	return rc;
}

static int show_remote(struct cli *c, struct logview *v, struct err *e)
{
	struct api *api = NULL;
	json_t *build = NULL;
	const char *id = c->opts.args[0];
	int rc;

	if (!job_id_ok(id))
		return err_set(e, "not_found", "there is no build '%.60s' here; kilnd wants the whole id", id);
	if (api_open(c->cfg, &api, e) < 0)
		return -1;
	rc = apilog_show(api, id, opt_get(&c->opts, "--follow") != NULL, v, &build, e);
	if (rc == 0) {
		rc = conclude(c, build, NULL, id);
		json_decref(build);
	}
	api_close(api);
	return rc;
}

static int show_console(struct cli *c, int dirfd, struct err *e)
{
	_cleanup_free_ char *text = NULL;
	size_t n;

	if (fileio_read(dirfd, "console.log", CONSOLE_MAX, &text, &n, e) < 0)
		return -1;
	term_output(&c->term, text, n);
	return CLI_OK;
}

static int show_remote_console(struct cli *c, struct err *e)
{
	struct api *api = NULL;
	json_t *build = NULL;
	const char *tail;
	char path[128];
	int rc;

	if (!job_id_ok(c->opts.args[0]))
		return err_set(e, "not_found", "there is no build '%.60s' here", c->opts.args[0]);
	snprintf(path, sizeof(path), "/build/%s", c->opts.args[0]);
	if (api_open(c->cfg, &api, e) < 0)
		return -1;
	rc = api_call(api, "GET", path, NULL, &build, e);
	api_close(api);
	if (rc < 0)
		return -1;
	tail = json_string_value(json_object_get(build, "console_tail"));
	if (tail)
		term_output(&c->term, tail, strlen(tail));
	else
		term_say(&c->term, TERM_PLAIN, "kilnd shows no console of this build");
	json_decref(build);
	return CLI_OK;
}

/* A build that ended without a verdict on disk: kilnd, if it was kilnd's, has one. */
static int is_better_here(int dirfd)
{
	json_t *run = NULL;
	pid_t pid = 0;

	if (faccessat(dirfd, "result.json", F_OK, 0) == 0 || faccessat(dirfd, BUILDDIR_LOCAL, F_OK, 0) == 0)
		return 1;
	if (builddir_process(dirfd, &run, &pid, NULL) == 0)
		json_decref(run);
	return pid > 0;
}

static int run(struct cli *c)
{
	int console = opt_get(&c->opts, "--console") != NULL, rc;
	_cleanup_fd_ int dirfd = -1;
	char id[JOB_ID_BYTES];
	struct logview view;
	struct err e = { 0 };

	logview_init(&view, &c->term);
	view.live = opt_get(&c->opts, "--follow") != NULL;
	view.quiet = !view.live;
	view.json = opt_get(&c->opts, "--json") != NULL;
	view.timestamps = opt_get(&c->opts, "--timestamps") != NULL;
	rc = opt_number(&c->opts, "--step", 1, 1024, &view.only_step, &e);
	if (rc == 0 && !*config_str(c->cfg, CONFIG_URL) &&
	    builddir_resolve(c->cfg, c->opts.args[0], id, &e) == 0 &&
	    builddir_open(c->cfg, id, &dirfd, &e) == 0 && (console || is_better_here(dirfd)))
		rc = console ? show_console(c, dirfd, &e) : show_local(c, &view, id, dirfd, &e);
	else if (rc == 0 && strcmp(e.code ? e.code : "", "ambiguous") != 0)
		rc = console ? show_remote_console(c, &e) : show_remote(c, &view, &e);
	else
		rc = -1;
	logview_fini(&view);
	return rc < 0 ? cli_fail(c, &e) : rc;
}

const struct command cmd_logs = {
	.name = "logs",
	.usage = "<build> [-f] [--step N] [--timestamps] [--json]",
	.summary = "Show the log of a build, with its steps and its verdict",
	.details = "\n<build> is an id, the beginning of one, or `last`.\n",
	.options = options,
	.min_args = 1, .max_args = 1,
	.run = run,
};
