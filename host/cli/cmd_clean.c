/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cmd_clean.c - `kiln clean`: removes what `kiln run` left behind. Never a build that runs, never one
 * of kilnd's, which has a database that knows it.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "builddir.h"
#include "cleanup.h"
#include "cli.h"
#include "fileio.h"
#include "image.h"

#define STALE_S 3600

static const struct opt options[] = {
	{ "--images", 0, NULL, "also every image that no setting names (image, ceilings.images)" },
	{ "--dry-run", 'n', NULL, "only say what would go" },
	{ 0 },
};

enum fate { KEEP, REMOVE, REMOVE_IF_EMPTY };

/* What becomes of a build directory. */
static enum fate fate_of(const struct config *cfg, const char *id)
{
	_cleanup_fd_ int dirfd = -1;
	json_t *run = NULL;
	struct stat st;
	pid_t pid = 0;

	if (builddir_open(cfg, id, &dirfd, NULL) < 0 || fstat(dirfd, &st) < 0)
		return KEEP;
	if (builddir_process(dirfd, &run, &pid, NULL) == 0)
		json_decref(run);
	if (pid > 0)
		return KEEP;
	if (faccessat(dirfd, BUILDDIR_LOCAL, F_OK, 0) == 0)
		return REMOVE;
	/* Made, and then nothing was started in it. */
	return !run && st.st_mtime + STALE_S < time(NULL) ? REMOVE_IF_EMPTY : KEEP;
}

static int remove_build(struct cli *c, const char *id, enum fate fate, struct err *e)
{
	char path[PATH_MAX];

	if (config_below(c->cfg, path, sizeof(path), "builds/%s", id) < 0)
		return err_set(e, "io", "the path of dir is too long");
	if (opt_get(&c->opts, "--dry-run")) {
		term_say(&c->term, TERM_PLAIN, "would remove %s", path);
		return 0;
	}
	if (fate == REMOVE_IF_EMPTY) {
		if (rmdir(path) < 0)
			return errno == ENOTEMPTY || errno == ENOENT ? 0 :
			       err_errno(e, "io", "cannot remove %s", path);
	} else if (fileio_remove_tree(AT_FDCWD, path, e) < 0) {
		return -1;
	}
	term_say(&c->term, TERM_PLAIN, "removed %s", path);
	return 0;
}

static int clean_builds(struct cli *c, struct err *e)
{
	json_t *ids = builddir_all(c->cfg), *item;
	int rc = 0;
	size_t i;

	json_array_foreach(ids, i, item) {
		enum fate fate = fate_of(c->cfg, json_string_value(item));

		if (rc == 0 && fate != KEEP)
			rc = remove_build(c, json_string_value(item), fate, e);
	}
	json_decref(ids);
	return rc;
}

static int is_named(const struct config *cfg, const char *name)
{
	const json_t *list = config_list(cfg, CONFIG_CEILINGS_IMAGES), *item;
	size_t i;

	json_array_foreach(list, i, item)
		if (strcmp(json_string_value(item), name) == 0)
			return 1;
	return strcmp(config_str(cfg, CONFIG_IMAGE), name) == 0;
}

static int remove_image(struct cli *c, const char *name, struct err *e)
{
	struct image image;
	char beside[PATH_MAX + 8];

	if (image_find(c->cfg, name, &image, e) < 0)
		return -1;
	if (opt_get(&c->opts, "--dry-run")) {
		term_say(&c->term, TERM_PLAIN, "would remove %s", image.path);
		return 0;
	}
	/* A VM that runs on it has it open: the file goes when the VM does. */
	if (unlink(image.path) < 0)
		return err_errno(e, "io", "cannot remove %s", image.path);
	snprintf(beside, sizeof(beside), "%s/%s.json", config_str(c->cfg, CONFIG_IMAGES_DIR), name);
	if (unlink(beside) < 0 && errno != ENOENT)
		return err_errno(e, "io", "cannot remove %s", beside);
	term_say(&c->term, TERM_PLAIN, "removed %s", image.path);
	return 0;
}

static int clean_images(struct cli *c, struct err *e)
{
	json_t *names = image_names(c->cfg), *item;
	int rc = 0;
	size_t i;

	json_array_foreach(names, i, item)
		if (rc == 0 && !is_named(c->cfg, json_string_value(item)))
			rc = remove_image(c, json_string_value(item), e);
	json_decref(names);
	return rc;
}

static int run(struct cli *c)
{
	struct err e = { 0 };

	if (clean_builds(c, &e) < 0)
		return cli_fail(c, &e);
	if (opt_get(&c->opts, "--images") && clean_images(c, &e) < 0)
		return cli_fail(c, &e);
	return CLI_OK;
}

const struct command cmd_clean = {
	.name = "clean", .usage = "[--images] [--dry-run]",
	.summary = "Remove finished builds of `kiln run` and what was left half made",
	.details = "", .options = options, .min_args = 0, .max_args = 0, .run = run,
};
