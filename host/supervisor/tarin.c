/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tarin.c - libarchive's tar reader behind a small door. Owns the archive handle. Opens no file
 * and writes none; the caller gives the bytes and takes the entries.
 */
#include "tarin.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct tarin {
	struct archive *a;
	tarin_read *read;
	void *ctx;
	int open;
};

static la_ssize_t on_read(struct archive *a, void *ctx, const void **p)
{
	struct tarin *t = ctx;
	ssize_t n = t->read(t->ctx, p);

	if (n < 0)
		archive_set_error(a, EIO, "the stream ended early");
	return n < 0 ? ARCHIVE_FATAL : n;
}

int tarin_new(struct tarin **out, tarin_read *read, void *ctx, struct err *e)
{
	struct tarin *t = calloc(1, sizeof(*t));

	if (!t)
		return err_set(e, "internal", "no memory to read a tar");
	t->read = read;
	t->ctx = ctx;
	t->a = archive_read_new();
	if (!t->a || archive_read_support_format_tar(t->a) != ARCHIVE_OK ||
	    archive_read_support_format_empty(t->a) != ARCHIVE_OK ||
	    archive_read_support_filter_none(t->a) != ARCHIVE_OK) {
		tarin_free(t);
		return err_set(e, "internal", "libarchive cannot read tar");
	}
	*out = t;
	return 0;
}

void tarin_free(struct tarin *t)
{
	if (!t)
		return;
	archive_read_free(t->a);
	free(t);
}

static int bad(struct tarin *t, struct err *e)
{
	const char *words = archive_error_string(t->a);

	return err_set(e, "bad_tar", "not a whole tar: %s", words ? words : "no reason given");
}

static const char *other_word(mode_t type)
{
	switch (type) {
	case AE_IFCHR:
	case AE_IFBLK: return "a device";
	case AE_IFIFO: return "a FIFO";
	case AE_IFSOCK: return "a socket";
	default: return "of a type that is not known";
	}
}

static void fill(struct archive_entry *ae, struct tarin_entry *entry)
{
	mode_t type = archive_entry_filetype(ae);

	*entry = (struct tarin_entry){ .path = archive_entry_pathname_utf8(ae),
				       .mode = archive_entry_perm(ae) & 0777,
				       .mtime = archive_entry_mtime(ae) };
	if (archive_entry_hardlink(ae) || archive_entry_hardlink_utf8(ae)) {
		entry->type = TARIN_HARDLINK;
		entry->target = archive_entry_hardlink_utf8(ae);
	} else if (type == AE_IFREG) {
		entry->type = TARIN_FILE;
		entry->size = archive_entry_size(ae) > 0 ? (uint64_t)archive_entry_size(ae) : 0;
	} else if (type == AE_IFDIR) {
		entry->type = TARIN_DIR;
	} else if (type == AE_IFLNK) {
		entry->type = TARIN_SYMLINK;
		entry->target = archive_entry_symlink_utf8(ae);
	} else {
		entry->type = TARIN_OTHER;
		entry->word = other_word(type);
	}
}

int tarin_next(struct tarin *t, struct tarin_entry *entry, struct err *e)
{
	struct archive_entry *ae;
	int rc;

	/* Opened here, not in tarin_new: libarchive reads ahead as it does so. */
	if (!t->open && archive_read_open(t->a, t, NULL, on_read, NULL) < ARCHIVE_WARN)
		return bad(t, e);
	t->open = 1;
	do {
		rc = archive_read_next_header(t->a, &ae);
	} while (rc == ARCHIVE_RETRY);
	if (rc == ARCHIVE_EOF)
		return 0;
	if (rc != ARCHIVE_OK && rc != ARCHIVE_WARN)
		return bad(t, e);
	fill(ae, entry);
	return 1;
}

int tarin_data(struct tarin *t, const void **p, size_t *n, uint64_t *offset, struct err *e)
{
	la_int64_t at;
	int rc = archive_read_data_block(t->a, p, n, &at);

	if (rc == ARCHIVE_EOF)
		return 0;
	if (rc != ARCHIVE_OK && rc != ARCHIVE_WARN)
		return bad(t, e);
	*offset = (uint64_t)at;
	return 1;
}

const char *tarin_path(const char *raw, char *out, size_t size)
{
	size_t n = 0, depth = 0;

	if (*raw == '/')
		return "its path is absolute";
	while (*raw) {
		size_t part = strcspn(raw, "/");

		if (part == 2 && raw[0] == '.' && raw[1] == '.')
			return "its path holds '..'";
		if (part > 0 && !(part == 1 && raw[0] == '.')) {
			if (n + part + 2 > size)
				return "its path is longer than 4096 bytes";
			if (++depth > TARIN_DEPTH_MAX)
				return "its path has more than 128 parts";
			if (n)
				out[n++] = '/';
			memcpy(out + n, raw, part);
			n += part;
		}
		raw += part;
		raw += *raw == '/';
	}
	out[n] = '\0';
	return NULL;
}
