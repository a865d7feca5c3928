/* SPDX-License-Identifier: Apache-2.0 */
/*
 * probe.c - what this machine can do. Runs short-lived programs; keeps nothing but the cache.
 *
 * That /dev/kvm opens proves nothing: there are hosts whose KVM runs no stock kernel and
 * says nothing about it. So the same kernel boots a guest of one kilobyte under KVM and has
 * to say its name on the console within a deadline.
 */
#include "probe.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/vhost.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "probe_cache.h"
#include "program.h"
#include "qemu_argv.h"

#define VERSION_DEADLINE_MS 10000
#define VERSION_WORDS "QEMU emulator version "
#define PROBE_WORD "kiln-probe"

int probe_open_file(const char *path, const char *setting, const char *remedy, struct child_id id,
		    struct err *e)
{
	_cleanup_fd_ int fd = -1;
	struct stat st;

	if (!*path)
		return err_field(e, "vmm", setting, "%s is not set: %s", setting, remedy);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return err_field(e, "vmm", setting, "%s %s cannot be read (%s): %s", setting, path,
				 strerror(errno), remedy);
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size == 0)
		return err_field(e, "vmm", setting, "%s %s is no file with content: %s", setting, path,
				 remedy);
	if (id.drop && !(st.st_mode & S_IROTH) && st.st_uid != id.uid)
		return err_field(e, "vmm", setting, "%s %s is not readable for the uids of builds: "
				 "chmod o+r it", setting, path);
	return take_fd(&fd);
}

int probe_vhost_open(char *why, size_t n)
{
	_cleanup_fd_ int fd = open("/dev/vhost-vsock", O_RDWR | O_CLOEXEC);
	uint64_t features;

	if (fd < 0) {
		snprintf(why, n, "/dev/vhost-vsock cannot be opened: %s", strerror(errno));
		return -1;
	}
	if (ioctl(fd, VHOST_GET_FEATURES, &features) < 0) {
		snprintf(why, n, "/dev/vhost-vsock does not answer: %s", strerror(errno));
		return -1;
	}
	return take_fd(&fd);
}

static int find_qemu(const struct supjob *job, char path[PATH_MAX], struct err *e)
{
	if (program_find(job->vmm.qemu, path, PATH_MAX, NULL) == 0)
		return 0;
	return err_field(e, "vmm", "qemu", "there is no QEMU at '%.300s': install "
			 "qemu-system-x86, or set vmm.qemu", job->vmm.qemu);
}

static int ask_version(char *qemu, struct child_id id, struct probe_verdict *v, struct err *e)
{
	char option[] = "--version", how[96];
	char *argv[] = { qemu, option, NULL };
	struct child_spec spec = { .name = "qemu", .cwd_fd = -1, .id = id, .argv = argv };
	struct program_output out;
	const char *at;

	if (program_run(&spec, VERSION_DEADLINE_MS, &out, e) < 0)
		return -1;
	at = strstr(out.text, VERSION_WORDS);
	if (out.status != 0 || !at ||
	    sscanf(at + strlen(VERSION_WORDS), "%31[0-9.]", v->version) != 1)
		return err_field(e, "vmm", "qemu", "%s --version %s and says: %.200s", qemu,
				 child_status_text(out.status, how, sizeof(how)), out.text);
	return 0;
}

/* Whether a process with this id could open /dev/kvm; *extra_gid: the group it needs. */
static bool kvm_reachable(struct child_id id, gid_t *extra_gid, char *why, size_t n)
{
	_cleanup_fd_ int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	struct stat st;

	*extra_gid = 0;
	if (fd < 0 || fstat(fd, &st) < 0) {
		snprintf(why, n, "KVM: /dev/kvm cannot be opened: %s", strerror(errno));
		return false;
	}
	if (!id.drop || (st.st_mode & 0006) == 0006)
		return true;
	if ((st.st_mode & 0060) == 0060 && st.st_gid != 0) {
		*extra_gid = st.st_gid;
		return true;
	}
	snprintf(why, n, "KVM: /dev/kvm has mode %04o, the uids of builds cannot open it: "
		 "give it a group (chgrp kvm, chmod 660)", st.st_mode & 07777u);
	return false;
}

static void judge(const struct program_output *out, struct probe_verdict *v)
{
	const char *line = out->text;
	char how[96];

	v->kvm = strstr(out->text, PROBE_WORD) && !out->timed_out && out->status == 0;
	if (v->kvm)
		snprintf(v->reason, sizeof(v->reason), "KVM: the probe guest answered");
	else if (out->timed_out)
		snprintf(v->reason, sizeof(v->reason),
			 "KVM: the probe guest did not answer within %d s", PROBE_KVM_DEADLINE_MS / 1000);
	else
		snprintf(v->reason, sizeof(v->reason), "KVM: the probe guest's QEMU %s: %.*s",
			 child_status_text(out->status, how, sizeof(how)),
			 (int)strcspn(line, "\r\n"), line);
	for (char *p = v->reason; *p; p++) /* what a console said may hold anything */
		if (*p < 0x20 || *p > 0x7e)
			*p = '?';
}

