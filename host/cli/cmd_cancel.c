/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_cancel.c - `kiln cancel` and `kiln kill`: the polite way through kilnd or ctl, and the other one. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "api.h"
#include "builddir.h"
#include "cleanup.h"
#include "cli.h"

#define GONE_MS 10000

static const struct opt options[] = { { 0 } };

static int cancel_by_daemon(struct cli *c, const char *id, struct err *e)
{
	struct api *api = NULL;
	json_t *answer = NULL;
	char path[128];
	int rc;

	if (api_open(c->cfg, &api, e) < 0)
		return -1;
	snprintf(path, sizeof(path), "/build/%s/cancel", id);
	rc = api_call(api, "POST", path, NULL, &answer, e);
	json_decref(answer);
	api_close(api);
	return rc;
}

/* A build of `kiln run` is not known to kilnd; and there may be no kilnd. */
static int cancel(struct cli *c, struct err *e)
{
	char id[JOB_ID_BYTES];
	_cleanup_fd_ int dirfd = -1;
	struct err why = { 0 };
	int here = !*config_str(c->cfg, CONFIG_URL) &&
		   builddir_resolve(c->cfg, c->opts.args[0], id, &why) == 0 &&
		   builddir_open(c->cfg, id, &dirfd, &why) == 0;

	if (here && faccessat(dirfd, BUILDDIR_LOCAL, F_OK, 0) == 0)
		return builddir_ctl(dirfd, "cancel", e);
	if (!here && !job_id_ok(c->opts.args[0])) {
		*e = why;
		return why.code ? -1 : err_set(e, "not_found", "kilnd wants the whole id of a build");
	}
	if (cancel_by_daemon(c, here ? id : c->opts.args[0], e) == 0)
		return 0;
	if (here && strcmp(e->code, "no_daemon") == 0)
		return builddir_ctl(dirfd, "cancel", e);
	return -1;
}

static int run_cancel(struct cli *c)
{
	struct err e = { 0 };

	if (cancel(c, &e) < 0)
		return cli_fail(c, &e);
	term_say(&c->term, TERM_PLAIN, "%s is being cancelled", c->opts.args[0]);
	return CLI_OK;
}

/* Kill one build; 0 only when its supervisor is gone. */
static int kill_one(const struct config *cfg, const char *id, struct err *e)
{
	_cleanup_fd_ int dirfd = -1, pidfd = -1;
	json_t *run = NULL;
	struct pollfd p = { .events = POLLIN };
	pid_t pid = 0;
	int rc;

	if (builddir_open(cfg, id, &dirfd, e) < 0)
		return -1;
	rc = builddir_process(dirfd, &run, &pid, e);
	json_decref(run);
	if (rc < 0 && strcmp(e->code, "not_found") != 0)
		return -1;
	pidfd = pid > 0 ? pidfd_open(pid, 0) : -1;
	if (pidfd < 0)
		return err_set(e, "not_running", "%s is not running", id);
	p.fd = pidfd;
	/* By ctl control takes the VM down itself; without an answer SIGKILL does it. */
	if (builddir_ctl(dirfd, "kill", NULL) == 0 && poll(&p, 1, GONE_MS) == 1)
		return 0;
	if (builddir_kill(dirfd, e) < 0 && strcmp(e->code, "not_running") != 0)
		return -1;
	if (poll(&p, 1, GONE_MS) != 1)
		return err_set(e, "io", "%s: process %d does not end", id, (int)pid);
	return 0;
}

static int kill_all(struct cli *c)
{
	json_t *ids = builddir_all(c->cfg), *item;
	int rc = CLI_OK, killed = 0;
	struct err e = { 0 };
	size_t i;

	json_array_foreach(ids, i, item) {
		const char *id = json_string_value(item);

		if (kill_one(c->cfg, id, &e) == 0) {
			term_say(&c->term, TERM_PLAIN, "%s is killed", id);
			killed++;
		} else if (strcmp(e.code, "not_running") != 0) {
			rc = cli_fail(c, &e);
		}
	}
	json_decref(ids);
	if (killed == 0 && rc == CLI_OK)
		term_say(&c->term, TERM_PLAIN, "nothing is running");
	return rc;
}

static int run_kill(struct cli *c)
{
	char id[JOB_ID_BYTES];
	struct err e = { 0 };

	if (strcmp(c->opts.args[0], "all") == 0)
		return kill_all(c);
	if (builddir_resolve(c->cfg, c->opts.args[0], id, &e) < 0 || kill_one(c->cfg, id, &e) < 0)
		return cli_fail(c, &e);
	term_say(&c->term, TERM_PLAIN, "%s is killed", id);
	return CLI_OK;
}

const struct command cmd_cancel = {
	.name = "cancel", .usage = "<build>",
	.summary = "Stop a build: its steps end, log and artifacts so far are kept",
	.details = "", .options = options, .min_args = 1, .max_args = 1, .run = run_cancel,
};

const struct command cmd_kill = {
	.name = "kill", .usage = "<build|all>",
	.summary = "Kill the VM of a build at once, without the daemon's help",
	.details = "\nWorks on this host only, on builds below the setting dir.\n",
	.options = options, .min_args = 1, .max_args = 1, .run = run_kill,
};
