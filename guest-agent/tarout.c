/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tarout.c - libarchive as the writer of pax headers, with file data going through untouched.
 *
 * Owns the archive, one read buffer and the table of files with several names. libarchive's
 * blocks are as large as the data of one frame: of a large read all but the ends of it go from
 * the read buffer to sendmsg() without a copy.
 */
#include "tarout.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "walk.h"
#include "wire_msg.h"

#define READ_BYTES (256u << 10)
#define LINKS_FIRST 256u /* a power of two */

struct link_slot {
	dev_t dev;
	ino_t ino;
	char *path; /* NULL: free */
};

struct tarout {
	struct archive *archive;
	struct bulk *bulk;
	struct fail *fail; /* of the call that runs: filled by on_write */
	struct link_slot *links;
	size_t links_count, links_cap;
	uint8_t buf[READ_BYTES];
};

static la_ssize_t on_write(struct archive *a, void *ctx, const void *p, size_t n)
{
	struct tarout *t = ctx;

	if (bulk_write(t->bulk, p, n, t->fail) < 0) {
		archive_set_error(a, EIO, "the stream broke");
		return -1;
	}
	return (la_ssize_t)n;
}

int tarout_new(struct bulk *b, struct tarout **out, struct fail *f)
{
	struct tarout *t = calloc(1, sizeof(*t));

	if (!t)
		return fail_set(f, WIRE_CLASS_AGENT, "no memory for the tar of artifacts");
	t->bulk = b;
	t->fail = f;
	t->archive = archive_write_new();
	t->links_cap = LINKS_FIRST;
	t->links = calloc(t->links_cap, sizeof(*t->links));
	if (!t->archive || !t->links ||
	    archive_write_set_format_pax_restricted(t->archive) != ARCHIVE_OK ||
	    archive_write_set_bytes_per_block(t->archive, (int)bulk_data_max(b)) != ARCHIVE_OK ||
	    archive_write_set_bytes_in_last_block(t->archive, 1) != ARCHIVE_OK ||
	    archive_write_open(t->archive, t, NULL, on_write, NULL) != ARCHIVE_OK) {
		tarout_free(t);
		return fail_set(f, WIRE_CLASS_AGENT, "cannot begin the tar of artifacts");
	}
	*out = t;
	return 0;
}

/* libarchive refused. When the stream broke, on_write has said so already. */
static int broken(struct tarout *t, const char *path, struct fail *f)
{
	const char *why = archive_error_string(t->archive);

	if (archive_errno(t->archive) == EIO)
		return -1;
	return fail_set(f, WIRE_CLASS_AGENT, "cannot put %.200s into the tar: %s", path,
			why ? why : "no reason given");
}

static struct link_slot *slot_of(struct link_slot *links, size_t cap, dev_t dev, ino_t ino)
{
	size_t i = (size_t)((uint64_t)ino * 0x9e3779b97f4a7c15u >> 32 ^ dev) & (cap - 1);

	while (links[i].path && (links[i].dev != dev || links[i].ino != ino))
		i = (i + 1) & (cap - 1);
	return &links[i];
}

static int grow_links(struct tarout *t)
{
	size_t cap = t->links_cap * 2;
	struct link_slot *more = calloc(cap, sizeof(*more));

	if (!more)
		return -1;
	for (size_t i = 0; i < t->links_cap; i++) {
		if (t->links[i].path)
			*slot_of(more, cap, t->links[i].dev, t->links[i].ino) = t->links[i];
	}
	free(t->links);
	t->links = more;
	t->links_cap = cap;
	return 0;
}

/* The path under which the file is in the tar, or NULL: then it is remembered under this one. */
static const char *earlier_name(struct tarout *t, const char *path, const struct stat *st)
{
	struct link_slot *slot;

	if (st->st_nlink < 2)
		return NULL;
	if (t->links_count * 2 >= t->links_cap && grow_links(t) < 0)
		return NULL; /* the file goes in twice */
	slot = slot_of(t->links, t->links_cap, st->st_dev, st->st_ino);
	if (slot->path)
		return slot->path;
	slot->path = strdup(path);
	slot->dev = st->st_dev;
	slot->ino = st->st_ino;
	t->links_count += slot->path != NULL;
	return NULL;
}

