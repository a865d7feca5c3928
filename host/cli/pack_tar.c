/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pack_tar.c - writes files of the host into a pax archive. Owns the archive. Never follows a
 * link, and reads no more of a file than its header promised.
 */
#include "pack_tar.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"

#define BLOCK_BYTES (256u << 10)
#define DEPTH_MAX 256

struct pack_tar {
	struct archive *archive;
	struct archive_entry *entry;
	struct pack_result *r;
	const char *const *skip;
	char *block;
};

int pack_tar_open(int fd, struct pack_result *r, struct pack_tar **out, struct err *e)
{
	struct pack_tar *t = calloc(1, sizeof(*t));

	if (!t)
		return err_set(e, "io", "no memory");
	t->r = r;
	t->block = malloc(BLOCK_BYTES);
	t->archive = archive_write_new();
	t->entry = archive_entry_new();
	if (!t->block || !t->archive || !t->entry) {
		pack_tar_free(t);
		return err_set(e, "io", "no memory");
	}
	archive_write_set_format_pax(t->archive);
	archive_write_set_bytes_per_block(t->archive, 64 * 1024);
	archive_write_set_bytes_in_last_block(t->archive, 1);
	/* A name that the locale cannot turn into UTF-8 is kept as bytes (hdrcharset=BINARY). */
	if (archive_write_open_fd(t->archive, fd) != ARCHIVE_OK) {
		err_set(e, "io", "cannot write the source tar: %s", archive_error_string(t->archive));
		pack_tar_free(t);
		return -1;
	}
	*out = t;
	return 0;
}

void pack_tar_skip(struct pack_tar *t, const char *const *skip)
{
	t->skip = skip;
}

void pack_tar_free(struct pack_tar *t)
{
	if (!t)
		return;
	archive_entry_free(t->entry);
	archive_write_free(t->archive);
	free(t->block);
	free(t);
}

int pack_tar_finish(struct pack_tar *t, struct err *e)
{
	if (archive_write_close(t->archive) != ARCHIVE_OK)
		return err_set(e, "io", "cannot write the source tar: %s",
			       archive_error_string(t->archive));
	return 0;
}

static int too_large(struct err *e)
{
	return err_set(e, "too_large", "the source has more than 2 GiB: leave out what the build does "
		       "not need (.gitignore), or let the build fetch it");
}

static int write_data(struct pack_tar *t, int fd, uint64_t size, const char *as, struct err *e)
{
	while (size > 0) {
		size_t want = size < BLOCK_BYTES ? (size_t)size : BLOCK_BYTES;
		ssize_t n = read(fd, t->block, want);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_errno(e, "io", "cannot read %s", as);
		if (n == 0)
			return 0; /* it shrank: libarchive fills up with zeros */
		if (archive_write_data(t->archive, t->block, (size_t)n) != n)
			return err_set(e, "io", "cannot write the source tar: %s",
				       archive_error_string(t->archive));
		size -= (uint64_t)n;
	}
	return 0;
}

static int write_header(struct pack_tar *t, const char *as, const struct stat *st, uint64_t size,
			const char *target, struct err *e)
{
	archive_entry_clear(t->entry);
	archive_entry_copy_pathname(t->entry, as);
	archive_entry_set_mode(t->entry, st->st_mode & (S_IFMT | 0777));
	archive_entry_set_mtime(t->entry, st->st_mtim.tv_sec, st->st_mtim.tv_nsec);
	archive_entry_set_size(t->entry, (la_int64_t)size);
	if (target)
		archive_entry_copy_symlink(t->entry, target);
	if (archive_write_header(t->archive, t->entry) < ARCHIVE_WARN)
		return err_set(e, "io", "cannot pack %s: %s", as, archive_error_string(t->archive));
	return 0;
}

