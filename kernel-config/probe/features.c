/* SPDX-License-Identifier: Apache-2.0 */
/*
 * features.c - an init that tries what the kernel configuration promises.
 *
 * One line per feature on the console, "ok NAME" or "not ok NAME: reason", then
 * "end of checks" and a reboot. It uses each feature the way a build would; that an
 * option is set in the configuration proves less. It expects two disks, one with erofs
 * and one with ext4 on it, in any order. Nothing here is part of a running kiln.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/bpf.h>
#include <linux/filter.h>
#include <linux/io_uring.h>
#include <linux/kcmp.h>
#include <linux/landlock.h>
#include <linux/loop.h>
#include <linux/seccomp.h>
#include <linux/vm_sockets.h>
#include <mqueue.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/fanotify.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/reboot.h>
#include <sys/signalfd.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

/* A check returns 0 or more when the feature works, -1 with errno when not. */
struct check {
	const char *name;
	int (*run)(void);
};

static int file_has(const char *path, const char *word)
{
	static char text[65536];
	ssize_t n;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -1;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n < 0)
		return -1;
	text[n] = '\0';
	errno = ENOENT;
	return strstr(text, word) ? 0 : -1;
}

static int write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	int rc;

	if (fd < 0)
		return -1;
	rc = write(fd, text, strlen(text)) == (ssize_t)strlen(text) ? 0 : -1;
	close(fd);
	return rc;
}

/* Runs fn in a child; 0 when it returned 0, else -1 with the child's errno. */
static int in_child(int (*fn)(void))
{
	int status;
	pid_t pid = fork();

	if (pid < 0)
		return -1;
	if (pid == 0)
		_exit(fn() < 0 ? errno : 0);
	if (waitpid(pid, &status, 0) < 0)
		return -1;
	errno = WIFEXITED(status) ? WEXITSTATUS(status) : EINTR;
	return errno ? -1 : 0;
}

static int try_mount(const char *fs, const char *at, const char *options)
{
	mkdir(at, 0755);
	return mount(fs, at, fs, 0, options);
}

static int mount_disk(const char *fs, const char *at, unsigned long flags)
{
	mkdir(at, 0755);
	if (mount("/dev/vda", at, fs, flags, NULL) == 0)
		return 0;
	return mount("/dev/vdb", at, fs, flags, NULL);
}

static int check_proc(void) { return try_mount("proc", "/proc", NULL); }
static int check_sysfs(void) { return try_mount("sysfs", "/sys", NULL); }
static int check_devtmpfs(void) { return try_mount("devtmpfs", "/dev", NULL); }
static int check_devpts(void)
{
	return try_mount("devpts", "/dev/pts", "gid=5,mode=620,ptmxmode=666");
}
static int check_mqueue(void) { return try_mount("mqueue", "/dev/mqueue", NULL); }
static int check_cgroup2(void)
{
	return mount("cgroup2", "/sys/fs/cgroup", "cgroup2", 0,
		     "nsdelegate,memory_recursiveprot");
}
static int check_bpffs(void) { return mount("bpf", "/sys/fs/bpf", "bpf", 0, NULL); }
static int check_securityfs(void)
{
	return mount("securityfs", "/sys/kernel/security", "securityfs", 0, NULL);
}
static int check_binfmt(void)
{
	return mount("binfmt_misc", "/proc/sys/fs/binfmt_misc", "binfmt_misc", 0, NULL);
}
static int check_tmpfs(void) { return try_mount("tmpfs", "/tmp", "mode=1777"); }

static int check_tmpfs_xattr(void)
{
	if (write_file("/tmp/x", "x") < 0)
		return -1;
	return setxattr("/tmp/x", "trusted.kiln", "1", 1, 0);
}

static int check_tmpfs_acl(void)
{
	static const unsigned char acl[] = { /* version 2; user:: user:7:r group:: mask other */
		2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 2, 0, 4, 0, 7, 0, 0, 0,
		4, 0, 4, 0, 255, 255, 255, 255, 16, 0, 4, 0, 255, 255, 255, 255,
		32, 0, 4, 0, 255, 255, 255, 255 };

	return setxattr("/tmp/x", "system.posix_acl_access", acl, sizeof(acl), 0);
}

static int check_erofs(void) { return mount_disk("erofs", "/image", MS_RDONLY); }
static int check_erofs_read(void) { return file_has("/image/greeting", "hello from erofs"); }
static int check_ext4(void) { return mount_disk("ext4", "/scratch", 0); }

