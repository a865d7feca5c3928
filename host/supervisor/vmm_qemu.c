/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm_qemu.c - the qemu backend: microvm machine, vsock through the kernel or through one
 * vhost-device-vsock for each VM. Owns the files of vm/ and the two processes' start; when
 * they end and what that means is control's.
 *
 * All names are relative to vm/, the working directory of both: paths of sockets are short
 * and the processes need not reach the build directory.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/param.h>
#include <sys/stat.h>
#include <unistd.h>

#include "listener.h"
#include "probe.h"
#include "program.h"
#include "qemu_argv.h"
#include "scratch.h"
#include "vmm.h"

#define VMM_NOFILE 1024
#define VMM_NPROC  512 /* threads of the uid: vCPUs, I/O workers, the other processes */

static int open_files(struct vmm *v, struct err *e)
{
	const struct supjob *job = v->job;
	struct child_id id = v->ids->others;

	v->kernel_fd = probe_open_file(job->vmm.kernel, "vmm.kernel",
				       "kiln kernel install --build makes one", id, e);
	if (v->kernel_fd < 0)
		return -1;
	v->initramfs_fd = probe_open_file(job->vmm.initramfs, "vmm.initramfs",
					  "make agent builds it", id, e);
	if (v->initramfs_fd < 0)
		return -1;
	v->image_fd = probe_open_file(job->machine.image, "image",
				      "build or choose another image", id, e);
	return v->image_fd < 0 ? -1 : 0;
}

static int make_listener(struct vmm *v, struct err *e)
{
	char why[160], name[32];

	if (v->facts.kernel_vsock) {
		v->vhost_fd = probe_vhost_open(why, sizeof(why));
		if (v->vhost_fd < 0)
			return err_set(e, "vmm", "%s", why);
		if (listener_claim_cid(v->vhost_fd, &v->guest_cid, e) < 0)
			return -1;
		v->listen_fd = listener_vsock(&v->port, e);
	} else {
		v->port = VMM_PORT;
		snprintf(name, sizeof(name), QEMU_UDS "_%u", v->port);
		v->listen_fd = listener_unix(v->dir_fd, name, v->ids->others, e);
	}
	return v->listen_fd < 0 ? -1 : 0;
}

static int listen_qemu(struct vmm *v, struct err *e)
{
	tsc_mark(&v->tsc);
	if (program_find(v->job->vmm.qemu, v->qemu, sizeof(v->qemu), e) < 0)
		return err_prefix(e, "vmm.qemu");
	if (!v->facts.kernel_vsock && program_find(v->job->vmm.vhost_device_vsock, v->helper_path,
						   sizeof(v->helper_path), e) < 0)
		return err_prefix(e, "vmm.vhost_device_vsock");
	return make_listener(v, e);
}

static int open_vsock(struct vmm *v, int out_fd, struct err *e)
{
	char path[64], cid_opt[] = "--guest-cid", cid[16], socket_opt[] = "--socket";
	char socket[] = QEMU_VHOST_SOCKET, uds_opt[] = "--uds-path", uds[] = QEMU_UDS;
	char *argv[] = { v->helper_path, cid_opt, cid, socket_opt, socket, uds_opt, uds, NULL };
	struct child_spec spec = { .name = "vhost-device-vsock", .stdio = { -1, out_fd, out_fd },
				   .cwd_fd = v->dir_fd, .id = v->ids->others, .no_network = true,
				   .nofile = VMM_NOFILE, .argv = argv };

	if (v->facts.kernel_vsock)
		return 0;
	snprintf(cid, sizeof(cid), "%d", VMM_CID);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", v->dir_fd);
	if (v->ids->others.drop)
		spec.nproc = VMM_NPROC;
	/* Its socket's appearance is the readiness: a connect would use up its only frontend. */
	v->watch_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (v->watch_fd < 0 || inotify_add_watch(v->watch_fd, path, IN_CREATE) < 0)
		return err_errno(e, "vmm", "cannot watch the directory of the VM");
	return child_start(&spec, &v->helper, e);
}

static int open_qemu(struct vmm *v, int out_fd, struct err *e)
{
	if (open_files(v, e) < 0 ||
	    scratch_make(v->dir_fd, QEMU_SCRATCH_FILE, v->job->machine.disk_mib, v->ids->others, e) < 0)
		return -1;
	return open_vsock(v, out_fd, e);
}

static int ready(struct vmm *v, struct err *e)
{
	char scrap[1024];
	struct stat st;

	if (v->facts.kernel_vsock)
		return 1;
	while (read(v->watch_fd, scrap, sizeof(scrap)) > 0)
		;
	if (fstatat(v->dir_fd, QEMU_VHOST_SOCKET, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return 1;
	return errno == ENOENT ? 0 : err_errno(e, "vmm", "cannot look for the vsock's socket");
}

static int start(struct vmm *v, int out_fd, struct err *e)
{
	const struct supjob *job = v->job;
	struct qemu_config c = {
		.program = v->qemu, .name = job->build_id, .cmdline_append = job->vmm.cmdline_append,
		.kvm = v->facts.kvm, .kernel_vsock = v->facts.kernel_vsock, .guest_cid = v->guest_cid,
		.port = v->port, .vcpus = job->machine.vcpus, .memory_mib = job->machine.memory_mib,
		.tsc_khz = tsc_khz(&v->tsc) };
	struct child_spec spec = { .name = "qemu", .stdio = { -1, out_fd, out_fd },
				   .cwd_fd = v->dir_fd, .id = v->ids->others, .no_network = true,
				   .nofile = VMM_NOFILE,
				   .keep = { out_fd, v->kernel_fd, v->initramfs_fd, v->image_fd },
				   .keeps = 4 };
	struct qemu_argv argv;

	if (qemu_argv_build(&c, &argv, e) < 0)
		return -1;
	spec.argv = argv.arg;
	spec.id.extra_gid = v->facts.kvm_gid;
	/* The largest files it has: the scratch disk, and the memory where that is a memfd. */
	spec.fsize_bytes = ((uint64_t)MAX(job->machine.disk_mib, job->machine.memory_mib) + 1) << 20;
	if (spec.id.drop)
		spec.nproc = VMM_NPROC;
	if (v->facts.kernel_vsock)
		spec.keep[spec.keeps++] = v->vhost_fd;
	return child_start(&spec, &v->vm, e);
}

const struct vmm_ops vmm_qemu = { "qemu", probe_qemu, listen_qemu, open_qemu, ready, start };
