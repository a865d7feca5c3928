/* SPDX-License-Identifier: Apache-2.0 */
/*
 * qemu_argv.c - composes QEMU's command line. Pure: opens nothing, asks nothing.
 *
 * Files come as descriptors (/dev/fdset/N, /proc/self/fd/N) or as names in the working
 * directory, so no path of the operator stands on the command line and none has to be
 * reachable for the build's uid. Nothing secret may ever stand here: argv and the kernel
 * command line are readable by everybody.
 */
#include "qemu_argv.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/*
 * Why each word: console and quiet: a panic is printed, little else, each byte costs a VM exit;
 * reboot=t panic=-1: a reboot and a panic end QEMU at once; pci=off: there is none to
 * look for; random.trust_cpu: no wait for entropy; no_timer_check, tsc=reliable: no
 * calibration against timers that emulation delays; rcu_expedited, cryptomgr.notests: a
 * faster boot.
 */
#define CMDLINE "console=ttyS0 quiet 8250.nr_uarts=1 reboot=t panic=-1 pci=off acpi=off " \
		"random.trust_cpu=on no_timer_check tsc=reliable rcupdate.rcu_expedited=1 " \
		"cryptomgr.notests"

__attribute__((format(printf, 2, 3)))
static void add(struct qemu_argv *a, const char *fmt, ...)
{
	size_t room = sizeof(a->text) - a->used;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(a->text + a->used, room, fmt, ap);
	va_end(ap);
	if (a->count + 1 >= QEMU_ARGV_MAX || n < 0 || (size_t)n >= room) {
		a->count = QEMU_ARGV_MAX; /* seen at the end of qemu_argv_build */
		return;
	}
	a->arg[a->count++] = a->text + a->used;
	a->arg[a->count] = NULL;
	a->used += (size_t)n + 1;
}

static void add_machine(struct qemu_argv *a, const struct qemu_config *c)
{
	bool shared = !c->probe && !c->kernel_vsock; /* vhost-user maps the guest's memory */
	const char *backend = shared ? ",memory-backend=m0" : "";

	add(a, "-M");
	if (c->kvm)
		add(a, "microvm,accel=kvm,acpi=off,pit=off,pic=off,rtc=off%s", backend);
	else
		add(a, "microvm,acpi=off,pit=on,pic=on,rtc=on%s", backend);
	if (!c->kvm) {
		add(a, "-accel");
		add(a, "tcg,thread=multi");
	}
	add(a, "-cpu");
	add(a, "%s", c->kvm ? "host" : "max");
	add(a, "-smp");
	add(a, "%u", c->vcpus);
	add(a, "-m");
	add(a, "%uM", c->memory_mib);
	if (shared) {
		add(a, "-object");
		add(a, "memory-backend-memfd,id=m0,size=%uM,share=on", c->memory_mib);
	}
	add(a, "-nodefaults");
	add(a, "-no-user-config");
	add(a, "-no-reboot");
	add(a, "-display");
	add(a, "none");
	add(a, "-global");
	add(a, "virtio-mmio.force-legacy=false");
}

static void add_disks(struct qemu_argv *a)
{
	add(a, "-add-fd");
	add(a, "fd=%d,set=2", QEMU_FD_IMAGE);
	add(a, "-drive");
	add(a, "if=none,id=image,format=raw,readonly=on,file=/dev/fdset/2");
	add(a, "-device");
	add(a, "virtio-blk-device,drive=image,serial=kiln-image");
	add(a, "-drive"); /* report: a full disk of the host must not freeze the VM */
	add(a, "if=none,id=scratch,format=raw,cache=unsafe,discard=unmap,werror=report,"
	       "rerror=report,file=" QEMU_SCRATCH_FILE);
	add(a, "-device");
	add(a, "virtio-blk-device,drive=scratch,serial=kiln-scratch");
}

static void add_vsock(struct qemu_argv *a, const struct qemu_config *c)
{
	if (c->kernel_vsock) {
		add(a, "-device");
		add(a, "vhost-vsock-device,guest-cid=%u,vhostfd=%d", c->guest_cid, QEMU_FD_VHOST);
		return;
	}
	add(a, "-chardev");
	add(a, "socket,id=vsock,path=" QEMU_VHOST_SOCKET);
	add(a, "-device");
	add(a, "vhost-user-vsock-device,chardev=vsock");
}

static int add_kernel(struct qemu_argv *a, const struct qemu_config *c, struct err *e)
{
	char cmdline[QEMU_CMDLINE_BYTES - QEMU_CMDLINE_SPARE];
	char port[32] = "", tsc[40] = "";
	int n;

	for (const char *p = c->cmdline_append; *p; p++)
		if (*p < 0x20 || *p > 0x7e)
			return err_field(e, "vmm", "cmdline_append",
					 "cmdline_append holds a byte that is not printable ASCII");
	if (!c->probe && c->port != 1024)
		snprintf(port, sizeof(port), " kiln.port=%u", c->port);
	if (c->tsc_khz && !c->kvm)
		snprintf(tsc, sizeof(tsc), " tsc_early_khz=%u", c->tsc_khz);
	n = snprintf(cmdline, sizeof(cmdline), "%s%s%s%s%s", CMDLINE, tsc, port,
		     *c->cmdline_append ? " " : "", c->cmdline_append);
	if (n < 0 || (size_t)n >= sizeof(cmdline))
		return err_field(e, "vmm", "cmdline_append",
				 "the kernel command line has %d bytes, at most %zu are allowed: "
				 "shorten cmdline_append", n, sizeof(cmdline) - 1);
	add(a, "-kernel");
	add(a, "/proc/self/fd/%d", QEMU_FD_KERNEL);
	add(a, "-initrd");
	add(a, "/proc/self/fd/%d", QEMU_FD_INITRAMFS);
	add(a, "-append");
	add(a, "%s", cmdline);
	return 0;
}

int qemu_argv_build(const struct qemu_config *c, struct qemu_argv *out, struct err *e)
{
	out->count = out->used = 0;
	out->arg[0] = NULL;
	add(out, "%s", c->program);
	add(out, "-name");
	add(out, "guest=%s", c->name);
	add_machine(out, c);
	if (add_kernel(out, c, e) < 0)
		return -1;
	add(out, "-add-fd");
	add(out, "fd=%d,set=1", QEMU_FD_CONSOLE);
	add(out, "-chardev");
	add(out, "file,id=console,append=on,path=/dev/fdset/1");
	add(out, "-serial");
	add(out, "chardev:console");
	add(out, "-device");
	add(out, "virtio-rng-device");
	if (!c->probe) {
		add_disks(out);
		add_vsock(out, c);
	}
	add(out, "-sandbox");
	add(out, "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
	if (out->count >= QEMU_ARGV_MAX)
		return err_set(e, "vmm", "QEMU's command line does not fit");
	return 0;
}