static int add_file(struct pack_tar *t, const char *path, const char *as, struct err *e)
{
	_cleanup_fd_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	struct stat st;

	if (fd < 0 && errno == ENOENT)
		return 0;
	if (fd < 0 || fstat(fd, &st) < 0)
		return err_errno(e, "io", "cannot read %s", path);
	if (!S_ISREG(st.st_mode))
		return 0;
	t->r->bytes += (uint64_t)st.st_size;
	t->r->files++;
	if (t->r->bytes > PACK_BYTES_MAX)
		return too_large(e);
	if (write_header(t, as, &st, (uint64_t)st.st_size, NULL, e) < 0)
		return -1;
	return write_data(t, fd, (uint64_t)st.st_size, as, e);
}

static int add_link(struct pack_tar *t, const char *path, const char *as, const struct stat *st,
		    struct err *e)
{
	char target[PATH_MAX];
	ssize_t n = readlink(path, target, sizeof(target) - 1);

	if (n < 0)
		return errno == ENOENT ? 0 : err_errno(e, "io", "cannot read the link %s", path);
	target[n] = '\0';
	t->r->files++;
	return write_header(t, as, st, 0, target, e);
}

static int is_skipped(const struct pack_tar *t, const char *path)
{
	for (const char *const *s = t->skip; s && *s; s++) {
		size_t n = strlen(*s);

		if (n > 0 && strncmp(path, *s, n) == 0 && (path[n] == '\0' || path[n] == '/'))
			return 1;
	}
	return 0;
}

/* *is_dir: nonzero when it is a directory that was not skipped. */
static int add(struct pack_tar *t, const char *path, const char *as, int *is_dir, struct err *e)
{
	struct stat st;

	*is_dir = 0;
	if (is_skipped(t, path))
		return 0;
	if (lstat(path, &st) < 0)
		return errno == ENOENT || errno == ENOTDIR ? 0 :
		       err_errno(e, "io", "cannot look at %s", path);
	if (S_ISREG(st.st_mode))
		return add_file(t, path, as, e);
	if (S_ISLNK(st.st_mode))
		return add_link(t, path, as, &st, e);
	if (!S_ISDIR(st.st_mode)) {
		t->r->skipped++;
		return 0;
	}
	*is_dir = 1;
	return *as ? write_header(t, as, &st, 0, NULL, e) : 0;
}

static int join(char out[PATH_MAX], const char *dir, const char *name, struct err *e)
{
	int n = snprintf(out, PATH_MAX, "%s%s%s", dir, *dir && *name ? "/" : "", name);

	if (n >= PATH_MAX)
		return err_set(e, "io", "the path is too long: %.200s…", out);
	return 0;
}

int pack_tar_add(struct pack_tar *t, const char *dir, const char *name, const char *as,
		 struct err *e)
{
	char path[PATH_MAX];
	int is_dir;

	if (join(path, dir, name, e) < 0)
		return -1;
	return add(t, path, as, &is_dir, e);
}

static int walk(struct pack_tar *t, const char *path, const char *as, int depth, struct err *e)
{
	_cleanup_dir_ DIR *d = NULL;
	char sub[PATH_MAX], sub_as[PATH_MAX];
	struct dirent *ent;
	int is_dir;

	if (add(t, path, as, &is_dir, e) < 0)
		return -1;
	if (!is_dir)
		return 0;
	if (depth >= DEPTH_MAX)
		return err_set(e, "io", "%s lies deeper than %d directories", as, DEPTH_MAX);
	d = opendir(path);
	if (!d)
		return errno == ENOENT ? 0 : err_errno(e, "io", "cannot read %s", path);
	while ((ent = readdir(d))) {
		if (strcmp(ent->d_name, ".") == 0 || strcmp(ent->d_name, "..") == 0)
			continue;
		if (join(sub, path, ent->d_name, e) < 0 || join(sub_as, as, ent->d_name, e) < 0 ||
		    walk(t, sub, sub_as, depth + 1, e) < 0)
			return -1;
	}
	return 0;
}

int pack_tar_walk(struct pack_tar *t, const char *dir, const char *name, const char *as,
		  struct err *e)
{
	char path[PATH_MAX];

	if (join(path, dir, name, e) < 0)
		return -1;
	return walk(t, path, as, 0, e);
}
