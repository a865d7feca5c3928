/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_conduit_tar.c - a tar of any bytes through libarchive and the judgement of paths: what is
 * accepted as a path never leaves the workspace, and no entry gives more data than its size.
 */
#include <stdlib.h>
#include <string.h>

#include "tarin.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
	const uint8_t *p;
	size_t left;
};

static ssize_t next(void *ctx, const void **p)
{
	struct input *in = ctx;
	size_t n = in->left < 700 ? in->left : 700;

	*p = in->p;
	in->p += n;
	in->left -= n;
	return (ssize_t)n;
}

static void check_path(const char *path)
{
	if (*path == '/' || strcmp(path, "..") == 0 || strncmp(path, "../", 3) == 0 ||
	    strstr(path, "/../") || strstr(path, "//"))
		abort();
	if (strlen(path) > 3 && strcmp(path + strlen(path) - 3, "/..") == 0)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	struct tarin_entry x;
	struct tarin *t;
	struct err e = { 0 };
	char path[4097];

	if (tarin_new(&t, next, &in, &e) < 0)
		abort();
	for (int i = 0; i < 1000 && tarin_next(t, &x, &e) > 0; i++) {
		const void *p;
		uint64_t offset, pieces = 0;
		size_t n;

		if (x.path && tarin_path(x.path, path, sizeof(path)) == NULL)
			check_path(path);
		if (x.mode & ~0777u)
			abort();
		while (x.type == TARIN_FILE && pieces++ < 1000 && tarin_data(t, &p, &n, &offset, &e) > 0)
			if (n > size)
				abort();
	}
	tarin_free(t);
	return 0;
}
