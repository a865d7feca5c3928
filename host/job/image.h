/* SPDX-License-Identifier: Apache-2.0 */
/*
 * image.h - read-only images: from a name to a file below images_dir.
 *
 * images_dir/<name>.erofs (or .squashfs, .ext4), with <name>.json beside it, which says what is in
 * it. Only the operator's own setting `image` may be a path.
 */
#ifndef KILN_IMAGE_H
#define KILN_IMAGE_H

#include <limits.h>
#include <stddef.h>

#include "config.h"
#include "err.h"

#define IMAGE_NAME_MAX 64u

struct image {
	char name[IMAGE_NAME_MAX + 1];
	char path[PATH_MAX];
	const char *format; /* "erofs", "squashfs" or "ext4", by what the file holds */
};

/* Nonzero when name is a plain word: letters, digits, '-', '_', '.', not '.' first. */
int image_name_ok(const char *name);

/*
 * Find an image. name "" means the configured default, which may be a path. Code "unknown_image"
 * with the images there are and the command that makes one; "io" when the file cannot be used.
 */
int image_find(const struct config *cfg, const char *name, struct image *out, struct err *e);

/* The format of an image file by its superblock, or NULL when it is none of the three. */
const char *image_format(const char *path);

/* Names of all images below images_dir, sorted, as a new JSON array. Missing directory: empty. */
json_t *image_names(const struct config *cfg);

#endif