static int check_overlay(void)
{
	mkdir("/scratch/upper", 0755);
	mkdir("/scratch/work", 0755);
	mkdir("/root", 0755);
	if (mount("overlay", "/root", "overlay", 0,
		  "lowerdir=/image,upperdir=/scratch/upper,workdir=/scratch/work") < 0)
		return -1;
	if (write_file("/root/greeting", "HELLO") < 0)
		return -1;
	return file_has("/scratch/upper/greeting", "HELLO from erofs");
}

static int check_squashfs(void) { return file_has("/proc/filesystems", "squashfs"); }
static int check_vfat(void) { return file_has("/proc/filesystems", "vfat"); }
static int check_fuse(void) { return open("/dev/fuse", O_RDWR | O_CLOEXEC); }
static int check_tun(void) { return open("/dev/net/tun", O_RDWR | O_CLOEXEC); }
static int check_hwrng(void) { return file_has("/sys/class/misc/hw_random/rng_current", "virtio"); }
static int check_ikconfig(void) { return access("/proc/config.gz", R_OK); }
static int check_pressure(void) { return access("/proc/pressure/memory", R_OK); }
static int check_sysrq(void) { return access("/proc/sysrq-trigger", W_OK); }

static int check_vsock(void)
{
	unsigned int cid = 0;
	int fd = open("/dev/vsock", O_RDWR | O_CLOEXEC);

	if (fd < 0 || ioctl(fd, IOCTL_VM_SOCKETS_GET_LOCAL_CID, &cid) < 0)
		return -1;
	errno = ENODEV;
	return cid >= 3 && cid != VMADDR_CID_ANY ? 0 : -1;
}

static int check_inet6(void) { return socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0); }
static int check_netfilter(void) { return socket(AF_NETLINK, SOCK_RAW, 12); }

static int check_loop(void)
{
	int fd = open("/dev/loop-control", O_RDWR | O_CLOEXEC);

	return fd < 0 ? -1 : ioctl(fd, LOOP_CTL_GET_FREE);
}

static int check_controllers(void)
{
	static const char *const names[] = { "cpuset", "cpu", "io", "memory", "pids" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (file_has("/sys/fs/cgroup/cgroup.controllers", names[i]) < 0)
			return -1;
	return write_file("/sys/fs/cgroup/cgroup.subtree_control",
			  "+cpuset +cpu +io +memory +pids");
}

static int check_cgroup_limits(void)
{
	if (mkdir("/sys/fs/cgroup/job", 0755) < 0 ||
	    write_file("/sys/fs/cgroup/job/memory.max", "64M") < 0 ||
	    write_file("/sys/fs/cgroup/job/pids.max", "100") < 0)
		return -1;
	return access("/sys/fs/cgroup/job/cgroup.kill", W_OK);
}

static int unshare_all(void)
{
	return unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC |
		       CLONE_NEWUTS | CLONE_NEWCGROUP | CLONE_NEWTIME);
}

static int unshare_as_user(void)
{
	if (setresgid(1000, 1000, 1000) < 0 || setresuid(1000, 1000, 1000) < 0)
		return -1;
	return unshare_all();
}

static int check_namespaces(void) { return in_child(unshare_all); }
static int check_user_namespaces(void) { return in_child(unshare_as_user); }

static int install_filter(void)
{
	struct sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	struct sock_fprog program = { .len = 1, .filter = &allow };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -1;
	return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program);
}

static int check_seccomp(void) { return in_child(install_filter); }

static int check_landlock(void)
{
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0,
			   LANDLOCK_CREATE_RULESET_VERSION);

	errno = abi < 0 ? errno : EPROTO;
	return abi >= 2 ? 0 : -1;
}

static int check_lsm_list(void) { return file_has("/sys/kernel/security/lsm", "landlock"); }
static int check_bpf_jit(void) { return file_has("/proc/sys/net/core/bpf_jit_enable", "1"); }

static int check_bpf(void)
{
	union bpf_attr attr = { .map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 4,
				.max_entries = 1 };

	return (int)syscall(SYS_bpf, BPF_MAP_CREATE, &attr, sizeof(attr));
}

static int check_io_uring(void)
{
	struct io_uring_params params = { 0 };

	return (int)syscall(SYS_io_uring_setup, 4, &params);
}

static int check_aio(void)
{
	unsigned long context = 0;

	return (int)syscall(SYS_io_setup, 1, &context);
}

static int check_userfaultfd(void) { return (int)syscall(SYS_userfaultfd, O_CLOEXEC); }
static int check_memfd(void) { return memfd_create("kiln", MFD_CLOEXEC | MFD_ALLOW_SEALING); }
static int check_epoll(void) { return epoll_create1(EPOLL_CLOEXEC); }
static int check_eventfd(void) { return eventfd(0, EFD_CLOEXEC); }
static int check_timerfd(void) { return timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC); }
static int check_inotify(void) { return inotify_init1(IN_CLOEXEC); }
static int check_fanotify(void) { return fanotify_init(FAN_CLASS_CONTENT, O_RDONLY); }
static int check_shm(void) { return shmget(IPC_PRIVATE, 4096, IPC_CREAT | 0600); }
static int check_pidfd(void) { return (int)syscall(SYS_pidfd_open, getpid(), 0); }

