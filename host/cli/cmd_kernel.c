/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_kernel.c - `kiln kernel install`: builds, downloads or copies the guest kernel into its place. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "cli.h"
#include "filecopy.h"
#include "fileio.h"
#include "siblings.h"

#define KERNEL_MAX ((uint64_t)512 << 20)

extern char **environ;

static const struct opt options[] = {
	{ "--build", 0, NULL, "build it from Debian's source (about 10 minutes, kept in a cache)" },
	{ "--download", 0, "URL", "fetch it" },
	{ "--sha256", 0, "HEX", "the digest that the download must have" },
	{ 0 },
};

/* An uncompressed x86-64 kernel is an ELF file for that machine (elf(5)). */
static int check_elf(const char *path, struct err *e)
{
	_cleanup_fd_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	unsigned char head[20] = { 0 };

	if (fd < 0 || read(fd, head, sizeof(head)) < 0)
		return err_errno(e, "io", "cannot read %s", path);
	if (memcmp(head, "\x7f" "ELF\x02\x01", 6) != 0 || head[18] != 62 || head[19] != 0)
		return err_set(e, "bad_value", "%s is no uncompressed x86-64 kernel (vmlinux)", path);
	return 0;
}

/* Where the build script lies: in a source tree, or installed. */
static int find_script(char *path, size_t n, struct err *e)
{
	static const char *const names[] = { "../../kernel-config/build.sh", "kernel-config/build.sh" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (siblings_program(names[i], path, n) == 0 && access(path, X_OK) == 0)
			return 0;
	return err_set(e, "not_found", "kernel-config/build.sh is not there: run this from a kiln that was "
		       "built in its source tree, or use --download or FILE");
}

/* The script's last line on stdout is the directory of what it made. */
static int run_script(const char *script, char *dir, size_t n, struct err *e)
{
	char *argv[] = { (char *)script, NULL };
	posix_spawn_file_actions_t fa;
	char line[PATH_MAX];
	int p[2], rc, status;
	FILE *out;
	pid_t pid;

	if (pipe2(p, O_CLOEXEC) < 0)
		return err_errno(e, "io", "cannot make a pipe");
	rc = posix_spawn_file_actions_init(&fa);
	rc |= posix_spawn_file_actions_adddup2(&fa, p[1], 1);
	if (rc == 0)
		rc = posix_spawn(&pid, script, &fa, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&fa);
	close(p[1]);
	out = rc == 0 ? fdopen(p[0], "r") : NULL;
	if (!out) {
		close(p[0]);
		return err_set(e, "io", "cannot start %s: %s", script, strerror(rc));
	}
	dir[0] = '\0';
	while (fgets(line, sizeof(line), out))
		snprintf(dir, n, "%.*s", (int)strcspn(line, "\n"), line);
	fclose(out);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (status != 0 || dir[0] != '/')
		return err_set(e, "build", "%s failed", script);
	return 0;
}

static int build(const char *to, struct err *e)
{
	char script[PATH_MAX], dir[PATH_MAX], kernel[PATH_MAX + 16];

	if (find_script(script, sizeof(script), e) < 0 || run_script(script, dir, sizeof(dir), e) < 0)
		return -1;
	snprintf(kernel, sizeof(kernel), "%s/vmlinux", dir);
	return filecopy(kernel, to, NULL, e);
}

static int download(const char *url, const char *sha256, const char *to, struct err *e)
{
	char fetched[PATH_MAX];
	int rc;

	if (!sha256 || strlen(sha256) != 64 ||
	    strspn(sha256, "0123456789abcdefABCDEF") != 64)
		return err_set(e, "usage", "--download needs --sha256 with 64 hexadecimal digits");
	if (snprintf(fetched, sizeof(fetched), "%s.fetched", to) >= (int)sizeof(fetched))
		return err_set(e, "io", "the path of dir is too long");
	rc = filecopy_download(url, sha256, KERNEL_MAX, fetched, e);
	if (rc == 0)
		rc = check_elf(fetched, e);
	if (rc == 0 && rename(fetched, to) < 0)
		rc = err_errno(e, "io", "cannot write %s", to);
	if (rc < 0)
		unlink(fetched);
	return rc;
}

static int install(struct cli *c, const char *to, struct err *e)
{
	const char *file = c->opts.args_count > 1 ? c->opts.args[1] : NULL;
	const char *url = opt_get(&c->opts, "--download");
	int from_source = opt_get(&c->opts, "--build") != NULL;

	if ((file != NULL) + (url != NULL) + from_source != 1)
		return err_set(e, "usage", "say one of --build, --download URL --sha256 HEX, or FILE");
	if (from_source)
		return build(to, e);
	if (url)
		return download(url, opt_get(&c->opts, "--sha256"), to, e);
	return check_elf(file, e) < 0 ? -1 : filecopy(file, to, NULL, e);
}

static int run(struct cli *c)
{
	static const char *const verbs[] = { "install" };
	char dir[PATH_MAX], to[PATH_MAX];
	struct err e = { 0 };

	if (cli_verb(c, verbs, 1) < 0)
		return CLI_USAGE;
	if (config_below(c->cfg, dir, sizeof(dir), "kernel") < 0 ||
	    config_below(c->cfg, to, sizeof(to), "kernel/vmlinux") < 0)
		err_set(&e, "io", "the path of dir is too long");
	else if (fileio_mkdirs(dir, 0755, &e) == 0 && install(c, to, &e) == 0)
		goto done;
	return strcmp(e.code, "usage") == 0 ? cli_usage(c, "%s", e.text) : cli_fail(c, &e);
done:
	printf("%s\n", to);
	if (config_is_set(c->cfg, CONFIG_KERNEL) && strcmp(config_str(c->cfg, CONFIG_KERNEL), to) != 0)
		term_say(&c->term, TERM_PLAIN, "note: the setting kernel names another file: %s (%s)",
			 config_str(c->cfg, CONFIG_KERNEL), config_origin(c->cfg, CONFIG_KERNEL));
	return fflush(stdout) == 0 ? CLI_OK : CLI_FAILED;
}

const struct command cmd_kernel = {
	.name = "kernel", .usage = "install (--build | --download URL --sha256 HEX | FILE)",
	.summary = "Put a guest kernel in its place; prints the path",
	.details = "", .options = options, .min_args = 1, .max_args = 2, .run = run,
};
