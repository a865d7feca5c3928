/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lockdown.c - Landlock and seccomp for conduit, artifact process and dialer.
 *
 * Owns nothing. Order: no_new_privs, Landlock (which needs open), seccomp last. The tables
 * below are the policy; a call that is in no table fails with EPERM, one in `never` kills.
 */
#include "lockdown.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <seccomp.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

/* Newer than the headers of Debian 12; see landlock(7). */
#define FS_TRUNCATE    (1ULL << 14) /* ABI 3 */
#define FS_IOCTL_DEV   (1ULL << 15) /* ABI 5 */
#define NET_ALL        3ULL         /* ABI 4: bind and connect TCP */
#define FS_ABI1        ((1ULL << 13) - 1)
#define FS_MAKE_FILES  (LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_WRITE_FILE | \
			LANDLOCK_ACCESS_FS_REMOVE_FILE)

#define HEAP_BYTES_MAX (128ull * 1024 * 1024) /* far above what any role needs; a bomb ends here */

struct ruleset_attr { /* the kernel takes as much of it as its ABI knows */
	uint64_t fs, net;
};

/* What every role needs: its open descriptors, memory, time, an end. */
static const int calls_all[] = {
	SCMP_SYS(read), SCMP_SYS(readv), SCMP_SYS(write), SCMP_SYS(writev), SCMP_SYS(pread64),
	SCMP_SYS(recvfrom), SCMP_SYS(recvmsg), SCMP_SYS(sendto), SCMP_SYS(sendmsg),
	SCMP_SYS(close), SCMP_SYS(shutdown), SCMP_SYS(poll), SCMP_SYS(ppoll),
	SCMP_SYS(clock_gettime), SCMP_SYS(clock_nanosleep), SCMP_SYS(gettimeofday),
	SCMP_SYS(getrandom), SCMP_SYS(brk), SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(madvise),
	SCMP_SYS(futex), SCMP_SYS(rt_sigreturn), SCMP_SYS(rt_sigprocmask), SCMP_SYS(restart_syscall),
	SCMP_SYS(exit), SCMP_SYS(exit_group), SCMP_SYS(getpid), SCMP_SYS(gettid),
	SCMP_SYS(sched_yield), SCMP_SYS(lseek), SCMP_SYS(fstat), SCMP_SYS(set_robust_list),
	SCMP_SYS(rseq),
};
static const int calls_conduit[] = {
	SCMP_SYS(epoll_wait), SCMP_SYS(epoll_pwait), SCMP_SYS(epoll_ctl), SCMP_SYS(accept4),
	SCMP_SYS(fdatasync),
};
static const int calls_artifact[] = {
	SCMP_SYS(pwrite64), SCMP_SYS(ftruncate), SCMP_SYS(fdatasync), SCMP_SYS(fsync),
};
static const int calls_dialer[] = {
	SCMP_SYS(connect), SCMP_SYS(getsockopt), SCMP_SYS(setsockopt), SCMP_SYS(getsockname),
	SCMP_SYS(getpeername), SCMP_SYS(bind),
};

/* No honest code in these processes calls them: whoever does has taken the process over. */
static const int never[] = {
	SCMP_SYS(execve), SCMP_SYS(execveat), SCMP_SYS(fork), SCMP_SYS(vfork), SCMP_SYS(ptrace),
	SCMP_SYS(process_vm_readv), SCMP_SYS(process_vm_writev), SCMP_SYS(bpf), SCMP_SYS(keyctl),
	SCMP_SYS(mount), SCMP_SYS(umount2), SCMP_SYS(pivot_root), SCMP_SYS(chroot),
	SCMP_SYS(unshare), SCMP_SYS(setns), SCMP_SYS(io_uring_setup), SCMP_SYS(userfaultfd),
	SCMP_SYS(perf_event_open), SCMP_SYS(kexec_load), SCMP_SYS(init_module),
	SCMP_SYS(finit_module), SCMP_SYS(listen), SCMP_SYS(socketpair), SCMP_SYS(setuid),
	SCMP_SYS(setresuid), SCMP_SYS(memfd_create), SCMP_SYS(open_by_handle_at),
	SCMP_SYS(pidfd_getfd),
};

static long create_ruleset(const struct ruleset_attr *attr, size_t n, uint32_t flags)
{
	return syscall(SYS_landlock_create_ruleset, attr, n, flags);
}

static int allow_below(int ruleset, int dir_fd, uint64_t access, struct err *e)
{
	struct landlock_path_beneath_attr rule = { .allowed_access = access, .parent_fd = dir_fd };

	if (syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0)
		return err_errno(e, "internal", "landlock_add_rule");
	return 0;
}