static int check_signalfd(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	return signalfd(-1, &set, SFD_CLOEXEC);
}

static int check_mq(void)
{
	return (int)mq_open("/kiln", O_CREAT | O_RDWR, 0600, NULL);
}

static int check_kcmp(void)
{
	return (int)syscall(SYS_kcmp, getpid(), getpid(), KCMP_FILE, 1, 1);
}

/* A machine-wide limit below this would fail parallel builds. */
static int check_pid_max(void)
{
	errno = ERANGE;
	return file_has("/proc/sys/kernel/pid_max", "32768");
}

static int check_random(void)
{
	char bytes[16];

	return syscall(SYS_getrandom, bytes, sizeof(bytes), 1 /* GRND_NONBLOCK */) == 16 ? 0 : -1;
}

static int check_clock(void)
{
	struct timespec resolution;

	if (clock_getres(CLOCK_MONOTONIC, &resolution) < 0)
		return -1;
	errno = ERANGE;
	return resolution.tv_nsec == 1 ? 0 : -1;
}

static int check_cpus(void)
{
	errno = ENODEV;
	return sysconf(_SC_NPROCESSORS_ONLN) == 2 ? 0 : -1;
}

static int check_release(void)
{
	struct utsname u;

	if (uname(&u) < 0)
		return -1;
	errno = EPROTO;
	return strstr(u.release, "-kiln") ? 0 : -1;
}

static const struct check checks[] = {
	{ "proc", check_proc },
	{ "sysfs", check_sysfs },
	{ "devtmpfs", check_devtmpfs },
	{ "devpts", check_devpts },
	{ "mqueue file system", check_mqueue },
	{ "tmpfs", check_tmpfs },
	{ "tmpfs xattr", check_tmpfs_xattr },
	{ "tmpfs acl", check_tmpfs_acl },
	{ "cgroup2", check_cgroup2 },
	{ "cgroup2 controllers", check_controllers },
	{ "cgroup2 limits", check_cgroup_limits },
	{ "bpf file system", check_bpffs },
	{ "securityfs", check_securityfs },
	{ "binfmt_misc", check_binfmt },
	{ "erofs disk", check_erofs },
	{ "erofs read", check_erofs_read },
	{ "ext4 disk", check_ext4 },
	{ "overlay of ext4 on erofs", check_overlay },
	{ "squashfs", check_squashfs },
	{ "vfat", check_vfat },
	{ "fuse", check_fuse },
	{ "tun", check_tun },
	{ "loop", check_loop },
	{ "virtio rng", check_hwrng },
	{ "config.gz", check_ikconfig },
	{ "pressure", check_pressure },
	{ "sysrq", check_sysrq },
	{ "vsock device", check_vsock },
	{ "ipv6 socket", check_inet6 },
	{ "netfilter netlink", check_netfilter },
	{ "namespaces", check_namespaces },
	{ "namespaces without root", check_user_namespaces },
	{ "seccomp filter", check_seccomp },
	{ "landlock", check_landlock },
	{ "landlock in the LSM list", check_lsm_list },
	{ "bpf map", check_bpf },
	{ "bpf jit", check_bpf_jit },
	{ "io_uring", check_io_uring },
	{ "aio", check_aio },
	{ "userfaultfd", check_userfaultfd },
	{ "memfd", check_memfd },
	{ "epoll", check_epoll },
	{ "eventfd", check_eventfd },
	{ "timerfd", check_timerfd },
	{ "signalfd", check_signalfd },
	{ "inotify", check_inotify },
	{ "fanotify", check_fanotify },
	{ "System V shared memory", check_shm },
	{ "message queue", check_mq },
	{ "pidfd", check_pidfd },
	{ "kcmp", check_kcmp },
	{ "32768 processes", check_pid_max },
	{ "getrandom without waiting", check_random },
	{ "high resolution timers", check_clock },
	{ "two CPUs", check_cpus },
	{ "kernel release", check_release },
};

int main(void)
{
	for (size_t i = 0; i < sizeof(checks) / sizeof(checks[0]); i++) {
		if (checks[i].run() >= 0)
			printf("ok %s\n", checks[i].name);
		else
			printf("not ok %s: %s\n", checks[i].name, strerror(errno));
	}
	printf("end of checks\n");
	fflush(stdout);
	return reboot(RB_AUTOBOOT);
}
