/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_build.c - `kiln build`: gives a job to kilnd. */
#include <stdio.h>
#include <string.h>

#include "apilog.h"
#include "cli.h"
#include "job.h"
#include "jobopts.h"
#include "outcome.h"

static const struct opt options[] = {
	JOBOPTS_ROWS,
	{ "--follow", 'f', NULL, "show the log until the verdict; the exit status is then the build's" },
	{ "--json", 0, NULL, "kilnd's answer as JSON; with -f events and log too" },
	{ "--timestamps", 't', NULL, "the time in front of each line" },
	{ "--no-color", 0, NULL, "no colours" },
	{ 0 },
};

static int follow(struct cli *c, struct api *api, const char *id, struct err *e)
{
	struct outcome_command again = { "build", c->opts.args[0] };
	struct logview view;
	json_t *build = NULL;
	char text[1400], advice[OUTCOME_ADVICE_BYTES];
	int rc;

	logview_init(&view, &c->term);
	view.live = 1;
	view.json = opt_get(&c->opts, "--json") != NULL;
	view.timestamps = opt_get(&c->opts, "--timestamps") != NULL;
	rc = apilog_show(api, id, 1, &view, &build, e);
	logview_fini(&view);
	if (rc < 0)
		return -1;
	rc = outcome_status(build);
	if (rc == CLI_OK) {
		term_say(&c->term, TERM_GOOD, "ok; `kiln artifacts %s` fetches what it left", id);
	} else {
		if (*outcome_advice(build, &again, id, advice, sizeof(advice)))
			term_say(&c->term, TERM_PLAIN, "try: %s", advice);
		term_say(&c->term, TERM_BAD, "failed: %s", outcome_text(build, text, sizeof(text)));
	}
	json_decref(build);
	return rc;
}

static int submit(struct cli *c, struct api *api, struct err *e)
{
	json_t *request = NULL, *answer = NULL;
	const char *id;
	char line[512];
	int rc;

	if (jobopts_request(&c->opts, &request, e) < 0)
		return -1;
	json_object_set_new(request, "repo_url", json_string(c->opts.args[0]));
	rc = api_call(api, "POST", "/build", request, &answer, e);
	json_decref(request);
	if (rc < 0)
		return -1;
	id = json_string_value(json_object_get(answer, "build_id"));
	if (!id || !job_id_ok(id)) {
		json_decref(answer);
		return err_set(e, "io", "kilnd's answer names no build");
	}
	if (opt_get(&c->opts, "--json"))
		snprintf(line, sizeof(line), "{\"build_id\":\"%s\",\"status\":\"queued\"}\n", id);
	else
		snprintf(line, sizeof(line), "%s\n", id);
	term_raw(&c->term, line, strlen(line));
	if (opt_get(&c->opts, "--follow"))
		rc = follow(c, api, id, e);
	json_decref(answer);
	return rc;
}

static int run(struct cli *c)
{
	struct api *api = NULL;
	struct err e = { 0 };
	int rc;

	rc = api_open(c->cfg, &api, &e);
	if (rc == 0)
		rc = submit(c, api, &e);
	api_close(api);
	return rc < 0 ? cli_fail(c, &e) : rc;
}

const struct command cmd_build = {
	.name = "build",
	.usage = "<repository> [options] [-- command…]",
	.summary = "Give a build to kilnd; its id goes to stdout",
	.details = "",
	.options = options,
	.min_args = 1, .max_args = 1,
	.run = run,
};
