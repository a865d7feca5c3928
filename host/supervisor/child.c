/* SPDX-License-Identifier: Apache-2.0 */
/*
 * child.c - fork, exec and the end of children. Owns the rules of what a child inherits;
 * knows nothing of what the children do.
 *
 * Why all die with the supervisor: each child asks for SIGKILL when its parent dies
 * (prctl(2), PR_SET_PDEATHSIG, set after the change of uid, which clears it) and then looks
 * whether the parent is still there. As root they also live in a PID namespace whose init
 * (pid_namespaces(7)) holds the read end of a pipe that only the supervisor can write: end
 * of file ends the init, and with it every process of the namespace, at whatever point of
 * its start it was.
 */
#include "child.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/close_range.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "clock.h"

#define SPARE_FD 64 /* descriptors are parked from here on while they are put in order */

enum stage { STAGE_FDS, STAGE_CWD, STAGE_NETWORK, STAGE_RLIMIT, STAGE_UID, STAGE_PARENT, STAGE_EXEC };

static const char *const stage_words[] = {
	[STAGE_FDS] = "cannot pass its descriptors",
	[STAGE_CWD] = "cannot enter its directory",
	[STAGE_NETWORK] = "cannot leave the network",
	[STAGE_RLIMIT] = "cannot set its limits",
	[STAGE_UID] = "cannot change its uid",
	[STAGE_PARENT] = "lost its parent",
	[STAGE_EXEC] = "cannot execute it",
};

struct failure {
	int stage, error;
};

/* Whether children are born in the namespace of child_namespace: a property of this process. */
static bool in_namespace;

static int arrange_fds(const struct child_spec *s, int *report_fd)
{
	int parked[3 + CHILD_KEEP_MAX + 1];
	int n = 0;

	for (int i = 0; i < 3; i++) {
		int fd = s->stdio[i] >= 0 ? s->stdio[i] : open("/dev/null", O_RDWR | O_CLOEXEC);

		parked[n++] = fcntl(fd, F_DUPFD_CLOEXEC, SPARE_FD);
	}
	for (unsigned i = 0; i < s->keeps; i++)
		parked[n++] = fcntl(s->keep[i], F_DUPFD_CLOEXEC, SPARE_FD);
	parked[n] = fcntl(*report_fd, F_DUPFD_CLOEXEC, SPARE_FD);
	for (int i = 0; i <= n; i++)
		if (parked[i] < 0)
			return -1;
	for (int i = 0; i < n; i++)
		if (dup2(parked[i], i) < 0)
			return -1;
	if (dup3(parked[n], n, O_CLOEXEC) < 0)
		return -1;
	*report_fd = n;
	return (int)syscall(SYS_close_range, n + 1, ~0u, 0);
}

static int limit(int what, uint64_t value)
{
	struct rlimit r = { value, value };

	return value ? setrlimit((__rlimit_resource_t)what, &r) : 0;
}

static int set_limits(const struct child_spec *s)
{
	struct rlimit core = { 0, 0 };

	if (setrlimit(RLIMIT_CORE, &core) < 0 || limit(RLIMIT_NOFILE, s->nofile) < 0 ||
	    limit(RLIMIT_FSIZE, s->fsize_bytes) < 0 || limit(RLIMIT_NPROC, s->nproc) < 0)
		return -1;
	return 0;
}

/* A container's root may not; then the child's own sandbox has to do. */
static int leave_network(const struct child_spec *s)
{
	if (!s->no_network || geteuid() != 0 || unshare(CLONE_NEWNET | CLONE_NEWIPC) == 0)
		return 0;
	return errno == EPERM ? 0 : -1;
}

static int become(const struct child_id *id)
{
	if (!id->drop)
		return 0;
	if (setgroups(id->extra_gid ? 1 : 0, &id->extra_gid) < 0 ||
	    setresgid(id->gid, id->gid, id->gid) < 0 || setresuid(id->uid, id->uid, id->uid) < 0)
		return -1;
	return 0;
}

static int die_with_parent(pid_t parent)
{
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		return -1;
	errno = ESRCH;
	return getppid() == (in_namespace ? 0 : parent) ? 0 : -1;
}

static void set_signal(int sig, void (*handler)(int))
{
	struct sigaction a = { .sa_handler = handler };

	sigaction(sig, &a, NULL); /* fails for the few that cannot be changed */
}

