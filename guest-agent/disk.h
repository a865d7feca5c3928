/* SPDX-License-Identifier: Apache-2.0 */
/*
 * disk.h - tells the VM's disks apart by what is on them; the order of vda, vdb means nothing.
 */
#ifndef KILN_AGENT_DISK_H
#define KILN_AGENT_DISK_H

#include <stddef.h>
#include <stdint.h>

#define DISK_SCRATCH_LABEL "kiln-scratch"
#define DISK_HEAD_BYTES 4096u /* what disk_kind_of needs of a disk's front */

enum disk_kind { DISK_UNKNOWN, DISK_EROFS, DISK_SQUASHFS, DISK_EXT4, DISK_SCRATCH, DISK_KIND_COUNT };

struct disk {
	enum disk_kind kind;
	char path[16]; /* /dev/vdX; "" when there is no such disk */
};

/* The filesystem whose superblock lies in head[0..n). n may be less than DISK_HEAD_BYTES. */
enum disk_kind disk_kind_of(const uint8_t *head, size_t n);

/* The name mount(2) knows the kind by; NULL for DISK_UNKNOWN. */
const char *disk_fstype(enum disk_kind kind);

/*
 * Look at /dev/vda to /dev/vdz. *image: the first erofs, squashfs or ext4 disk; *scratch: the
 * ext4 disk labelled DISK_SCRATCH_LABEL.
 */
void disk_find(struct disk *image, struct disk *scratch);

#endif
