/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tarout.c - a tar pulled piece by piece out of manifest and artifact files. Owns one libarchive
 * writer whose output goes into a small buffer, and the file that is being read.
 *
 * Names were checked when they came in; they are checked again here, because what unpacks this
 * tar is another machine: no absolute name, no "..", nothing below a symbolic link of the same
 * tar.
 */
#include "tarout.h"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "manifest.h"

#define PIECE_BYTES (32 * 1024)

struct tarout {
	int dirfd;
	struct manifest *manifest;
	json_t *links;       /* the paths of symbolic links so far */
	int fd;              /* of the entry that is being sent, or -1 */
	int64_t left;        /* its bytes still to send */
	struct archive *a;
	char *out;
	size_t out_len, out_off, out_cap;
	int done;
};

static la_ssize_t on_write(struct archive *a, void *cls, const void *bytes, size_t n)
{
	struct tarout *t = cls;

	(void)a;
	if (t->out_len + n > t->out_cap) {
		size_t cap = t->out_len + n + PIECE_BYTES;
		char *grown = realloc(t->out, cap);

		if (!grown)
			return -1;
		t->out = grown;
		t->out_cap = cap;
	}
	memcpy(t->out + t->out_len, bytes, n);
	t->out_len += n;
	return (la_ssize_t)n;
}

int tarout_new(int dirfd, struct tarout **out, struct err *e)
{
	struct tarout *t = calloc(1, sizeof(*t));

	if (!t)
		return err_set(e, "io", "no memory");
	t->fd = t->dirfd = -1;
	if (manifest_begin(dirfd, &t->manifest, e) < 0) {
		tarout_free(t);
		return -1;
	}
	t->links = json_object();
	t->dirfd = fcntl(dirfd, F_DUPFD_CLOEXEC, 3);
	t->a = archive_write_new();
	if (t->dirfd < 0 || !t->a || !t->links ||
	    archive_write_set_format_pax_restricted(t->a) != ARCHIVE_OK ||
	    archive_write_set_bytes_per_block(t->a, 0) != ARCHIVE_OK ||
	    archive_write_open(t->a, t, NULL, on_write, NULL) != ARCHIVE_OK) {
		tarout_free(t);
		return err_set(e, "io", "cannot make a tar");
	}
	*out = t;
	return 0;
}

void tarout_free(struct tarout *t)
{
	if (!t)
		return;
	if (t->a)
		archive_write_free(t->a);
	manifest_end(t->manifest);
	json_decref(t->links);
	cleanup_fd(&t->fd);
	cleanup_fd(&t->dirfd);
	free(t->out);
	free(t);
}

static int below_link(const struct tarout *t, const char *path)
{
	for (const char *p = strchr(path, '/'); p; p = strchr(p + 1, '/')) {
		char part[4096];

		if ((size_t)(p - path) >= sizeof(part))
			return 1;
		memcpy(part, path, (size_t)(p - path));
		part[p - path] = '\0';
		if (json_object_get(t->links, part))
			return 1;
	}
	return 0;
}

static const char *text_of(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

/* What kind of entry it is; a file is opened. */
static int set_type(struct tarout *t, struct archive_entry *ae, const json_t *f, struct err *e)
{
	const char *type = text_of(f, "type"), *path = text_of(f, "path");
	off_t size = 0;

	t->left = 0;
	if (strcmp(type, "dir") == 0) {
		archive_entry_set_filetype(ae, AE_IFDIR);
	} else if (strcmp(type, "symlink") == 0) {
		archive_entry_set_filetype(ae, AE_IFLNK);
		archive_entry_set_symlink(ae, text_of(f, "target"));
		json_object_set_new(t->links, path, json_true());
	} else if (strcmp(type, "hardlink") == 0) {
		archive_entry_set_filetype(ae, AE_IFREG);
		archive_entry_set_hardlink(ae, text_of(f, "target"));
		if (!manifest_name_ok(text_of(f, "target")))
			return err_set(e, "io", "the name of a link's target is unsafe");
	} else {
		if (manifest_open(t->dirfd, f, &t->fd, &size, e) < 0)
			return -1;
		if (size != (off_t)json_integer_value(json_object_get(f, "size")))
			return err_set(e, "io", "an artifact has not the size of the manifest");
		archive_entry_set_filetype(ae, AE_IFREG);
		t->left = size;
	}
	archive_entry_set_size(ae, t->left);
	return 0;
}

static int put_header(struct tarout *t, const json_t *f, struct err *e)
{
	const char *path = text_of(f, "path");
	struct archive_entry *ae;
	int rc = -1;

	if (!manifest_name_ok(path) || below_link(t, path))
		return err_set(e, "io", "an artifact's name is unsafe");
	ae = archive_entry_new();
	if (!ae)
		return err_set(e, "io", "no memory");
	archive_entry_set_pathname(ae, path);
	archive_entry_set_perm(ae, (__LA_MODE_T)(strtoul(text_of(f, "mode"), NULL, 8) & 0777));
	archive_entry_set_mtime(ae, (time_t)json_integer_value(json_object_get(f, "mtime")), 0);
	if (set_type(t, ae, f, e) == 0) {
		rc = archive_write_header(t->a, ae) == ARCHIVE_OK ? 0 : -1;
		if (rc < 0)
			err_set(e, "io", "tar: %s", archive_error_string(t->a));
	}
	archive_entry_free(ae);
	return rc;
}

static int put_piece(struct tarout *t, struct err *e)
{
	char buf[PIECE_BYTES];
	size_t want = t->left < PIECE_BYTES ? (size_t)t->left : PIECE_BYTES;
	ssize_t n = want ? read(t->fd, buf, want) : 0;

	if (want && n <= 0)
		return err_set(e, "io", "an artifact is shorter than it was");
	if (want && archive_write_data(t->a, buf, (size_t)n) != n)
		return err_set(e, "io", "tar: %s", archive_error_string(t->a));
	t->left -= n;
	if (t->left == 0)
		close(take_fd(&t->fd));
	return 0;
}

static int produce(struct tarout *t, struct err *e)
{
	json_t *entry = NULL;
	int rc;

	if (t->fd >= 0)
		return put_piece(t, e);
	rc = manifest_next(t->manifest, &entry, e);
	if (rc > 0)
		rc = put_header(t, entry, e) < 0 ? -1 : 1;
	json_decref(entry);
	if (rc != 0)
		return rc < 0 ? -1 : 0;
	t->done = 1;
	if (archive_write_close(t->a) != ARCHIVE_OK)
		return err_set(e, "io", "tar: %s", archive_error_string(t->a));
	return 0;
}

ssize_t tarout_read(struct tarout *t, char *buf, size_t max, struct err *e)
{
	size_t n;

	while (t->out_off == t->out_len) {
		t->out_off = t->out_len = 0;
		if (t->done)
			return 0;
		if (produce(t, e) < 0)
			return -1;
	}
	n = t->out_len - t->out_off < max ? t->out_len - t->out_off : max;
	memcpy(buf, t->out + t->out_off, n);
	t->out_off += n;
	return (ssize_t)n;
}
