/* SPDX-License-Identifier: Apache-2.0 */
/*
 * walk.c - lists directories, asks what to do with each entry, descends. Owns the list of the
 * directories it is in; knows nothing of patterns and archives.
 */
#include "walk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/openat2.h>

#include "select.h"
#include "wire_msg.h"

struct walk {
	int root_fd;
	const struct walk_ops *ops;
	void *ctx;
	char path[WALK_PATH_BYTES];
};

struct entry {
	char *name;
	struct stat st;
	unsigned verdict;
};

struct list {
	struct entry *entries; /* those with a verdict */
	size_t count, cap, seen;
};

int walk_open(int root_fd, const char *path, int flags)
{
	struct open_how how = { .flags = (uint64_t)flags | O_CLOEXEC,
				.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS |
					   RESOLVE_NO_MAGICLINKS };

	return (int)syscall(SYS_openat2, root_fd, path, &how, sizeof(how));
}

static void list_free(struct list *l)
{
	for (size_t i = 0; i < l->count; i++)
		free(l->entries[i].name);
	free(l->entries);
}

static int list_add(struct list *l, const char *name, const struct stat *st, unsigned verdict)
{
	if (l->count == l->cap) {
		size_t cap = l->cap ? l->cap * 2 : 32;
		struct entry *more = reallocarray(l->entries, cap, sizeof(*more));

		if (!more)
			return -1;
		l->entries = more;
		l->cap = cap;
	}
	l->entries[l->count] = (struct entry){ .name = strdup(name), .st = *st, .verdict = verdict };
	if (!l->entries[l->count].name)
		return -1;
	l->count++;
	return 0;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct entry *)a)->name, ((const struct entry *)b)->name);
}

/* Put a name behind the path of its directory. 0, or -1 when it gets too long. */
static int path_push(struct walk *w, size_t dir_bytes, const char *name)
{
	int n = snprintf(w->path + dir_bytes, sizeof(w->path) - dir_bytes, "%s%s",
			 dir_bytes ? "/" : "", name);

	return n >= 0 && (size_t)n < sizeof(w->path) - dir_bytes ? 0 : -1;
}

/* Judge what the open directory holds; keep what has a verdict. */
static int read_entries(struct walk *w, DIR *dir, size_t dir_bytes, int inside, struct list *l,
			struct fail *f)
{
	struct dirent *d;

	while ((d = readdir(dir))) {
		struct stat st;
		unsigned verdict;

		if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0)
			continue;
		l->seen++;
		if (path_push(w, dir_bytes, d->d_name) < 0) {
			w->path[dir_bytes] = '\0';
			w->ops->unreadable(w->ctx, w->path, ENAMETOOLONG);
			continue;
		}
		if (fstatat(dirfd(dir), d->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
			if (errno != ENOENT) /* gone meanwhile */
				w->ops->unreadable(w->ctx, w->path, errno);
			continue;
		}
		verdict = w->ops->judge(w->ctx, w->path, &st, inside);
		if (verdict && list_add(l, d->d_name, &st, verdict) < 0)
			return fail_set(f, WIRE_CLASS_AGENT,
					"no memory for the names of a directory");
	}
	w->path[dir_bytes] = '\0';
	if (l->count) /* qsort(3) takes no NULL */
		qsort(l->entries, l->count, sizeof(*l->entries), by_name);
	return 0;
}

static int list_directory(struct walk *w, size_t dir_bytes, int inside, struct list *l,
			  struct fail *f)
{
	int fd = walk_open(w->root_fd, dir_bytes ? w->path : ".", O_RDONLY | O_DIRECTORY);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	int rc;

	if (!dir) {
		l->seen = 1; /* nobody knows that it is empty */
		w->ops->unreadable(w->ctx, dir_bytes ? w->path : ".", errno);
		if (fd >= 0)
			close(fd);
		return 0;
	}
	rc = read_entries(w, dir, dir_bytes, inside, l, f);
	closedir(dir);
	return rc;
}

/* The directory is w->path[0..dir_bytes); st is NULL for the root. */
static int walk_directory(struct walk *w, size_t dir_bytes, const struct stat *st, int taken,
			  struct fail *f)
{
	struct list l = { 0 };
	int rc = list_directory(w, dir_bytes, taken, &l, f);

	if (rc == 0 && taken && l.seen == 0 && st)
		rc = w->ops->take(w->ctx, w->path, st, f);
	for (size_t i = 0; rc == 0 && i < l.count; i++) {
		const struct entry *e = &l.entries[i];

		if (path_push(w, dir_bytes, e->name) < 0)
			continue; /* was said when it was read */
		if (S_ISDIR(e->st.st_mode))
			rc = walk_directory(w, strlen(w->path), &e->st,
					    (e->verdict & SELECT_TAKE) != 0, f);
		else
			rc = w->ops->take(w->ctx, w->path, &e->st, f);
		w->path[dir_bytes] = '\0';
	}
	list_free(&l);
	return rc;
}

int walk_run(int root_fd, const struct walk_ops *ops, void *ctx, struct fail *f)
{
	struct walk w = { .root_fd = root_fd, .ops = ops, .ctx = ctx };

	return walk_directory(&w, 0, NULL, 0, f);
}
