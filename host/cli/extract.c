/* SPDX-License-Identifier: Apache-2.0 */
/*
 * extract.c - writes artifacts below one directory descriptor. Every step down is an openat with
 * O_NOFOLLOW; links are made last, so that nothing can be written through them.
 */
#include "extract.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "fileio.h"

#define PATH_BYTES_MAX 4096u
#define PART_BYTES_MAX 255u
#define DEPTH_MAX 256u
#define COPY_BYTES (1u << 20)

const char *extract_path_fault(const char *path)
{
	size_t depth = 0;

	if (!*path)
		return "its name is empty";
	if (*path == '/')
		return "its name is absolute";
	if (strlen(path) >= PATH_BYTES_MAX)
		return "its name is too long";
	for (const char *p = path;;) {
		size_t n = strcspn(p, "/");

		if (n == 0 || (n == 1 && p[0] == '.'))
			return "its name has an empty part";
		if (n == 2 && strncmp(p, "..", 2) == 0)
			return "its name leads out of the directory";
		if (n > PART_BYTES_MAX || ++depth > DEPTH_MAX)
			return "its name is too long";
		if (p[n] == '\0')
			return NULL;
		p += n + 1;
	}
}

int extract_link_ok(const char *path, const char *target)
{
	size_t depth = 0;
	int down = 0;

	if (!*target || *target == '/' || strlen(target) >= PATH_BYTES_MAX)
		return 0;
	for (const char *p = path; *p; p++)
		depth += *p == '/';
	for (const char *p = target; *p;) {
		size_t n = strcspn(p, "/");

		if (n == 2 && strncmp(p, "..", 2) == 0) {
			/* Behind a name ".." leads wherever that name, if it is a link, points. */
			if (down || depth == 0)
				return 0;
			depth--;
		} else if (n > 0 && !(n == 1 && *p == '.')) {
			down = 1;
		}
		p += n;
		p += strspn(p, "/");
	}
	return 1;
}

static const char *text(const json_t *entry, const char *key)
{
	const char *s = json_string_value(json_object_get(entry, key));

	return s ? s : "";
}

static int refuse(struct extract *x, const json_t *entry, const char *why)
{
	x->left_out++;
	if (x->refused)
		x->refused(x->arg, text(entry, "path"), why);
	return 0;
}

