/* SPDX-License-Identifier: Apache-2.0 */
/*
 * boot.h - from the initramfs to the root that builds see: mounts, disks, lo, limits.
 */
#ifndef KILN_AGENT_BOOT_H
#define KILN_AGENT_BOOT_H

#include <stdint.h>

#include "fail.h"

struct boot {
	int scratch_fd;        /* top of the scratch filesystem; -1 when there is none */
	int proc_fd;           /* /proc, however a step may cover it; -1 when it failed */
	uint64_t scratch_bytes; /* size of the scratch filesystem */
};

/*
 * Assemble the root: overlay of the image and the scratch disk, everything mounted that a
 * Linux program expects, lo up; chroot into it. The process stays the same and is not
 * executed again. On failure *b is still valid and the agent can report why (class agent).
 */
int boot_root(struct boot *b, struct fail *f);

/* Make `path` in the root a directory of the scratch filesystem (`name` below its top). */
int boot_bind_scratch(const struct boot *b, const char *name, const char *path, struct fail *f);

#endif
