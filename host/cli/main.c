/* SPDX-License-Identifier: Apache-2.0 */
/* main.c - finds the command, reads flags and configuration, runs it. */
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "jsonx.h"
#include "log.h"

const struct command *const cli_commands[] = {
	&cmd_run, &cmd_build, &cmd_logs, &cmd_artifacts, &cmd_cancel, &cmd_ps, &cmd_kill, &cmd_clean,
	&cmd_paths, &cmd_config, &cmd_version, &cmd_token, &cmd_kernel, &cmd_image, NULL,
};

#define COMMANDS (sizeof(cli_commands) / sizeof(cli_commands[0]) - 1)

static void help_flags(FILE *f)
{
	fputs("\nEverywhere:\n", f);
	fputs("      --config FILE              settings from FILE (default " CONFIG_FILE_DEFAULT ")\n"
	      "      --set NAME=VALUE           one setting, e.g. --set vmm.accel=tcg\n", f);
	for (int k = 0; k < CONFIG_KEY_COUNT; k++) {
		const struct config_setting *s = &config_settings[k];

		if (s->flag)
			fprintf(f, "      %-12s VALUE         %s\n", s->flag, s->help);
	}
}

static void help_all(FILE *f)
{
	fputs("kiln builds source code, each build in a microVM of its own.\n\n"
	      "usage: kiln <command> [options]\n\n", f);
	for (size_t i = 0; cli_commands[i]; i++)
		fprintf(f, "  %-10s %s\n", cli_commands[i]->name, cli_commands[i]->summary);
	fputs("\n`kiln <command> --help` says more of each.\n", f);
}

static void help_command(const struct command *cmd, FILE *f)
{
	fprintf(f, "usage: kiln %s %s\n\n%s.\n%s", cmd->name, cmd->usage, cmd->summary, cmd->details);
	if (cmd->options[0].name)
		fputs("\nOptions:\n", f);
	opt_help(cmd->options, f);
	help_flags(f);
}

/* Every other status of `kiln run` is the build's own, and its last line names the class. */
static int fail_run(struct cli *c, const char *text)
{
	term_say(&c->term, TERM_BAD, "failed: host: %s", text);
	return CLI_NOT_USER;
}

int cli_fail(struct cli *c, const struct err *e)
{
	if (c->command == &cmd_run)
		return fail_run(c, e->text);
	term_say(&c->term, TERM_BAD, "%s", e->text);
	return strcmp(e->code, "usage") == 0 ? CLI_USAGE : CLI_FAILED;
}

int cli_usage(struct cli *c, const char *fmt, ...)
{
	char text[ERR_TEXT_BYTES];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (c->command != &cmd_run)
		term_say(&c->term, TERM_BAD, "%s", text);
	term_say(&c->term, TERM_PLAIN, "usage: kiln %s %s", c->command->name, c->command->usage);
	return c->command == &cmd_run ? fail_run(c, text) : CLI_USAGE;
}

int cli_verb(struct cli *c, const char *const *words, size_t n)
{
	const char *near;

	for (size_t i = 0; i < n; i++)
		if (strcmp(c->opts.args[0], words[i]) == 0)
			return (int)i;
	near = jsonx_nearest(c->opts.args[0], words, n);
	cli_usage(c, "kiln %s knows no '%.60s'%s%s%s", c->command->name, c->opts.args[0],
		  near ? ", did you mean '" : "", near ? near : "", near ? "'?" : "");
	return -1;
}

static const struct command *find(const char *name)
{
	for (size_t i = 0; cli_commands[i]; i++)
		if (strcmp(cli_commands[i]->name, name) == 0)
			return cli_commands[i];
	return NULL;
}

static int unknown_command(struct cli *c, const char *name)
{
	const char *names[COMMANDS], *near;

	for (size_t i = 0; i < COMMANDS; i++)
		names[i] = cli_commands[i]->name;
	near = jsonx_nearest(name, names, COMMANDS);
	if (near)
		term_say(&c->term, TERM_BAD, "there is no command '%.60s', did you mean '%s'?", name, near);
	else
		term_say(&c->term, TERM_BAD, "there is no command '%.60s'; `kiln --help` lists them", name);
	return CLI_USAGE;
}

static int run_command(struct cli *c, int argc, char **argv)
{
	const struct command *cmd = c->command;
	enum log_level level;
	int help = 0, rc;
	struct err e = { 0 };

	if (opt_parse(&c->opts, cmd->options, argc, argv, &help, &e) < 0)
		return cli_usage(c, "%s", e.text);
	if (help) {
		help_command(cmd, stdout);
		return CLI_OK;
	}
	if (c->opts.args_count < cmd->min_args)
		return cli_usage(c, "something is missing");
	if (cmd->max_args >= 0 && c->opts.args_count > cmd->max_args)
		return cli_usage(c, "'%.80s' is one word too many", c->opts.args[cmd->max_args]);
	if (opt_get(&c->opts, "--no-color"))
		term_init(&c->term, 1);
	if (cmd != &cmd_config && cmd != &cmd_version) {
		if (config_load(&c->flags, &c->cfg, &e) < 0)
			return cli_fail(c, &e);
		if (log_level_parse(config_str(c->cfg, CONFIG_LOG), &level) == 0)
			log_set_level(level);
	}
	rc = cmd->run(c);
	config_free(c->cfg);
	return rc;
}

int main(int argc, char **argv)
{
	struct cli c = { 0 };
	struct err e = { 0 };

	/* A reader that went away is an error of write(2), not the end of this process. */
	sigaction(SIGPIPE, &(struct sigaction){ .sa_handler = SIG_IGN }, NULL);
	term_init(&c.term, 0);
	c.command = argc > 1 ? find(argv[1]) : NULL;
	if (config_take_flags(&c.flags, &argc, argv, &e) < 0)
		return cli_fail(&c, &e);
	if (argc < 2) {
		help_all(stderr);
		return CLI_USAGE;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) {
		const struct command *cmd = argc > 2 ? find(argv[2]) : NULL;

		if (argc > 2 && !cmd)
			return unknown_command(&c, argv[2]);
		if (cmd)
			help_command(cmd, stdout);
		else
			help_all(stdout);
		return CLI_OK;
	}
	if (strcmp(argv[1], "--version") == 0)
		argv[1] = (char *)"version";
	c.command = find(argv[1]);
	if (!c.command)
		return unknown_command(&c, argv[1]);
	return run_command(&c, argc - 2, argv + 2);
}