/* Open the directory that path lies in, making what is missing. *base: the last part. */
static int open_parent(int top, const char *path, const char **base)
{
	_cleanup_fd_ int fd = openat(top, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	char part[PART_BYTES_MAX + 1];

	while (fd >= 0) {
		size_t n = strcspn(path, "/");
		int next;

		if (path[n] == '\0') {
			*base = path;
			return take_fd(&fd);
		}
		memcpy(part, path, n);
		part[n] = '\0';
		if (mkdirat(fd, part, 0755) < 0 && errno != EEXIST)
			return -1;
		next = openat(fd, part, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
		close(fd);
		fd = next;
		path += n + 1;
	}
	return -1;
}

static mode_t mode_of(const json_t *entry, mode_t fallback)
{
	const char *s = text(entry, "mode");
	unsigned long m = *s ? strtoul(s, NULL, 8) : fallback;

	return (mode_t)(m & 0777);
}

static void set_time(int fd, const json_t *entry)
{
	json_int_t at = json_integer_value(json_object_get(entry, "mtime"));
	struct timespec t[2] = { { .tv_nsec = UTIME_OMIT }, { .tv_sec = (time_t)at } };

	/* A time that the file system cannot hold is no loss. */
	if (at > 0)
		(void)!futimens(fd, t);
}

static int put_file(struct extract *x, int top, const json_t *entry, struct err *e)
{
	const char *path = text(entry, "path"), *base;
	_cleanup_fd_ int dir = open_parent(top, path, &base);
	_cleanup_fd_ int fd = -1;

	if (dir >= 0)
		fd = openat(dir, base, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0 && (errno == ENOSPC || errno == EDQUOT || errno == EROFS || errno == EACCES))
		return err_errno(e, "io", "cannot write to %s", x->target);
	if (fd < 0)
		return refuse(x, entry, errno == EEXIST ? "there is such a name already" : strerror(errno));
	if (x->copy(x->arg, entry, fd, e) < 0)
		return -1;
	if (fchmod(fd, mode_of(entry, 0644)) < 0)
		return err_errno(e, "io", "cannot set the mode of an artifact");
	set_time(fd, entry);
	x->files++;
	return 0;
}

static int put_dir(struct extract *x, int top, const json_t *entry)
{
	const char *path = text(entry, "path"), *base;
	_cleanup_fd_ int dir = open_parent(top, path, &base);

	if (dir < 0 || (mkdirat(dir, base, 0755) < 0 && errno != EEXIST))
		return refuse(x, entry, strerror(errno));
	return 0;
}

static int put_link(struct extract *x, int top, const json_t *entry)
{
	const char *path = text(entry, "path"), *target = text(entry, "target"), *base;
	_cleanup_fd_ int dir = -1;

	if (!extract_link_ok(path, target))
		return refuse(x, entry, "the link leads out of the directory");
	dir = open_parent(top, path, &base);
	if (dir < 0 || symlinkat(target, dir, base) < 0)
		return refuse(x, entry, errno == EEXIST ? "there is such a name already" : strerror(errno));
	x->files++;
	return 0;
}

/* links 0: everything else; 1: the links. */
static int put_entries(struct extract *x, int top, const json_t *files, int links, struct err *e)
{
	const json_t *entry;
	size_t i;

	json_array_foreach(files, i, entry) {
		const char *type = text(entry, "type"), *fault = extract_path_fault(text(entry, "path"));
		int rc = 0;

		if ((strcmp(type, "symlink") == 0) != links)
			continue;
		if (fault)
			rc = refuse(x, entry, fault);
		else if (links)
			rc = put_link(x, top, entry);
		else if (strcmp(type, "file") == 0 || strcmp(type, "hardlink") == 0)
			rc = put_file(x, top, entry, e);
		else if (strcmp(type, "dir") == 0)
			rc = put_dir(x, top, entry);
		else
			rc = refuse(x, entry, "kiln does not know what it is");
		if (rc < 0)
			return -1;
	}
	return 0;
}

/* Never throw away where the person stands, or lives. */
static int is_dear(const char *target)
{
	_cleanup_free_ char *real = realpath(target, NULL), *cwd = realpath(".", NULL);
	const char *home = getenv("HOME");
	_cleanup_free_ char *own = home ? realpath(home, NULL) : NULL;
	const char *dear[] = { cwd, own };
	size_t n = real ? strlen(real) : 0;

	for (size_t i = 0; i < 2; i++)
		if (n > 0 && dear[i] && strncmp(dear[i], real, n) == 0 &&
		    (n == 1 || dear[i][n] == '/' || dear[i][n] == '\0'))
			return 1;
	return 0;
}

int extract_check(const struct extract *x, struct err *e)
{
	_cleanup_dir_ DIR *d = NULL;
	struct dirent *ent;
	struct stat st;

	if (lstat(x->target, &st) < 0)
		return errno == ENOENT ? 0 : err_errno(e, "io", "cannot look at %s", x->target);
	if (!S_ISDIR(st.st_mode))
		return err_set(e, "exists", "%s is there and is not a directory", x->target);
	if (is_dear(x->target))
		return err_set(e, "exists", "%s holds the current or the home directory: it is not "
			       "replaced", x->target);
	if (x->replace)
		return 0;
	d = opendir(x->target);
	if (!d)
		return err_errno(e, "io", "cannot read %s", x->target);
	while ((ent = readdir(d)))
		if (strcmp(ent->d_name, ".") != 0 && strcmp(ent->d_name, "..") != 0)
			return err_set(e, "exists", "%s is not empty: name another directory, or give "
				       "--force to replace it", x->target);
	return 0;
}

/* Put fresh in the target's place; what was there goes away. */
static int swap_in(const struct extract *x, const char *fresh, struct err *e)
{
	char old[PATH_MAX];

	if (rename(fresh, x->target) == 0)
		return 0;
	if (errno != EEXIST && errno != ENOTEMPTY && errno != EISDIR)
		return err_errno(e, "io", "cannot make %s", x->target);
	if (snprintf(old, sizeof(old), "%s.old-%d", x->target, (int)getpid()) >= (int)sizeof(old))
		return err_set(e, "io", "%s is too long", x->target);
	if (rename(x->target, old) < 0 || rename(fresh, x->target) < 0)
		return err_errno(e, "io", "cannot replace %s", x->target);
	return fileio_remove_tree(AT_FDCWD, old, e);
}

static int fill(struct extract *x, const char *fresh, const json_t *manifest, struct err *e)
{
	const json_t *files = json_object_get(manifest, "files");
	_cleanup_fd_ int top = -1;

	if (mkdir(fresh, 0755) < 0)
		return err_errno(e, "io", "cannot make %s", fresh);
	top = open(fresh, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (top < 0)
		return err_errno(e, "io", "cannot open %s", fresh);
	if (put_entries(x, top, files, 0, e) < 0 || put_entries(x, top, files, 1, e) < 0)
		return -1;
	return swap_in(x, fresh, e);
}

int extract_manifest(struct extract *x, const json_t *manifest, struct err *e)
{
	char fresh[PATH_MAX];

	x->files = x->left_out = 0;
	if (extract_check(x, e) < 0)
		return -1;
	if (snprintf(fresh, sizeof(fresh), "%s.new-%d", x->target, (int)getpid()) >= (int)sizeof(fresh))
		return err_set(e, "io", "%s is too long", x->target);
	if (fill(x, fresh, manifest, e) < 0) {
		fileio_remove_tree(AT_FDCWD, fresh, NULL);
		return -1;
	}
	return 0;
}

int extract_copy_local(int dirfd, const json_t *entry, int fd, struct err *e)
{
	json_int_t index = json_integer_value(json_object_get(entry, "index"));
	_cleanup_fd_ int in = -1;
	char name[64];
	struct stat st;

	snprintf(name, sizeof(name), "artifacts/%lld", (long long)index);
	in = openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (in < 0 || fstat(in, &st) < 0 || !S_ISREG(st.st_mode))
		return err_errno(e, "io", "cannot read the artifact %s", name);
	for (off_t left = st.st_size; left > 0;) {
		size_t want = left < COPY_BYTES ? (size_t)left : COPY_BYTES;
		ssize_t n = copy_file_range(in, NULL, fd, NULL, want, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno != ENOSPC && errno != EIO) /* not between these file systems */
			n = sendfile(fd, in, NULL, want);
		if (n <= 0)
			return err_errno(e, "io", "cannot copy the artifact %s", name);
		left -= n;
	}
	return 0;
}
