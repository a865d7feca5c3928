/* SPDX-License-Identifier: Apache-2.0 */
/* qemu_argv.h - the command line of qemu-system-x86_64 -M microvm, as a pure function. */
#ifndef KILN_QEMU_ARGV_H
#define KILN_QEMU_ARGV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "err.h"

#define QEMU_ARGV_MAX   80
#define QEMU_TEXT_BYTES 8192
#define QEMU_CMDLINE_BYTES 2048 /* what every VMM of kiln can pass, its own additions included */
#define QEMU_CMDLINE_SPARE 256  /* for QEMU's own virtio_mmio.device=… words */

/* Names in vm/, which is the directory of the VMM's processes. */
#define QEMU_SCRATCH_FILE "scratch.img"
#define QEMU_VHOST_SOCKET "vhost.sock"
#define QEMU_UDS          "v.sock" /* the guest's port N is the socket v.sock_N */

/* Descriptors of the process. */
enum qemu_fd { QEMU_FD_CONSOLE = 3, QEMU_FD_KERNEL, QEMU_FD_INITRAMFS, QEMU_FD_IMAGE, QEMU_FD_VHOST };

struct qemu_config {
	const char *program, *name;
	const char *cmdline_append; /* may be "" */
	bool kvm;
	bool probe;                 /* no disks, no vsock */
	bool kernel_vsock;          /* vhost-vsock-device on QEMU_FD_VHOST with guest_cid */
	uint32_t guest_cid, port;   /* port: 1024 needs no word on the kernel command line */
	uint32_t vcpus, memory_mib;
	uint32_t tsc_khz;           /* of the host's counter, for an emulated guest; 0: unknown */
};

struct qemu_argv {
	size_t count, used;
	char *arg[QEMU_ARGV_MAX]; /* NULL-terminated, into text */
	char text[QEMU_TEXT_BYTES];
};

/*
 * Fill out. Code "vmm": the kernel command line would not fit, or cmdline_append holds bytes
 * that are not printable ASCII.
 */
int qemu_argv_build(const struct qemu_config *c, struct qemu_argv *out, struct err *e);

#endif
