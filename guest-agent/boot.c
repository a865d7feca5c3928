/* SPDX-License-Identifier: Apache-2.0 */
/*
 * boot.c - mounts. Owns the mount table of the guest and the order in which the root is put
 * together; touches nothing of the link or the job. mount(2), pivot_root(2) NOTES,
 * Documentation/filesystems/{overlayfs,ramfs-rootfs-initramfs}.rst of the kernel.
 *
 *	/        initramfs, later hidden
 *	/image   the image's disk, read-only
 *	/scratch the scratch disk: upper and work (overlay), tmp, workspace
 *	/new     overlay of both; becomes / by MS_MOVE and chroot, since pivot_root refuses the
 *	         initramfs
 */
#include "boot.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "disk.h"
#include "wire_msg.h"

struct mount_row {
	const char *type, *at, *options;
	unsigned long flags;
	mode_t mode; /* of the mount point, when it must be made */
	int needed;  /* a build makes no sense without it */
};

static const struct mount_row mount_table[] = {
	{ "proc", "/proc", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC, 0555, 1 },
	{ "sysfs", "/sys", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC, 0555, 1 },
	{ "cgroup2", "/sys/fs/cgroup", "nsdelegate,memory_recursiveprot",
	  MS_NOSUID | MS_NODEV | MS_NOEXEC, 0555, 1 },
	{ "devpts", "/dev/pts", "gid=5,mode=620,ptmxmode=666", MS_NOSUID | MS_NOEXEC, 0755, 0 },
	{ "tmpfs", "/dev/shm", "mode=1777", MS_NOSUID | MS_NODEV, 01777, 0 },
	{ "mqueue", "/dev/mqueue", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC, 01777, 0 },
	{ "tmpfs", "/run", "mode=0755", MS_NOSUID | MS_NODEV, 0755, 1 },
};

#define MOUNT_ROWS (sizeof(mount_table) / sizeof(mount_table[0]))

static const struct {
	const char *target, *link;
} dev_links[] = {
	{ "/proc/self/fd", "/dev/fd" },
	{ "/proc/self/fd/0", "/dev/stdin" },
	{ "/proc/self/fd/1", "/dev/stdout" },
	{ "/proc/self/fd/2", "/dev/stderr" },
};

static const struct {
	const char *path, *value;
} sysctls[] = {
	{ "/proc/sys/net/ipv4/ping_group_range", "0 2147483647" },
	{ "/proc/sys/fs/inotify/max_user_instances", "1024" },
	{ "/proc/sys/fs/inotify/max_user_watches", "524288" },
	{ "/proc/sys/kernel/ctrl-alt-del", "0" },
};

static int mount_row(const struct mount_row *m, struct fail *f)
{
	mkdir(m->at, m->mode);
	if (mount(m->type, m->at, m->type, m->flags, m->options) == 0 || !m->needed)
		return 0;
	return fail_errno(f, WIRE_CLASS_AGENT, "cannot mount %s on %s", m->type, m->at);
}

static int mount_scratch(const struct disk *d, struct fail *f)
{
	/* the disk is thrown away after the build: nothing need survive a crash */
	if (mount(d->path, "/scratch", "ext4", MS_NOATIME,
		  "nobarrier,noauto_da_alloc,noinit_itable") < 0)
		return fail_errno(f, WIRE_CLASS_AGENT, "cannot mount the scratch disk %s", d->path);
	mkdir("/scratch/upper", 0755);
	mkdir("/scratch/work", 0755);
	if (mkdir("/scratch/tmp", 01777) < 0 || chmod("/scratch/tmp", 01777) < 0)
		return fail_errno(f, WIRE_CLASS_AGENT, "cannot write to the scratch disk");
	return 0;
}

static int mount_disks(struct fail *f)
{
	struct disk image, scratch;

	disk_find(&image, &scratch);
	if (!image.path[0])
		return fail_set(f, WIRE_CLASS_AGENT, "the VM has no image: none of its disks holds "
				"erofs, squashfs or ext4");
	if (!scratch.path[0])
		return fail_set(f, WIRE_CLASS_AGENT, "the VM has no scratch disk: no ext4 disk is "
				"labelled " DISK_SCRATCH_LABEL);
	mkdir("/image", 0755);
	mkdir("/scratch", 0755);
	mkdir("/new", 0755);
	if (mount(image.path, "/image", disk_fstype(image.kind), MS_RDONLY, NULL) < 0)
		return fail_errno(f, WIRE_CLASS_AGENT, "cannot mount the image %s (%s)", image.path,
				  disk_fstype(image.kind));
	if (mount_scratch(&scratch, f) < 0)
		return -1;
	if (mount("overlay", "/new", "overlay", MS_NOATIME,
		  "lowerdir=/image,upperdir=/scratch/upper,workdir=/scratch/work,volatile") < 0)
		return fail_errno(f, WIRE_CLASS_AGENT, "cannot lay the scratch disk over the image");
	return 0;
}

