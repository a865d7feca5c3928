/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fileio.c - whole files and whole buffers. Owns no state. Must not be used on a descriptor
 * of an event loop: every call here may block.
 */
#include "fileio.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "cleanup.h"

int fileio_read_full(int fd, void *buf, size_t n, struct err *e)
{
	char *p = buf;

	while (n > 0) {
		ssize_t got = read(fd, p, n);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return err_errno(e, "io", "cannot read");
		if (got == 0)
			return err_set(e, "io", "unexpected end of data");
		p += got;
		n -= (size_t)got;
	}
	return 0;
}

int fileio_write_full(int fd, const void *buf, size_t n, struct err *e)
{
	const char *p = buf;

	while (n > 0) {
		ssize_t put = write(fd, p, n);

		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0)
			return err_errno(e, "io", "cannot write");
		p += put;
		n -= (size_t)put;
	}
	return 0;
}

int fileio_read(int dirfd, const char *path, size_t max_bytes, char **out, size_t *len,
		struct err *e)
{
	_cleanup_fd_ int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	_cleanup_free_ char *buf = NULL;
	struct stat st;

	if (fd < 0)
		return err_errno(e, errno == ENOENT ? "not_found" : "io", "cannot open %s", path);
	if (fstat(fd, &st) < 0)
		return err_errno(e, "io", "cannot stat %s", path);
	if (!S_ISREG(st.st_mode))
		return err_set(e, "io", "%s is not a regular file", path);
	if ((uintmax_t)st.st_size > max_bytes)
		return err_set(e, "too_large", "%s has %jd bytes, at most %zu are allowed", path,
			       (intmax_t)st.st_size, max_bytes);
	buf = malloc((size_t)st.st_size + 1);
	if (!buf)
		return err_set(e, "io", "no memory for %s", path);
	if (fileio_read_full(fd, buf, (size_t)st.st_size, e) < 0)
		return err_prefix(e, "%s", path);
	buf[st.st_size] = '\0';
	if (len)
		*len = (size_t)st.st_size;
	*out = take_ptr(&buf);
	return 0;
}

static int sync_parent(int dirfd, const char *path, struct err *e)
{
	char dir[PATH_MAX];
	const char *slash = strrchr(path, '/');
	_cleanup_fd_ int fd = -1;

	if (!slash)
		snprintf(dir, sizeof(dir), ".");
	else
		snprintf(dir, sizeof(dir), "%.*s", (int)(slash == path ? 1 : slash - path), path);
	fd = openat(dirfd, dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fsync(fd) < 0)
		return err_errno(e, "io", "cannot sync the directory of %s", path);
	return 0;
}

static int write_temp(int dirfd, const char *temp, const void *buf, size_t n, mode_t mode,
		      struct err *e)
{
	_cleanup_fd_ int fd = openat(dirfd, temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC |
				     O_NOFOLLOW, mode);

	if (fd < 0)
		return err_errno(e, "io", "cannot create %s", temp);
	if (fchmod(fd, mode) < 0)
		return err_errno(e, "io", "cannot set the mode of %s", temp);
	if (fileio_write_full(fd, buf, n, e) < 0)
		return err_prefix(e, "%s", temp);
	if (fsync(fd) < 0)
		return err_errno(e, "io", "cannot sync %s", temp);
	return 0;
}

int fileio_replace(int dirfd, const char *path, const void *buf, size_t n, mode_t mode,
		   struct err *e)
{
	char temp[PATH_MAX];

	if (snprintf(temp, sizeof(temp), "%s.new", path) >= (int)sizeof(temp))
		return err_set(e, "io", "path too long: %s", path);
	if (write_temp(dirfd, temp, buf, n, mode, e) < 0) {
		unlinkat(dirfd, temp, 0);
		return -1;
	}
	if (renameat(dirfd, temp, dirfd, path) < 0) {
		err_errno(e, "io", "cannot rename %s to %s", temp, path);
		unlinkat(dirfd, temp, 0);
		return -1;
	}
	return sync_parent(dirfd, path, e);
}

int fileio_mkdirs(const char *path, mode_t mode, struct err *e)
{
	char part[PATH_MAX];
	size_t n = strlen(path);

	if (n == 0 || n >= sizeof(part))
		return err_set(e, "io", "bad directory name: '%s'", path);
	memcpy(part, path, n + 1);
	for (char *p = part + 1;; p++) {
		char was = *p;

		if (was != '/' && was != '\0')
			continue;
		*p = '\0';
		if (mkdir(part, mode) < 0 && errno != EEXIST)
			return err_errno(e, "io", "cannot create the directory %s", part);
		*p = was;
		if (was == '\0')
			return 0;
	}
}

/* Depth is bounded by what the host itself creates: artifacts are flat files. */
int fileio_remove_tree(int dirfd, const char *name, struct err *e)
{
	_cleanup_dir_ DIR *d = NULL;
	struct dirent *ent;
	int fd;

	if (unlinkat(dirfd, name, 0) == 0 || errno == ENOENT)
		return 0;
	if (errno != EISDIR && errno != EPERM)
		return err_errno(e, "io", "cannot remove %s", name);
	fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return err_errno(e, "io", "cannot open %s", name);
	d = fdopendir(fd);
	if (!d) {
		close(fd);
		return err_errno(e, "io", "cannot read %s", name);
	}
	while ((ent = readdir(d))) {
		if (strcmp(ent->d_name, ".") == 0 || strcmp(ent->d_name, "..") == 0)
			continue;
		if (fileio_remove_tree(fd, ent->d_name, e) < 0)
			return err_prefix(e, "%s", name);
	}
	if (unlinkat(dirfd, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
		return err_errno(e, "io", "cannot remove %s", name);
	return 0;
}
