/* SPDX-License-Identifier: Apache-2.0 */
/* image.c - looks images up. Reads directory and superblock, never mounts, never writes. */
#include "image.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"

static const char *const formats[] = { "erofs", "squashfs", "ext4" };
#define FORMATS (sizeof(formats) / sizeof(formats[0]))

int image_name_ok(const char *name)
{
	size_t n = strlen(name);

	return n > 0 && n <= IMAGE_NAME_MAX && name[0] != '.' && name[0] != '-' &&
	       strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") == n;
}

/* Magic numbers: Documentation/filesystems of Linux; erofs and ext4 at 1024, squashfs at 0. */
const char *image_format(const char *path)
{
	_cleanup_fd_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	uint8_t block[2048] = { 0 };
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) ||
	    pread(fd, block, sizeof(block), 0) < (ssize_t)sizeof(block))
		return NULL;
	if (memcmp(block + 1024, "\xe2\xe1\xf5\xe0", 4) == 0)
		return "erofs";
	if (memcmp(block, "hsqs", 4) == 0)
		return "squashfs";
	if (memcmp(block + 1024 + 56, "\x53\xef", 2) == 0)
		return "ext4";
	return NULL;
}

/* The name of an image file ("c.erofs" -> "c"), or 0 when it is none. */
static int name_of(const char *file, char name[IMAGE_NAME_MAX + 1])
{
	const char *dot = strrchr(file, '.');
	size_t n = dot ? (size_t)(dot - file) : 0;

	if (n == 0 || n > IMAGE_NAME_MAX)
		return 0;
	memcpy(name, file, n);
	name[n] = '\0';
	for (size_t i = 0; i < FORMATS; i++)
		if (strcmp(dot + 1, formats[i]) == 0)
			return image_name_ok(name);
	return 0;
}

json_t *image_names(const struct config *cfg)
{
	_cleanup_dir_ DIR *d = opendir(config_str(cfg, CONFIG_IMAGES_DIR));
	json_t *names = json_array();
	char name[IMAGE_NAME_MAX + 1];
	struct dirent *ent;

	while (names && d && (ent = readdir(d))) {
		size_t at, n = json_array_size(names);
		int order = 1;

		if (!name_of(ent->d_name, name))
			continue;
		for (at = 0; at < n; at++) {
			order = strcmp(json_string_value(json_array_get(names, at)), name);
			if (order >= 0)
				break;
		}
		if (at == n || order != 0)
			json_array_insert_new(names, at, json_string(name));
	}
	return names;
}

static int unknown(const struct config *cfg, const char *name, struct err *e)
{
	json_t *names = image_names(cfg), *item;
	char list[400] = "";
	size_t i, used = 0;

	json_array_foreach(names, i, item)
		if (used < sizeof(list))
			used += (size_t)snprintf(list + used, sizeof(list) - used, "%s%s",
						 i ? ", " : "", json_string_value(item));
	json_decref(names);
	if (used > 0)
		return err_field(e, "unknown_image", "image", "there is no image '%.64s' in %s; there "
				 "is: %s", name, config_str(cfg, CONFIG_IMAGES_DIR), list);
	return err_field(e, "unknown_image", "image", "there is no image '%.64s' in %s; build one in "
			 "kiln's source tree with `make image-%.64s`, then `kiln image install FILE`",
			 name, config_str(cfg, CONFIG_IMAGES_DIR), name);
}

static int use_file(struct image *out, struct err *e)
{
	out->format = image_format(out->path);
	if (!out->format)
		return err_field(e, "io", "image", "%s is no erofs, squashfs or ext4 image, or cannot "
				 "be read", out->path);
	return 0;
}

/* A path names the image after its file. */
static void name_of_path(const char *path, char name[IMAGE_NAME_MAX + 1])
{
	const char *base = strrchr(path, '/') + 1;
	size_t n = strcspn(base, ".");

	snprintf(name, IMAGE_NAME_MAX + 1, "%.*s", (int)(n < IMAGE_NAME_MAX ? n : IMAGE_NAME_MAX),
		 base);
}

static int use_path(const char *path, struct image *out, struct err *e)
{
	if (snprintf(out->path, sizeof(out->path), "%s", path) >= (int)sizeof(out->path))
		return err_field(e, "io", "image", "the path of the image is too long");
	if (access(path, F_OK) < 0)
		return err_field(e, "unknown_image", "image", "the image %s (setting image) is not "
				 "there: %s", path, strerror(errno));
	name_of_path(path, out->name);
	return use_file(out, e);
}

int image_find(const struct config *cfg, const char *name, struct image *out, struct err *e)
{
	const char *own = config_str(cfg, CONFIG_IMAGE);

	memset(out, 0, sizeof(*out));
	if (strchr(own, '/')) {
		char base[IMAGE_NAME_MAX + 1];

		name_of_path(own, base);
		if (!*name || strcmp(name, base) == 0)
			return use_path(own, out, e);
	}
	if (!*name)
		name = own;
	if (!image_name_ok(name))
		return err_field(e, "bad_value", "image", "'%.80s' is not the name of an image", name);
	snprintf(out->name, sizeof(out->name), "%s", name);
	for (size_t i = 0; i < FORMATS; i++) {
		if (snprintf(out->path, sizeof(out->path), "%s/%s.%s",
			     config_str(cfg, CONFIG_IMAGES_DIR), name, formats[i]) >=
		    (int)sizeof(out->path))
			return err_field(e, "io", "image", "the path of the image is too long");
		if (access(out->path, F_OK) == 0)
			return use_file(out, e);
	}
	return unknown(cfg, name, e);
}