/* Returns the ABI that is in force, 0 for none, -1. */
static int landlock(enum lockdown_role role, int dir_fd, struct err *e)
{
	long abi = create_ruleset(NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	struct ruleset_attr attr = { .fs = FS_ABI1 };
	int fd, rc;

	if (abi < 1)
		return 0;
	if (abi >= 2)
		attr.fs |= LANDLOCK_ACCESS_FS_REFER;
	if (abi >= 3)
		attr.fs |= FS_TRUNCATE;
	if (abi >= 4 && role != LOCKDOWN_DIALER)
		attr.net = NET_ALL;
	if (abi >= 5)
		attr.fs |= FS_IOCTL_DEV;
	fd = (int)create_ruleset(&attr, abi >= 4 ? sizeof(attr) : sizeof(attr.fs), 0);
	if (fd < 0)
		return err_errno(e, "internal", "landlock_create_ruleset");
	rc = role != LOCKDOWN_ARTIFACT ? 0 :
	     allow_below(fd, dir_fd, FS_MAKE_FILES | (abi >= 3 ? FS_TRUNCATE : 0), e);
	if (rc == 0 && syscall(SYS_landlock_restrict_self, fd, 0) < 0)
		rc = err_errno(e, "internal", "landlock_restrict_self");
	close(fd);
	return rc < 0 ? -1 : (int)abi;
}

static int add_all(scmp_filter_ctx f, uint32_t action, const int *calls, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (seccomp_rule_add(f, action, calls[i], 0) < 0)
			return -1;
	return 0;
}

#define ADD(f, action, table) add_all(f, action, table, sizeof(table) / sizeof((table)[0]))

/* Memory yes, code no. */
static int add_memory(scmp_filter_ctx f)
{
	const struct scmp_arg_cmp no_exec = SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0);

	if (seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1, no_exec) < 0)
		return -1;
	return seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1, no_exec);
}

/* New files only: these flags refuse one that exists, and links. Landlock says below what. */
static int add_artifact(scmp_filter_ctx f)
{
	const uint64_t flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;

	if (ADD(f, SCMP_ACT_ALLOW, calls_artifact) < 0 ||
	    seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(openat), 1,
			     SCMP_A2(SCMP_CMP_EQ, flags)) < 0 ||
	    seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(unlinkat), 1, SCMP_A2(SCMP_CMP_EQ, 0)) < 0)
		return -1;
	if (seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(renameat), 0) < 0)
		return -1;
	return seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(renameat2), 0);
}

static int add_sockets(scmp_filter_ctx f, enum lockdown_role role)
{
	static const int families[] = { AF_INET, AF_INET6 };

	if (role != LOCKDOWN_DIALER) {
		static const int sockets[] = { SCMP_SYS(socket), SCMP_SYS(connect), SCMP_SYS(bind) };

		return ADD(f, SCMP_ACT_KILL_PROCESS, sockets);
	}
	for (int i = 0; i < 2; i++)
		if (seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(socket), 1,
				     SCMP_A0(SCMP_CMP_EQ, (uint64_t)families[i])) < 0)
			return -1;
	return ADD(f, SCMP_ACT_ALLOW, calls_dialer);
}

static int add_role(scmp_filter_ctx f, enum lockdown_role role)
{
	/* SO_LINGER and TCP_NODELAY: options of sockets that are there already */
	static const int options[] = { SCMP_SYS(setsockopt) };

	if (ADD(f, SCMP_ACT_ALLOW, calls_all) < 0 || ADD(f, SCMP_ACT_KILL_PROCESS, never) < 0)
		return -1;
	/* stdio and fcntl(F_GETFL/F_SETFL) of the resolver, glibc's fstat */
	if (seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(fcntl), 0) < 0 ||
	    seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(newfstatat), 1,
			     SCMP_A3(SCMP_CMP_EQ, AT_EMPTY_PATH)) < 0)
		return -1;
	if (add_memory(f) < 0 || add_sockets(f, role) < 0)
		return -1;
	switch (role) {
	case LOCKDOWN_CONDUIT:
		return ADD(f, SCMP_ACT_ALLOW, calls_conduit) < 0 ? -1
								 : ADD(f, SCMP_ACT_ALLOW, options);
	case LOCKDOWN_ARTIFACT:
		return add_artifact(f);
	default:
		return 0;
	}
}

static int filter(enum lockdown_role role, struct err *e)
{
	scmp_filter_ctx f = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	int rc;

	if (!f)
		return err_set(e, "internal", "no memory for a seccomp filter");
	if (add_role(f, role) < 0) {
		seccomp_release(f);
		return err_set(e, "internal", "libseccomp refuses the filter of role %d", role);
	}
	rc = seccomp_load(f);
	seccomp_release(f);
	if (rc < 0) {
		errno = -rc;
		return err_errno(e, "internal", "cannot load the seccomp filter");
	}
	return 0;
}

int lockdown_enter(enum lockdown_role role, int dir_fd, struct lockdown_facts *facts,
		   struct err *e)
{
	const struct rlimit none = { 0, 0 }, heap = { HEAP_BYTES_MAX, HEAP_BYTES_MAX };
	int abi;

	if (!SANITIZED && setrlimit(RLIMIT_DATA, &heap) < 0)
		return err_errno(e, "internal", "cannot limit the heap");
	if (setrlimit(RLIMIT_CORE, &none) < 0 || prctl(PR_SET_DUMPABLE, 0) < 0)
		return err_errno(e, "internal", "cannot forbid core dumps");
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return err_errno(e, "internal", "no_new_privs");
	abi = landlock(role, dir_fd, e);
	if (abi < 0)
		return -1;
	if (!SANITIZED && filter(role, e) < 0)
		return -1;
	facts->landlock_abi = abi;
	facts->seccomp = !SANITIZED;
	snprintf(facts->words, sizeof(facts->words), "%s, %s",
		 abi ? "locked down with Landlock" : "the kernel has no Landlock: seccomp alone holds",
		 SANITIZED ? "no seccomp in a build with sanitizers" : "seccomp");
	return 0;
}
