/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_paths.c - `kiln paths` and `kiln config`: which values are in force, and why. */
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "cli.h"
#include "image.h"

static const struct opt path_options[] = {
	{ "--json", 0, NULL, "as JSON" },
	{ 0 },
};

static void row(json_t *rows, const char *name, const char *path, const char *origin)
{
	json_array_append_new(rows, json_pack("{s:s, s:s, s:b, s:s}", "name", name, "path", path, "exists",
					      *path && access(path, F_OK) == 0, "origin", origin));
}

static json_t *collect_paths(const struct config *cfg)
{
	static const char *const below[] = { "builds", "cache", "uids" };
	json_t *rows = json_array();
	struct image image;
	char path[PATH_MAX];

	row(rows, "config", *config_file(cfg) ? config_file(cfg) : CONFIG_FILE_DEFAULT,
	    *config_file(cfg) ? "read" : "default");
	for (int k = 0; k < CONFIG_KEY_COUNT; k++)
		if (config_settings[k].type == CONFIG_TYPE_PATH)
			row(rows, config_settings[k].name, config_str(cfg, (enum config_key)k),
			    config_origin(cfg, (enum config_key)k));
	if (image_find(cfg, "", &image, NULL) == 0)
		row(rows, "image", image.path, config_origin(cfg, CONFIG_IMAGE));
	else
		row(rows, "image", config_str(cfg, CONFIG_IMAGE), config_origin(cfg, CONFIG_IMAGE));
	for (size_t i = 0; i < sizeof(below) / sizeof(below[0]); i++)
		if (config_below(cfg, path, sizeof(path), "%s", below[i]) == 0)
			row(rows, below[i], path, config_origin(cfg, CONFIG_DIR));
	return rows;
}

static int run_paths(struct cli *c)
{
	json_t *rows = collect_paths(c->cfg), *item;
	size_t i;

	if (opt_get(&c->opts, "--json")) {
		json_dumpf(rows, stdout, JSON_INDENT(2));
		putchar('\n');
	} else {
		json_array_foreach(rows, i, item) {
			const char *path = json_string_value(json_object_get(item, "path"));
			int there = json_is_true(json_object_get(item, "exists"));

			printf("%-24s %s%s  (%s)\n", json_string_value(json_object_get(item, "name")),
			       *path ? path : "-", there || !*path ? "" : "  [missing]",
			       json_string_value(json_object_get(item, "origin")));
		}
	}
	json_decref(rows);
	return fflush(stdout) == 0 ? CLI_OK : CLI_FAILED;
}

static int show(const struct config *cfg, int as_json)
{
	json_t *all = json_object();

	for (int k = 0; k < CONFIG_KEY_COUNT; k++) {
		const struct config_setting *s = &config_settings[k];
		_cleanup_free_ char *text = config_text(cfg, (enum config_key)k);

		if (!text)
			continue;
		if (!as_json)
			printf("%-28s = %-40s  (%s)\n", s->name, text, config_origin(cfg, (enum config_key)k));
		json_object_set_new(all, s->name,
				    json_pack("{s:s, s:s}", "value", text, "origin",
					      config_origin(cfg, (enum config_key)k)));
	}
	if (as_json) {
		json_dumpf(all, stdout, JSON_INDENT(2));
		putchar('\n');
	}
	json_decref(all);
	return fflush(stdout) == 0 ? CLI_OK : CLI_FAILED;
}

static int run_config(struct cli *c)
{
	static const char *const verbs[] = { "check", "show" };
	struct err e = { 0 };
	int verb = cli_verb(c, verbs, 2);

	if (verb < 0)
		return CLI_USAGE;
	if (config_load(&c->flags, &c->cfg, &e) < 0)
		return cli_fail(c, &e);
	if (verb == 1)
		return show(c->cfg, opt_get(&c->opts, "--json") != NULL);
	if (*config_file(c->cfg))
		printf("%s is valid\n", config_file(c->cfg));
	else
		printf("there is no %s: the defaults and the environment are valid\n", CONFIG_FILE_DEFAULT);
	return fflush(stdout) == 0 ? CLI_OK : CLI_FAILED;
}

const struct command cmd_paths = {
	.name = "paths", .usage = "[--json]",
	.summary = "Print every path that is used, and which setting won",
	.details = "", .options = path_options, .min_args = 0, .max_args = 0, .run = run_paths,
};

const struct command cmd_config = {
	.name = "config", .usage = "check|show [--json]",
	.summary = "Check the configuration, or show every setting and where its value came from",
	.details = "", .options = path_options, .min_args = 1, .max_args = 1, .run = run_config,
};
