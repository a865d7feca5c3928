/* SPDX-License-Identifier: Apache-2.0 */
/*
 * main.c - kiln-agent: PID 1 of a build VM. Calls everything by name, in order, and owns
 * the only struct agent.
 *
 * The host is dialled before anything slow is done, so that HELLO is there early; root and
 * mounts are made while the answer is on its way.
 */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent.h"
#include "clock.h"
#include "cmdline.h"
#include "control.h"
#include "fatal.h"
#include "file.h"
#include "loop.h"

#define DIAL_MS 2000 /* how long the mounts wait for the first connection */

static struct agent agent;

/* The kernel opens /dev/console for PID 1 only when the initramfs has it. */
static void open_stdio(void)
{
	int fd = open("/dev/console", O_RDWR | O_NOCTTY);

	for (int i = 0; fd >= 0 && i < 3; i++)
		if (fcntl(i, F_GETFD) < 0)
			dup2(fd, i);
	if (fd > 2)
		close(fd);
}

static int open_signals(int epoll_fd)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.u64 = LOOP_KEY_SIGNAL };
	sigset_t all;
	int fd;

	/* signals that someone sends are read and dropped; program errors have handlers */
	sigfillset(&all);
	sigdelset(&all, SIGSEGV);
	sigdelset(&all, SIGBUS);
	sigdelset(&all, SIGILL);
	sigdelset(&all, SIGFPE);
	sigdelset(&all, SIGSYS);
	sigdelset(&all, SIGTRAP);
	sigdelset(&all, SIGABRT);
	sigprocmask(SIG_SETMASK, &all, NULL);
	fd = signalfd(-1, &all, SFD_NONBLOCK | SFD_CLOEXEC);
	return fd < 0 || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0 ? -1 : fd;
}

static uint32_t port_of_host(void)
{
	char text[4096];
	ssize_t n;
	int fd;

	mkdir("/proc", 0555);
	if (mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
		return WIRE_PORT;
	fd = open("/proc/cmdline", O_RDONLY | O_CLOEXEC);
	n = fd >= 0 ? read(fd, text, sizeof(text) - 1) : 0;
	text[n > 0 ? n : 0] = '\0';
	if (fd >= 0)
		close(fd);
	return cmdline_port(text, WIRE_PORT);
}

static int init(struct agent *a, struct fail *f)
{
	struct epoll_event core = { .events = EPOLLIN, .data.u64 = LOOP_KEY_CORE };

	a->now_ms = clock_mono_ms();
	a->cgroups.root_fd = a->cgroups.job_fd = -1;
	a->boot.scratch_fd = a->boot.proc_fd = a->proxy_listen_fd = -1;
	child_init(&a->worker);
	child_init(&a->proxy);
	run_init(&a->run);
	a->core_epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	a->all_epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (a->core_epoll_fd < 0 || a->all_epoll_fd < 0 ||
	    epoll_ctl(a->all_epoll_fd, EPOLL_CTL_ADD, a->core_epoll_fd, &core) < 0)
		return fail_errno(f, WIRE_CLASS_AGENT, "cannot make the event loop");
	a->signal_fd = open_signals(a->core_epoll_fd);
	if (a->signal_fd < 0)
		return fail_errno(f, WIRE_CLASS_AGENT, "cannot take signals");
	if (link_init(&a->link, a->core_epoll_fd, port_of_host(), f) < 0)
		return -1;
	link_dial(&a->link, a->now_ms);
	return journal_init(&a->journal, f) < 0 || output_init(&a->output, a->all_epoll_fd, f) < 0
		? -1 : 0;
}

/* Get HELLO out before the mounts. A connection that does not come is the loop's matter. */
static void say_hello(struct agent *a)
{
	struct pollfd p = { .fd = a->link.fd, .events = POLLOUT };

	if (p.fd < 0 || poll(&p, 1, DIAL_MS) != 1)
		return;
	link_on_event(&a->link, EPOLLOUT, journal_first_seq(&a->journal), a->now_ms);
	link_flush(&a->link, &a->journal, a->now_ms);
}

int main(void)
{
	struct agent *a = &agent;
	struct fail f;

	open_stdio();
	fatal_init();
	if (getpid() != 1) {
		fatal_say("this is the init of a kiln guest, not a command");
		return 2;
	}
	reboot(RB_DISABLE_CAD);
	prctl(PR_SET_DUMPABLE, 0);
	setpriority(PRIO_PROCESS, 0, -20); /* a thousand processes of a build must not delay it */
	if (init(a, &f) < 0)
		fatal_die("%s", f.text);
	say_hello(a);
	if (boot_root(&a->boot, &a->boot_fail) < 0) {
		a->boot_failed = 1;
		fatal_say("%s", a->boot_fail.text);
	}
	loop_run(a);
	fatal_reboot();
}
