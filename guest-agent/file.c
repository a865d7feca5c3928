/* SPDX-License-Identifier: Apache-2.0 */
/*
 * file.c - reads and writes small files while the root is prepared, before any step runs.
 * Not for the time after: it follows paths that a step could change, and allocates.
 */
#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "wire_msg.h"

static size_t read_all(int fd, char *buf, size_t cap)
{
	size_t at = 0;
	ssize_t n;

	while (at < cap && (n = read(fd, buf + at, cap - at)) > 0)
		at += (size_t)n;
	return at;
}

char *file_read(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	char *text;
	size_t n = 0;
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size > FILE_MAX_BYTES)
		st.st_size = 0;
	text = malloc((size_t)st.st_size + 1);
	if (text && fd >= 0)
		n = read_all(fd, text, (size_t)st.st_size);
	if (text)
		text[memchr(text, 0, n) ? 0 : n] = '\0';
	if (fd >= 0)
		close(fd);
	return text;
}

static int write_all(int fd, const char *p, size_t n)
{
	while (n) {
		ssize_t done = write(fd, p, n);

		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return -1;
		p += done;
		n -= (size_t)done;
	}
	return 0;
}

int file_write(const char *path, const void *data, size_t n, mode_t mode, struct fail *f)
{
	int fd, rc = 0;

	unlink(path);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
	if (fd < 0)
		return fail_errno(f, WIRE_CLASS_AGENT, "cannot make %s", path);
	if (write_all(fd, data, n) < 0 || fchmod(fd, mode) < 0)
		rc = fail_errno(f, WIRE_CLASS_AGENT, "cannot write %s", path);
	close(fd);
	return rc;
}

int file_add_line(const char *path, const char *text, mode_t mode, struct fail *f)
{
	int fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, mode);
	char line[1024], last = '\n';
	struct stat st;
	int n, rc = 0;

	if (fd < 0)
		return fail_errno(f, WIRE_CLASS_AGENT, "cannot open %s", path);
	if (fstat(fd, &st) == 0 && st.st_size > 0 && pread(fd, &last, 1, st.st_size - 1) != 1)
		last = '\n';
	n = snprintf(line, sizeof(line), "%s%s\n", last == '\n' ? "" : "\n", text);
	if (n < 0 || (size_t)n >= sizeof(line))
		rc = fail_set(f, WIRE_CLASS_AGENT, "a line for %s is too long", path);
	else if (write_all(fd, line, (size_t)n) < 0)
		rc = fail_errno(f, WIRE_CLASS_AGENT, "cannot write %s", path);
	close(fd);
	return rc;
}

int file_mkdirs(const char *path, struct fail *f)
{
	char part[1025];
	size_t n = strlen(path);

	if (n >= sizeof(part))
		return fail_set(f, WIRE_CLASS_AGENT, "the path %s is too long", path);
	for (size_t i = 1; i <= n; i++) {
		if (path[i] != '/' && path[i])
			continue;
		memcpy(part, path, i);
		part[i] = '\0';
		if (mkdir(part, 0755) < 0 && errno != EEXIST)
			return fail_errno(f, WIRE_CLASS_AGENT, "cannot make %s", part);
	}
	return 0;
}