static int enter_new_root(struct fail *f)
{
	mkdir("/new/dev", 0755);
	if (mount("/dev", "/new/dev", NULL, MS_MOVE, NULL) < 0 || chdir("/new") < 0 ||
	    mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0 || chdir("/") < 0)
		return fail_errno(f, WIRE_CLASS_AGENT, "cannot enter the root of the build");
	return 0;
}

/* lo gets 127.0.0.1 and ::1 from the kernel when it goes up. netdevice(7) */
static void lo_up(void)
{
	struct ifreq req;
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return;
	memset(&req, 0, sizeof(req));
	memcpy(req.ifr_name, "lo", 3);
	req.ifr_flags = IFF_UP | IFF_RUNNING;
	ioctl(fd, SIOCSIFFLAGS, &req);
	close(fd);
}

static void set_sysctls(void)
{
	for (size_t i = 0; i < sizeof(sysctls) / sizeof(sysctls[0]); i++) {
		int fd = open(sysctls[i].path, O_WRONLY | O_CLOEXEC);

		if (fd < 0)
			continue; /* a kernel without the feature has nothing to tune */
		if (write(fd, sysctls[i].value, strlen(sysctls[i].value)) < 0)
			errno = 0;
		close(fd);
	}
}

static int mount_rest(struct boot *b, struct fail *f)
{
	for (size_t i = 0; i < MOUNT_ROWS; i++)
		if (mount_row(&mount_table[i], f) < 0)
			return -1;
	for (size_t i = 0; i < sizeof(dev_links) / sizeof(dev_links[0]); i++)
		if (symlink(dev_links[i].target, dev_links[i].link) < 0 && errno != EEXIST)
			return fail_errno(f, WIRE_CLASS_AGENT, "cannot make %s", dev_links[i].link);
	mkdir("/run/kiln", 0755);
	mkdir("/run/lock", 01777);
	chmod("/run/lock", 01777);
	b->proc_fd = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	return boot_bind_scratch(b, "tmp", "/tmp", f);
}

int boot_root(struct boot *b, struct fail *f)
{
	struct rlimit files = { 65536, 1048576 };
	struct statfs st;

	b->scratch_fd = b->proc_fd = -1;
	b->scratch_bytes = 0;
	umask(0);
	lo_up();
	setrlimit(RLIMIT_NOFILE, &files);
	mkdir("/dev", 0755);
	if (mount("devtmpfs", "/dev", "devtmpfs", MS_NOSUID, "mode=0755") < 0)
		return fail_errno(f, WIRE_CLASS_AGENT, "cannot mount /dev");
	if (mount_disks(f) < 0)
		return -1;
	b->scratch_fd = open("/scratch", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (b->scratch_fd < 0 || fstatfs(b->scratch_fd, &st) < 0)
		return fail_errno(f, WIRE_CLASS_AGENT, "cannot open the scratch disk");
	b->scratch_bytes = (uint64_t)st.f_blocks * (uint64_t)st.f_bsize;
	if (enter_new_root(f) < 0 || mount_rest(b, f) < 0)
		return -1;
	set_sysctls();
	umask(022);
	return 0;
}

int boot_bind_scratch(const struct boot *b, const char *name, const char *path, struct fail *f)
{
	char from[64];
	int fd = openat(b->scratch_fd, name, O_PATH | O_DIRECTORY | O_CLOEXEC);
	int rc;

	if (fd < 0)
		return fail_errno(f, WIRE_CLASS_AGENT, "cannot open %s of the scratch disk", name);
	snprintf(from, sizeof(from), "/proc/self/fd/%d", fd);
	mkdir(path, 0755);
	rc = mount(from, path, NULL, MS_BIND, NULL);
	if (rc < 0)
		rc = fail_errno(f, WIRE_CLASS_AGENT, "cannot mount %s on %s", name, path);
	close(fd);
	return rc;
}
