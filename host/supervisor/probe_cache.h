/* SPDX-License-Identifier: Apache-2.0 */
/* probe_cache.h - the cached verdicts of probe.c: one small file for each combination of inputs. */
#ifndef KILN_PROBE_CACHE_H
#define KILN_PROBE_CACHE_H

#include <stdbool.h>
#include <stddef.h>

#include "supjob.h"

struct probe_verdict {
	char version[32];  /* of QEMU, "" unknown */
	bool kvm_tried;    /* kvm and reason are known */
	bool kvm;
	char reason[200];
};

struct probe_cache {
	char path[4200];  /* "" when there is no cache_dir: nothing is kept */
	char key[1400];   /* everything the verdict depends on */
	int lock_fd;      /* held while a verdict is being made; -1 */
};

/*
 * Look up the verdict for this machine, kernel, QEMU and probe guest. Takes the lock of the
 * cache, so that only one supervisor probes at a time; the caller ends it with
 * probe_cache_close. *v is zeroed when nothing is known. qemu: the program's path.
 */
void probe_cache_open(struct probe_cache *c, const struct supjob_vmm *vmm, const char *qemu,
		      struct probe_verdict *v);

/* Keep v. Failing to is no error: the next start probes again. */
void probe_cache_store(const struct probe_cache *c, const struct probe_verdict *v);

void probe_cache_close(struct probe_cache *c);

#endif