static int write_header(struct tarout *t, const char *path, const struct stat *st,
			const char *link_target, const char *hard_link, struct fail *f)
{
	struct archive_entry *e = archive_entry_new();
	int rc;

	if (!e)
		return fail_set(f, WIRE_CLASS_AGENT, "no memory for the tar of artifacts");
	t->fail = f;
	archive_entry_set_pathname(e, path);
	archive_entry_set_mode(e, st->st_mode);
	archive_entry_set_mtime(e, st->st_mtim.tv_sec, 0);
	archive_entry_set_size(e, S_ISREG(st->st_mode) && !hard_link ? st->st_size : 0);
	if (link_target)
		archive_entry_set_symlink(e, link_target);
	if (hard_link)
		archive_entry_set_hardlink(e, hard_link);
	rc = archive_write_header(t->archive, e);
	archive_entry_free(e);
	return rc >= ARCHIVE_WARN ? 0 : broken(t, path, f);
}

static int write_data(struct tarout *t, const char *path, size_t n, struct fail *f)
{
	if (archive_write_data(t->archive, t->buf, n) != (la_ssize_t)n)
		return broken(t, path, f);
	return 0;
}

/* As many bytes as the header promised, whatever the file does meanwhile. */
static int write_content(struct tarout *t, int fd, const char *path, const struct stat *st,
			 struct fail *f)
{
	uint64_t left = (uint64_t)st->st_size;
	struct stat now;
	int note = TAROUT_ADDED;

	while (left > 0) {
		size_t want = left < READ_BYTES ? (size_t)left : READ_BYTES;
		ssize_t n = note == TAROUT_SHRANK ? (ssize_t)want : read(fd, t->buf, want);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			note = TAROUT_SHRANK;
			memset(t->buf, 0, sizeof(t->buf));
			continue;
		}
		if (write_data(t, path, (size_t)n, f) < 0)
			return -1;
		left -= (uint64_t)n;
	}
	if (note == TAROUT_ADDED && fstat(fd, &now) == 0 &&
	    (now.st_size != st->st_size || now.st_mtim.tv_sec != st->st_mtim.tv_sec ||
	     now.st_mtim.tv_nsec != st->st_mtim.tv_nsec))
		note = TAROUT_CHANGED;
	return note;
}

static int add_file(struct tarout *t, int root_fd, const char *path, uint64_t *bytes,
		    struct fail *f)
{
	/* Non-blocking: it may be a FIFO by now. */
	int fd = walk_open(root_fd, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
	struct stat st;
	const char *earlier;
	int rc;

	if (fd < 0)
		return TAROUT_UNREADABLE;
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
		close(fd);
		return TAROUT_NO_FILE;
	}
	earlier = earlier_name(t, path, &st);
	rc = write_header(t, path, &st, NULL, earlier, f);
	if (rc == 0 && !earlier) {
		*bytes = (uint64_t)st.st_size;
		rc = write_content(t, fd, path, &st, f);
	}
	close(fd);
	return rc;
}

static int add_symlink(struct tarout *t, int root_fd, const char *path, const struct stat *st,
		       struct fail *f)
{
	char target[WALK_PATH_BYTES];
	int fd = walk_open(root_fd, path, O_PATH | O_NOFOLLOW);
	ssize_t n;

	if (fd < 0)
		return TAROUT_UNREADABLE;
	n = readlinkat(fd, "", target, sizeof(target) - 1);
	close(fd);
	if (n <= 0)
		return TAROUT_UNREADABLE;
	target[n] = '\0';
	return write_header(t, path, st, target, NULL, f);
}

int tarout_add(struct tarout *t, int root_fd, const char *path, const struct stat *st,
	       uint64_t *bytes, struct fail *f)
{
	*bytes = 0;
	if (S_ISREG(st->st_mode))
		return add_file(t, root_fd, path, bytes, f);
	if (S_ISLNK(st->st_mode))
		return add_symlink(t, root_fd, path, st, f);
	if (S_ISDIR(st->st_mode))
		return write_header(t, path, st, NULL, NULL, f);
	return TAROUT_NO_FILE;
}

int tarout_finish(struct tarout *t, struct fail *f)
{
	t->fail = f;
	if (archive_write_close(t->archive) != ARCHIVE_OK)
		return broken(t, "the end", f);
	return 0;
}

void tarout_free(struct tarout *t)
{
	if (!t)
		return;
	if (t->archive) {
		archive_write_fail(t->archive); /* else freeing would still write */
		archive_write_free(t->archive);
	}
	for (size_t i = 0; t->links && i < t->links_cap; i++)
		free(t->links[i].path);
	free(t->links);
	free(t);
}
