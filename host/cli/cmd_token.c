/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_token.c - `kiln token create`: a bearer token for the REST API on TCP. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "cleanup.h"
#include "cli.h"
#include "fileio.h"

#define TOKEN_BYTES 32

static const struct opt options[] = {
	{ "--output", 'o', "FILE", "where it goes (default: the setting token_file, else DIR/token)" },
	{ "--force", 'f', NULL, "replace a token that is there: those who have it are locked out" },
	{ 0 },
};

static int target(struct cli *c, char *path, size_t n, struct err *e)
{
	const char *given = opt_get(&c->opts, "--output");
	char cwd[PATH_MAX] = "";
	int len;

	if (!given && *config_str(c->cfg, CONFIG_TOKEN_FILE))
		given = config_str(c->cfg, CONFIG_TOKEN_FILE);
	if (!given)
		return config_below(c->cfg, path, n, "token") < 0 ?
		       err_set(e, "io", "the path of dir is too long") : 0;
	if (given[0] != '/' && !getcwd(cwd, sizeof(cwd)))
		return err_errno(e, "io", "cannot tell the current directory");
	len = snprintf(path, n, "%s%s%s", cwd, *cwd ? "/" : "", given);
	return len >= (int)n ? err_set(e, "io", "the path is too long") : 0;
}

static int make_parent(const char *path, struct err *e)
{
	char dir[PATH_MAX];
	char *slash;

	snprintf(dir, sizeof(dir), "%s", path);
	slash = strrchr(dir, '/');
	if (!slash || slash == dir)
		return 0;
	*slash = '\0';
	return fileio_mkdirs(dir, 0755, e);
}

static int create(struct cli *c, char *path, size_t n, struct err *e)
{
	unsigned char random[TOKEN_BYTES];
	char text[2 * TOKEN_BYTES + 2];

	if (target(c, path, n, e) < 0)
		return -1;
	if (access(path, F_OK) == 0 && !opt_get(&c->opts, "--force"))
		return err_set(e, "exists", "%s is there already; --force replaces it", path);
	if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random))
		return err_errno(e, "io", "no random bytes");
	for (int i = 0; i < TOKEN_BYTES; i++)
		snprintf(text + 2 * i, 3, "%02x", random[i]);
	text[2 * TOKEN_BYTES] = '\n';
	if (make_parent(path, e) < 0)
		return -1;
	return fileio_replace(AT_FDCWD, path, text, 2 * TOKEN_BYTES + 1, 0600, e);
}

static int run(struct cli *c)
{
	static const char *const verbs[] = { "create" };
	char path[PATH_MAX];
	struct err e = { 0 };

	if (cli_verb(c, verbs, 1) < 0)
		return CLI_USAGE;
	if (create(c, path, sizeof(path), &e) < 0)
		return cli_fail(c, &e);
	printf("%s\n", path);
	fflush(stdout);
	if (strcmp(config_str(c->cfg, CONFIG_TOKEN_FILE), path) != 0)
		term_say(&c->term, TERM_PLAIN, "now put `token_file: %s` into %s", path,
			 *config_file(c->cfg) ? config_file(c->cfg) : CONFIG_FILE_DEFAULT);
	return CLI_OK;
}

const struct command cmd_token = {
	.name = "token", .usage = "create [--output FILE] [--force]",
	.summary = "Make a token for the REST API on TCP; prints the file it is in",
	.details = "", .options = options, .min_args = 1, .max_args = 1, .run = run,
};
