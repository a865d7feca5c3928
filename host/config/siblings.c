/* SPDX-License-Identifier: Apache-2.0 */
/* siblings.c - finds files beside /proc/self/exe. Owns nothing; only looks, never opens. */
#include "siblings.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* The directory of the running program, without a slash at the end. */
static void own_dir(char *buf, size_t n)
{
	ssize_t len = readlink("/proc/self/exe", buf, n - 1);
	char *slash;

	if (len < 0)
		len = 0;
	buf[len] = '\0';
	slash = strrchr(buf, '/');
	if (slash)
		*slash = '\0';
	else
		snprintf(buf, n, "/usr/bin");
}

static int find(const char *const *formats, const char *name, char *buf, size_t n)
{
	char dir[PATH_MAX], path[PATH_MAX + 256];

	own_dir(dir, sizeof(dir));
	for (size_t i = 0; formats[i]; i++) {
		const char *rest = formats[i];
		size_t at = rest[0] == '/' ? 0 : strlen(dir);

		/* "../" is taken off here: the path is shown to people. */
		for (; strncmp(rest, "../", 3) == 0; rest += 3)
			while (at > 0 && dir[--at] != '/')
				;
		if (snprintf(path, sizeof(path), "%.*s%s%s%s", (int)at, dir, rest[0] == '/' ? "" : "/", rest,
			     name) >= (int)sizeof(path))
			return -1;
		if ((i == 0 || access(path, F_OK) == 0) &&
		    snprintf(buf, n, "%s", path) >= (int)n)
			return -1;
		if (access(path, F_OK) == 0)
			return 0;
	}
	return 0;
}

int siblings_program(const char *name, char *buf, size_t n)
{
	static const char *const formats[] = { "", "../lib/kiln/", "/usr/local/bin/", "/usr/bin/",
					       NULL };

	return find(formats, name, buf, n);
}

int siblings_share(const char *name, char *buf, size_t n)
{
	static const char *const formats[] = { "../share/", "../lib/kiln/", "../share/kiln/", NULL };

	return find(formats, name, buf, n);
}
