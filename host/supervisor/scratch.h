/* SPDX-License-Identifier: Apache-2.0 */
/* scratch.h - the scratch disk of a VM: a sparse file with an empty ext4, label kiln-scratch. */
#ifndef KILN_SCRATCH_H
#define KILN_SCRATCH_H

#include <stdint.h>

#include "child.h"
#include "err.h"

#define SCRATCH_LABEL         "kiln-scratch"
#define SCRATCH_MIN_FREE_MIB  256 /* the host must have this much room, or the whole disk's */

/*
 * Make the file `name` of size_mib MiB below dir_fd, owned by id, and mke2fs it (10 to 20 ms).
 * Code "host": no mke2fs, no room on the host, mke2fs failed.
 */
int scratch_make(int dir_fd, const char *name, uint32_t size_mib, struct child_id id,
		 struct err *e);

#endif
