/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli.h - what a command of kiln gets, and the list of the commands.
 */
#ifndef KILN_CLI_H
#define KILN_CLI_H

#include "config.h"
#include "err.h"
#include "opt.h"
#include "term.h"

enum { CLI_OK = 0, CLI_FAILED = 1, CLI_USAGE = 2, CLI_NOT_USER = 125 };

struct cli;

struct command {
	const char *name;
	const char *usage;   /* what follows the name: "<build> [--output DIR]" */
	const char *summary; /* one line */
	const char *details; /* more help, or "" */
	const struct opt *options;
	int min_args, max_args; /* words that are no option; max -1: any number */
	int (*run)(struct cli *c); /* returns the exit status; prints its own error (cli_fail) */
};

struct cli {
	struct config *cfg; /* NULL for `config check`, which loads it itself */
	struct config_flags flags;
	const struct command *command;
	struct opt_set opts;
	struct term term;
};

/* All commands, in the order of the help; ends with a NULL name. */
extern const struct command *const cli_commands[];

extern const struct command cmd_run, cmd_build, cmd_logs, cmd_artifacts, cmd_cancel, cmd_ps, cmd_kill,
	cmd_clean, cmd_paths, cmd_config, cmd_version, cmd_token, cmd_kernel, cmd_image;

/*
 * Print "kiln: <text>" on stderr. Returns CLI_FAILED, or CLI_USAGE for code "usage". Of `kiln run`, whose
 * other statuses are the build's: "kiln: failed: host: <text>", and CLI_NOT_USER.
 */
int cli_fail(struct cli *c, const struct err *e);
/* The same for a usage error of the command: also names its usage. */
int cli_usage(struct cli *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/*
 * `kiln <command> <word>` of commands that have verbs: the index of args[0] in words, or -1 after a
 * usage error that names the nearest was printed.
 */
int cli_verb(struct cli *c, const char *const *words, size_t n);

#endif
