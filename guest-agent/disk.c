/* SPDX-License-Identifier: Apache-2.0 */
/*
 * disk.c - reads superblocks. Owns nothing; opens block devices read-only and closes them.
 *
 * Where the magic numbers are: fs/erofs/erofs_fs.h, fs/squashfs/squashfs_fs.h and
 * Documentation/filesystems/ext4/super.rst of the kernel.
 */
#include "disk.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define EROFS_AT 1024u
#define EXT4_MAGIC_AT (1024u + 56u)
#define EXT4_LABEL_AT (1024u + 120u)
#define EXT4_LABEL_BYTES 16u

static const uint8_t erofs_magic[] = { 0xe2, 0xe1, 0xf5, 0xe0 };
static const uint8_t squashfs_magic[] = { 'h', 's', 'q', 's' };
static const uint8_t ext4_magic[] = { 0x53, 0xef };

static int has(const uint8_t *head, size_t n, size_t at, const uint8_t *magic, size_t len)
{
	return n >= at + len && memcmp(head + at, magic, len) == 0;
}

enum disk_kind disk_kind_of(const uint8_t *head, size_t n)
{
	char label[EXT4_LABEL_BYTES + 1] = "";

	if (has(head, n, 0, squashfs_magic, sizeof(squashfs_magic)))
		return DISK_SQUASHFS;
	if (has(head, n, EROFS_AT, erofs_magic, sizeof(erofs_magic)))
		return DISK_EROFS;
	if (!has(head, n, EXT4_MAGIC_AT, ext4_magic, sizeof(ext4_magic)) ||
	    n < EXT4_LABEL_AT + EXT4_LABEL_BYTES)
		return DISK_UNKNOWN;
	memcpy(label, head + EXT4_LABEL_AT, EXT4_LABEL_BYTES);
	return strcmp(label, DISK_SCRATCH_LABEL) == 0 ? DISK_SCRATCH : DISK_EXT4;
}

const char *disk_fstype(enum disk_kind kind)
{
	static const char *const name[DISK_KIND_COUNT] = {
		[DISK_EROFS] = "erofs", [DISK_SQUASHFS] = "squashfs",
		[DISK_EXT4] = "ext4", [DISK_SCRATCH] = "ext4",
	};

	return (unsigned)kind < DISK_KIND_COUNT ? name[kind] : NULL;
}

static enum disk_kind look_at(const char *path)
{
	uint8_t head[DISK_HEAD_BYTES];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return DISK_UNKNOWN;
	n = pread(fd, head, sizeof(head), 0);
	close(fd);
	return n > 0 ? disk_kind_of(head, (size_t)n) : DISK_UNKNOWN;
}

void disk_find(struct disk *image, struct disk *scratch)
{
	memset(image, 0, sizeof(*image));
	memset(scratch, 0, sizeof(*scratch));
	for (char c = 'a'; c <= 'z'; c++) {
		struct disk d = { .kind = DISK_UNKNOWN };
		struct disk *to;

		snprintf(d.path, sizeof(d.path), "/dev/vd%c", c);
		d.kind = look_at(d.path);
		to = d.kind == DISK_SCRATCH ? scratch : image;
		if (d.kind != DISK_UNKNOWN && !to->path[0])
			*to = d;
	}
}
