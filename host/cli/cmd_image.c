/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_image.c - `kiln image`: lists the images builds can run on, and installs one. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli.h"
#include "filecopy.h"
#include "fileio.h"
#include "image.h"

static const struct opt options[] = {
	{ "--name", 0, "NAME", "install under this name (default: the file's)" },
	{ "--json", 0, NULL, "list as JSON" },
	{ 0 },
};

static int list(struct cli *c)
{
	json_t *names = image_names(c->cfg), *item, *rows = json_array();
	const char *own = config_str(c->cfg, CONFIG_IMAGE);
	struct image image;
	struct stat st;
	char size[32];
	size_t i;

	json_array_foreach(names, i, item) {
		const char *name = json_string_value(item);
		struct err e = { 0 };

		if (image_find(c->cfg, name, &image, &e) < 0 || stat(image.path, &st) < 0) {
			term_say(&c->term, TERM_BAD, "%s", *e.text ? e.text : name);
			continue;
		}
		term_size((unsigned long long)st.st_size, size, sizeof(size));
		if (!opt_get(&c->opts, "--json"))
			printf("%-20s %-9s %10s  %s%s\n", name, image.format, size, image.path,
			       strcmp(name, own) == 0 ? "  (default)" : "");
		json_array_append_new(rows, json_pack("{s:s, s:s, s:I, s:s}", "name", name, "format",
						      image.format, "bytes", (json_int_t)st.st_size,
						      "path", image.path));
	}
	if (opt_get(&c->opts, "--json")) {
		json_dumpf(rows, stdout, JSON_INDENT(2));
		putchar('\n');
	} else if (json_array_size(names) == 0) {
		term_say(&c->term, TERM_PLAIN, "there is no image in %s", config_str(c->cfg, CONFIG_IMAGES_DIR));
	}
	json_decref(rows);
	json_decref(names);
	return fflush(stdout) == 0 ? CLI_OK : CLI_FAILED;
}

/* What describes the image lies beside it: FILE.json, or FILE with .json for its ending. */
static int copy_description(const char *file, const char *to, struct err *e)
{
	char from[PATH_MAX];
	const char *slash = strrchr(file, '/'), *dot = strrchr(slash ? slash : file, '.');

	if (snprintf(from, sizeof(from), "%s.json", file) >= (int)sizeof(from))
		return err_set(e, "io", "%s is too long", file);
	if (access(from, R_OK) < 0)
		snprintf(from, sizeof(from), "%.*s.json", dot ? (int)(dot - file) : (int)strlen(file), file);
	if (access(from, R_OK) < 0)
		return unlink(to) < 0 && errno != ENOENT ? err_errno(e, "io", "cannot remove %s", to) : 0;
	return filecopy(from, to, NULL, e);
}

static int install(struct cli *c, const char *file, char *to, size_t n, struct err *e)
{
	const char *dir = config_str(c->cfg, CONFIG_IMAGES_DIR), *format = image_format(file);
	const char *given = opt_get(&c->opts, "--name"), *slash = strrchr(file, '/');
	const char *base = slash ? slash + 1 : file, *dot = strrchr(base, '.');
	char name[IMAGE_NAME_MAX + 1], beside[PATH_MAX];

	if (!format)
		return err_set(e, "bad_value", "%s is no erofs, squashfs or ext4 image, or cannot be read",
			       file);
	if (given)
		snprintf(name, sizeof(name), "%s", given);
	else
		snprintf(name, sizeof(name), "%.*s", dot ? (int)(dot - base) : (int)strlen(base), base);
	if (!image_name_ok(name))
		return err_set(e, "usage", "'%.80s' cannot be the name of an image: --name NAME", name);
	if (snprintf(to, n, "%s/%s.%s", dir, name, format) >= (int)n ||
	    snprintf(beside, sizeof(beside), "%s/%s.json", dir, name) >= (int)sizeof(beside))
		return err_set(e, "io", "the path of images_dir is too long");
	if (fileio_mkdirs(dir, 0755, e) < 0 || filecopy(file, to, NULL, e) < 0)
		return -1;
	return copy_description(file, beside, e);
}

static int run(struct cli *c)
{
	static const char *const verbs[] = { "list", "install" };
	int verb = cli_verb(c, verbs, 2);
	char to[PATH_MAX];
	struct err e = { 0 };

	if (verb < 0)
		return CLI_USAGE;
	if (verb == 0 && c->opts.args_count == 1)
		return list(c);
	if (verb == 0 || c->opts.args_count != 2)
		return cli_usage(c, verb == 0 ? "list takes no more words" : "install needs FILE");
	if (install(c, c->opts.args[1], to, sizeof(to), &e) < 0)
		return strcmp(e.code, "usage") == 0 ? cli_usage(c, "%s", e.text) : cli_fail(c, &e);
	printf("%s\n", to);
	return fflush(stdout) == 0 ? CLI_OK : CLI_FAILED;
}

const struct command cmd_image = {
	.name = "image", .usage = "list | install FILE [--name NAME]",
	.summary = "List the images that builds can run on, or install one",
	.details = "", .options = options, .min_args = 1, .max_args = 2, .run = run,
};