static void default_signals(bool program)
{
	sigset_t none;

	for (int sig = 1; sig < _NSIG; sig++)
		set_signal(sig, SIG_DFL);
	if (!program)
		set_signal(SIGPIPE, SIG_IGN);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/* exec_fd is a path descriptor of argv[0]; the kernel closes it on exec. */
static void execute(const struct child_spec *s, int exec_fd)
{
	static char path[] = "PATH=/usr/sbin:/usr/bin:/sbin:/bin";
	static char lang[] = "LANG=C.UTF-8";
	char *env[] = { path, lang, NULL };

	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	execve(s->argv[0], s->argv, env);
	if (errno == EACCES)
		syscall(SYS_execveat, exec_fd, "", s->argv, env, AT_EMPTY_PATH);
}

static _Noreturn void run_child(const struct child_spec *s, pid_t parent, int report_fd,
				int exec_fd)
{
	struct child_spec mine = *s;
	enum stage stage;

	default_signals(s->argv != NULL);
	stage = STAGE_CWD;
	if ((s->cwd_fd >= 0 ? fchdir(s->cwd_fd) : chdir("/")) < 0)
		goto fail;
	stage = STAGE_FDS;
	if (exec_fd >= 0) /* one more descriptor to carry over, behind the others */
		mine.keep[mine.keeps++] = exec_fd;
	if (arrange_fds(&mine, &report_fd) < 0)
		goto fail;
	if (exec_fd >= 0)
		fcntl(exec_fd = 3 + (int)s->keeps, F_SETFD, FD_CLOEXEC);
	stage = STAGE_NETWORK;
	if (leave_network(s) < 0)
		goto fail;
	stage = STAGE_RLIMIT;
	if (set_limits(s) < 0)
		goto fail;
	stage = STAGE_UID;
	if (become(&s->id) < 0)
		goto fail;
	stage = STAGE_PARENT;
	if (die_with_parent(parent) < 0)
		goto fail;
	if (s->body) {
		close(report_fd);
		_exit(s->body(s->arg));
	}
	stage = STAGE_EXEC;
	execute(s, exec_fd);
fail:;
	struct failure f = { stage, errno };
	ssize_t ignored = write(report_fd, &f, sizeof(f));

	(void)ignored;
	_exit(127);
}

/* What the child reported before its exec or body, if anything. */
static int hear(const struct child_spec *spec, int fd, struct err *e)
{
	struct failure f;
	ssize_t n;

	do
		n = read(fd, &f, sizeof(f));
	while (n < 0 && errno == EINTR);
	if (n != (ssize_t)sizeof(f))
		return 0;
	errno = f.error;
	return err_errno(e, "host", "%s: %s", spec->argv ? spec->argv[0] : spec->name,
			 stage_words[f.stage]);
}

int child_start(const struct child_spec *spec, struct child *out, struct err *e)
{
	_cleanup_fd_ int exec_fd = -1, hear_fd = -1, report_fd = -1;
	int pipe_fds[2];
	pid_t parent = getpid(), pid;

	if (spec->argv) {
		exec_fd = open(spec->argv[0], O_PATH | O_CLOEXEC);
		if (exec_fd < 0)
			return err_errno(e, "host", "cannot execute %s", spec->argv[0]);
	}
	if (pipe2(pipe_fds, O_CLOEXEC) < 0)
		return err_errno(e, "host", "cannot start %s", spec->name);
	hear_fd = pipe_fds[0];
	report_fd = pipe_fds[1];
	pid = fork();
	if (pid < 0)
		return err_errno(e, "host", "cannot start %s", spec->name);
	if (pid == 0)
		run_child(spec, parent, report_fd, exec_fd);
	close(take_fd(&report_fd));
	*out = (struct child){ spec->name, pid, (int)syscall(SYS_pidfd_open, pid, 0),
			       CHILD_NOT_EXITED };
	if (out->pidfd < 0) {
		err_errno(e, "host", "cannot watch %s", spec->name);
	} else {
		fcntl(out->pidfd, F_SETFD, FD_CLOEXEC);
		if (hear(spec, hear_fd, e) == 0)
			return 0;
	}
	child_kill(out, SIGKILL);
	child_wait(out, 10000);
	return -1;
}

void child_kill(const struct child *c, int sig)
{
	if (c->pid > 0) /* not reaped yet, so the pid is still its own */
		kill(c->pid, sig);
}

bool child_wait(struct child *c, uint64_t timeout_ms)
{
	uint64_t until = clock_mono_ms() + timeout_ms;

	if (c->pid <= 0)
		return true;
	for (;;) {
		uint64_t now = clock_mono_ms();
		struct pollfd p = { .fd = c->pidfd, .events = POLLIN };
		int n;

		if (waitpid(c->pid, &c->status, WNOHANG) == c->pid)
			break;
		if (now >= until)
			return false;
		n = poll(&p, 1, (int)(until - now));
		if (n < 0 && errno != EINTR)
			return false;
	}
	c->pid = 0;
	close(take_fd(&c->pidfd));
	return true;
}

const char *child_status_text(int status, char *buf, size_t n)
{
	if (status == CHILD_NOT_EXITED)
		snprintf(buf, n, "is still running");
	else if (WIFSIGNALED(status))
		snprintf(buf, n, "was killed by signal %d (%s)", WTERMSIG(status),
			 strsignal(WTERMSIG(status)));
	else
		snprintf(buf, n, "exited with status %d", WEXITSTATUS(status));
	return buf;
}

/* The init of the namespace: no work, no memory, no descriptor but the pipe's read end. */
static int init_body(void *arg)
{
	char byte;

	(void)arg;
	set_signal(SIGCHLD, SIG_IGN); /* orphans end here and are not kept as zombies */
	while (read(3, &byte, 1) < 0 && errno == EINTR)
		;
	return 0;
}

int child_namespace(struct child *init, struct child_id id, int *hold_fd, struct err *e)
{
	_cleanup_fd_ int hold = -1, end = -1;
	struct child_spec spec = { .name = "init", .stdio = { -1, -1, -1 }, .keeps = 1,
				   .cwd_fd = -1, .id = id, .body = init_body, .nofile = 16 };
	int fds[2];

	if (geteuid() != 0 || unshare(CLONE_NEWPID) < 0)
		return 0;
	in_namespace = true;
	if (pipe2(fds, O_CLOEXEC) < 0)
		return err_errno(e, "host", "cannot make a pipe");
	end = fds[0];
	hold = fds[1];
	spec.keep[0] = end;
	if (child_start(&spec, init, e) < 0)
		return -1;
	*hold_fd = take_fd(&hold);
	return 0;
}
