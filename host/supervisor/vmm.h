/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm.h - the interface between control and a VMM backend.
 *
 * A backend turns the parsed document into processes: `probe` settles the acceleration and the
 * kind of vsock, `listen` makes the socket that the conduit gets, `open` starts what must
 * stand before the VMM, `start` the VMM itself. Killing is the same for all: child_kill on
 * the processes.
 */
#ifndef KILN_VMM_H
#define KILN_VMM_H

#include <stdbool.h>

#include "child.h"
#include "supjob.h"
#include "tsc.h"
#include "uid.h"

#define VMM_PORT 1024 /* PROTOCOL.md section 1 */
#define VMM_CID  3    /* where the CID is not shared by the host */

struct vmm_facts { /* what the probe found out */
	char version[32];
	bool kvm;            /* accelerated; false: emulated */
	bool kernel_vsock;   /* /dev/vhost-vsock; false: vhost-device-vsock */
	gid_t kvm_gid;       /* the group that opens /dev/kvm, 0: none needed */
	char reason[256];    /* why this acceleration, for people */
};

struct vmm {
	const struct vmm_ops *ops;
	const struct supjob *job;
	const struct uid_lease *ids;
	struct vmm_facts facts;
	char qemu[4096], helper_path[4096]; /* programs */
	int dir_fd;          /* vm/ */
	int kernel_fd, initramfs_fd, image_fd;
	int listen_fd;       /* where the guest will dial */
	int vhost_fd;        /* /dev/vhost-vsock with the CID set, -1 without */
	int watch_fd;        /* inotify: readable when the helper may be ready; -1: nothing to wait for */
	uint32_t guest_cid, port;
	struct tsc_mark tsc; /* taken by listen: the work until start is the measuring time */
	struct child helper; /* vhost-device-vsock, not started with kernel vsock */
	struct child vm;
};

struct vmm_ops {
	const char *name; /* as in run.json and the vm event */
	/* Settle facts. May take as long as the probe guest (a few seconds) when no verdict is
	 * cached. Touches nothing of the build. Code: "vmm". */
	int (*probe)(const struct supjob *job, struct child_id id, struct vmm_facts *out, struct err *e);
	/* Find the programs and make the listener. Code: "vmm", "host". */
	int (*listen)(struct vmm *v, struct err *e);
	/* Open the VM's files, make the scratch disk, start what the VMM depends on. out_fd: where
	 * its output goes. Code: "vmm", "host". */
	int (*open)(struct vmm *v, int out_fd, struct err *e);
	/* 1 when start may be called, 0 when watch_fd has to become readable first. */
	int (*ready)(struct vmm *v, struct err *e);
	int (*start)(struct vmm *v, int out_fd, struct err *e);
};

extern const struct vmm_ops vmm_qemu;

/* The backend of a job. */
const struct vmm_ops *vmm_backend(const struct supjob *job);

/* Everything closed, nothing started. job and ids must outlive v. */
void vmm_init(struct vmm *v, const struct supjob *job, const struct uid_lease *ids);

/* Close the descriptors of v. The children must have ended. */
void vmm_fini(struct vmm *v);

#endif
