/* SPDX-License-Identifier: Apache-2.0 */
/*
 * probe.h - finds out what this machine can do: QEMU's version, whether KVM truly runs a
 * guest, and which vsock there is. What is costly to know is cached in cache_dir.
 */
#ifndef KILN_PROBE_H
#define KILN_PROBE_H

#include <jansson.h>

#include "vmm.h"

#define PROBE_KVM_DEADLINE_MS 3000

/* The probe of the qemu backend (vmm.h). id: who would run the VMM. Code "vmm". */
int probe_qemu(const struct supjob *job, struct child_id id, struct vmm_facts *out, struct err *e);

/* Open /dev/vhost-vsock and see that it answers. -1 with why in words when it does not. */
int probe_vhost_open(char *why, size_t n);

/* Open a file that the VM needs, readable for id. setting, remedy: for the words. Code "vmm". */
int probe_open_file(const char *path, const char *setting, const char *remedy, struct child_id id,
		    struct err *e);

/* The facts as an object: the answer to --probe, the `vm` event, result.json. factor 0 is left
 * out. NULL without memory; the caller json_decrefs. */
json_t *probe_json(const struct vmm_ops *ops, const struct vmm_facts *f, uint32_t factor);

#endif