static int boot_probe(const struct supjob *job, const char *qemu, struct child_id id,
		      struct probe_verdict *v, struct err *e)
{
	_cleanup_fd_ int kernel = -1, initramfs = -1;
	struct qemu_config c = { .program = qemu, .name = PROBE_WORD, .cmdline_append = "",
				 .kvm = true, .probe = true, .vcpus = 1, .memory_mib = 128 };
	struct child_spec spec = { .name = "probe guest", .cwd_fd = -1, .id = id };
	struct program_output out;
	struct qemu_argv argv;

	kernel = probe_open_file(job->vmm.kernel, "vmm.kernel", "kiln kernel install --build", id, e);
	if (kernel < 0)
		return -1;
	initramfs = probe_open_file(job->vmm.probe_initramfs, "vmm.probe_initramfs",
				    "needed to prove that KVM works, or set vmm.accel: tcg", id, e);
	if (initramfs < 0 || qemu_argv_build(&c, &argv, e) < 0)
		return -1;
	spec.argv = argv.arg;
	spec.keep[1] = kernel;
	spec.keep[2] = initramfs;
	spec.keep[0] = -1; /* the console: program_run's own pipe */
	spec.keeps = 3;
	if (program_run(&spec, PROBE_KVM_DEADLINE_MS, &out, e) < 0)
		return -1;
	judge(&out, v);
	v->kvm_tried = true;
	return 0;
}

/* Fill accel and reason. */
static int settle_accel(const struct supjob *job, char *qemu, struct child_id id,
			struct probe_cache *cache, struct probe_verdict *v, struct vmm_facts *f,
			struct err *e)
{
	char why[200];

	if (job->vmm.accel == SUPJOB_ACCEL_TCG) {
		snprintf(f->reason, sizeof(f->reason), "vmm.accel is tcg");
		return 0;
	}
	if (!kvm_reachable(id, &id.extra_gid, why, sizeof(why))) {
		snprintf(f->reason, sizeof(f->reason), "%s", why);
	} else {
		/* An operator who insists on KVM may have mended it since. */
		if (!v->kvm_tried || (!v->kvm && job->vmm.accel == SUPJOB_ACCEL_KVM)) {
			if (boot_probe(job, qemu, id, v, e) < 0)
				return -1;
			probe_cache_store(cache, v);
		}
		f->kvm = v->kvm;
		f->kvm_gid = id.extra_gid;
		snprintf(f->reason, sizeof(f->reason), "%s", v->reason);
	}
	if (!f->kvm && job->vmm.accel == SUPJOB_ACCEL_KVM)
		return err_field(e, "vmm", "accel", "vmm.accel is kvm, but KVM does not work here: %s",
				 f->reason);
	return 0;
}

static int settle_vsock(const struct supjob *job, struct vmm_facts *f, struct err *e)
{
	_cleanup_fd_ int fd = -1;
	char why[160] = "vmm.vsock is user", path[PATH_MAX];

	if (job->vmm.vsock != SUPJOB_VSOCK_USER)
		fd = probe_vhost_open(why, sizeof(why));
	f->kernel_vsock = fd >= 0;
	if (fd >= 0)
		return 0;
	if (job->vmm.vsock == SUPJOB_VSOCK_KERNEL)
		return err_field(e, "vmm", "vsock", "vmm.vsock is kernel, but %s: modprobe vhost_vsock",
				 why);
	if (program_find(job->vmm.vhost_device_vsock, path, sizeof(path), NULL) < 0)
		return err_field(e, "vmm", "vhost_device_vsock", "no vsock for the VM: %s, and there is "
				 "no vhost-device-vsock at '%.200s': modprobe vhost_vsock, or run "
				 "scripts/vhost-device-vsock.sh and set vmm.vhost_device_vsock",
				 why, job->vmm.vhost_device_vsock);
	return 0;
}

int probe_qemu(const struct supjob *job, struct child_id id, struct vmm_facts *out, struct err *e)
{
	char qemu[PATH_MAX];
	struct probe_cache cache;
	struct probe_verdict v;
	int rc = 0;

	*out = (struct vmm_facts){ .kvm = false };
	if (find_qemu(job, qemu, e) < 0)
		return -1;
	probe_cache_open(&cache, &job->vmm, qemu, &v);
	if (!v.version[0]) {
		rc = ask_version(qemu, id, &v, e);
		if (rc == 0)
			probe_cache_store(&cache, &v);
	}
	if (rc == 0)
		rc = settle_accel(job, qemu, id, &cache, &v, out, e);
	probe_cache_close(&cache);
	memcpy(out->version, v.version, sizeof(out->version));
	if (rc == 0)
		rc = settle_vsock(job, out, e);
	return rc;
}

json_t *probe_json(const struct vmm_ops *ops, const struct vmm_facts *f, uint32_t factor)
{
	json_t *o = json_pack("{s:s, s:s, s:s, s:s, s:b, s:s}", "vmm", ops->name, "version", f->version,
			      "accel", f->kvm ? "kvm" : "tcg", "vsock",
			      f->kernel_vsock ? "vhost-vsock" : "vhost-device-vsock", "emulated", !f->kvm,
			      "reason", f->reason);

	if (o && factor)
		json_object_set_new(o, "emulation_factor", json_integer(factor));
	return o;
}
