/* SPDX-License-Identifier: Apache-2.0 */
/*
 * manifest.c - artifacts by name. Owns nothing. A name is only ever compared with the manifest's
 * and never used as a path on this host: the file is artifacts/<index>.
 */
#include "manifest.h"

#include <stdio.h>
#include <string.h>

#include "builddir.h"
#include "cleanup.h"
#include "fileio.h"

int manifest_read(int dirfd, json_t **m, struct err *e)
{
	_cleanup_free_ char *text = NULL;
	json_t *o;
	size_t n;

	if (fileio_read(dirfd, "manifest.json", MANIFEST_MAX, &text, &n, e) < 0)
		return -1;
	o = json_loadb(text, n, 0, NULL);
	if (!json_is_array(json_object_get(o, "files"))) {
		json_decref(o);
		return err_set(e, "io", "manifest.json is not readable");
	}
	*m = o;
	return 0;
}

json_t *manifest_find(const json_t *m, const char *path)
{
	json_t *files = json_object_get(m, "files"), *f;
	size_t i;

	json_array_foreach(files, i, f) {
		const char *name = json_string_value(json_object_get(f, "path"));

		if (name && strcmp(name, path) == 0)
			return f;
	}
	return NULL;
}

int manifest_open(int dirfd, const json_t *entry, int *fd, off_t *size, struct err *e)
{
	const char *type = json_string_value(json_object_get(entry, "type"));
	const json_t *index = json_object_get(entry, "index");
	char path[48];

	if (!type || (strcmp(type, "file") != 0 && strcmp(type, "hardlink") != 0) ||
	    !json_is_integer(index) || json_integer_value(index) < 0)
		return err_set(e, "not_found", "this entry is a %s and has no content", type ? type : "?");
	snprintf(path, sizeof(path), "artifacts/%lld", (long long)json_integer_value(index));
	return builddir_open_file(dirfd, path, fd, size, e);
}

int manifest_name_ok(const char *path)
{
	if (*path == '\0')
		return 0;
	for (;;) {
		size_t n = strcspn(path, "/");

		if (n == 0 || (n == 1 && path[0] == '.') || (n == 2 && path[0] == '.' && path[1] == '.'))
			return 0;
		if (path[n] == '\0')
			return 1;
		path += n + 1;
	}
}
