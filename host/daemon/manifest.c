/* SPDX-License-Identifier: Apache-2.0 */
/*
 * manifest.c - artifacts by name. Owns one open manifest.json and a window on it. A name is only
 * ever compared with the manifest's and never used as a path on this host: the file is
 * artifacts/<index>.
 *
 * What is looked for: {…, "files": [{…}, {…}], …}. Where an entry ends is told by its braces and
 * quotes; whether it is JSON, by jansson.
 */
#include "manifest.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "builddir.h"
#include "cleanup.h"

#define WINDOW_BYTES (4 * MANIFEST_ENTRY_MAX)

struct manifest {
	int fd, at_end;   /* at_end: the file has no more bytes */
	size_t at, end;   /* what of the window is still to be read */
	char window[WINDOW_BYTES];
};

static int unreadable(struct err *e)
{
	return err_set(e, "io", "manifest.json is not readable");
}

/* At least a whole entry in the window, or all that is left. */
static int fill(struct manifest *m, struct err *e)
{
	if (m->end - m->at >= MANIFEST_ENTRY_MAX || m->at_end)
		return 0;
	memmove(m->window, m->window + m->at, m->end - m->at);
	m->end -= m->at;
	m->at = 0;
	while (m->end < WINDOW_BYTES && !m->at_end) {
		ssize_t n = read(m->fd, m->window + m->end, WINDOW_BYTES - m->end);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_errno(e, "io", "cannot read manifest.json");
		m->at_end = n == 0;
		m->end += (size_t)n;
	}
	return 0;
}

/* Step over white space and the bytes of skip. Returns the byte that stands there, 0 at the end. */
static char peek(struct manifest *m, const char *skip)
{
	for (; m->at < m->end; m->at++) {
		char c = m->window[m->at];

		if (!c || (!strchr(" \t\r\n", c) && !strchr(skip, c)))
			return c;
	}
	return 0;
}

int manifest_begin(int dirfd, struct manifest **out, struct err *e)
{
	static const char files[] = "\"files\"";
	struct manifest *m = malloc(sizeof(*m));
	const char *p;
	off_t size;

	if (!m)
		return err_set(e, "io", "no memory for a manifest");
	m->fd = -1;
	m->at = m->end = 0;
	m->at_end = 0;
	if (builddir_open_file(dirfd, "manifest.json", &m->fd, &size, e) < 0 || fill(m, e) < 0)
		goto fail;
	p = memmem(m->window, m->end, files, sizeof(files) - 1);
	if (!p || size > (off_t)MANIFEST_MAX) {
		unreadable(e);
		goto fail;
	}
	m->at = (size_t)(p - m->window) + sizeof(files) - 1;
	if (peek(m, ":") != '[') {
		unreadable(e);
		goto fail;
	}
	m->at++;
	*out = m;
	return 0;
fail:
	manifest_end(m);
	return -1;
}

void manifest_end(struct manifest *m)
{
	if (!m)
		return;
	cleanup_fd(&m->fd);
	free(m);
}

/* The byte behind the string that begins at p, or NULL. */
static const char *string_end(const char *p, const char *end)
{
	for (p++; p < end && (p = memchr(p, '"', (size_t)(end - p))); p++) {
		size_t back = 0;

		while (p[-1 - (ssize_t)back] == '\\')
			back++;
		if (back % 2 == 0)
			return p + 1;
	}
	return NULL;
}

/* The byte behind the object that begins at p, or NULL. */
static const char *object_end(const char *p, const char *end)
{
	unsigned depth = 0;

	while (p < end) {
		if (*p == '"') {
			p = string_end(p, end);
			if (!p)
				return NULL;
			continue;
		}
		depth += *p == '{';
		depth -= *p == '}';
		p++;
		if (depth == 0)
			return p;
	}
	return NULL;
}

/* 1: the next entry is *n bytes at *p until the next call; 0: there is none left. */
static int next_raw(struct manifest *m, const char **p, size_t *n, struct err *e)
{
	const char *end;
	char c;

	if (fill(m, e) < 0)
		return -1;
	c = peek(m, ",");
	if (c == ']')
		return 0;
	*p = m->window + m->at;
	end = c == '{' ? object_end(*p, m->window + m->end) : NULL;
	if (!end)
		return unreadable(e);
	*n = (size_t)(end - *p);
	m->at += *n;
	return 1;
}

static int parse(const char *p, size_t n, json_t **entry, struct err *e)
{
	json_t *v = json_loadb(p, n, 0, NULL);

	if (!json_is_object(v)) {
		json_decref(v);
		*entry = NULL;
		return unreadable(e);
	}
	*entry = v;
	return 1;
}

int manifest_next(struct manifest *m, json_t **entry, struct err *e)
{
	const char *p;
	size_t n;
	int rc = next_raw(m, &p, &n, e);

	return rc > 0 ? parse(p, n, entry, e) : rc;
}

/* What an entry of this path holds whoever encoded it, or "" when that may differ. */
static void needle_of(const char *path, char *out, size_t cap)
{
	int n = snprintf(out, cap, "\"%s\"", path);

	for (const char *p = path; *p; p++)
		if (*p < 0x20 || *p > 0x7e || *p == '"' || *p == '\\')
			out[0] = '\0';
	if (n < 0 || (size_t)n >= cap)
		out[0] = '\0';
}

static int is_of(const json_t *entry, const char *path)
{
	const char *name = json_string_value(json_object_get(entry, "path"));

	return name && strcmp(name, path) == 0;
}

int manifest_find(int dirfd, const char *path, json_t **entry, struct err *e)
{
	char needle[4096 + 3];
	struct manifest *m;
	const char *p;
	size_t n;
	int rc;

	*entry = NULL;
	if (manifest_begin(dirfd, &m, e) < 0)
		return -1;
	needle_of(path, needle, sizeof(needle));
	while ((rc = next_raw(m, &p, &n, e)) > 0) {
		if (*needle && !memmem(p, n, needle, strlen(needle)))
			continue;
		rc = parse(p, n, entry, e);
		if (rc < 0 || is_of(*entry, path))
			break;
		json_decref(*entry);
		*entry = NULL;
	}
	manifest_end(m);
	return rc < 0 ? -1 : 0;
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
