/* SPDX-License-Identifier: Apache-2.0 */
/*
 * procs.c - starts the processes of a build in their order and ends them. What their messages
 * and their deaths mean is control.c's.
 *
 * Order: the namespace's init; the probe (it settles the deadlines' factor); console; the
 * listener and the disks; dialer and conduit, the only ones that see the document's rules and
 * secrets; vhost-device-vsock. The VMM follows when the conduit has said that it listens.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cleanup.h"
#include "clock.h"
#include "conduit.h"
#include "console.h"
#include "control_int.h"
#include "dialer.h"
#include "probe.h"

#define CONDUIT_NOFILE 1024
#define DIALER_NOFILE  1024
#define GENTLE_END_MS  2000  /* for processes that end by themselves once their pipe is closed */
#define KILL_END_MS    10000 /* for those that got SIGKILL */

void procs_line(struct control *c, const char *fmt, ...)
{
	struct link_msg m = { .kind = LINK_LINE };
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(m.text, sizeof(m.text), fmt, ap);
	va_end(ap);
	if (c->link_fd >= 0)
		linkio_send(c->link_fd, &m, NULL);
}

void procs_event(struct control *c, json_t *members)
{
	struct link_msg m = { .kind = LINK_EVENT };
	_cleanup_free_ char *text = members ? json_dumps(members, JSON_COMPACT) : NULL;

	if (text && c->link_fd >= 0 && strlen(text) < sizeof(m.text)) {
		memcpy(m.text, text, strlen(text));
		linkio_send(c->link_fd, &m, NULL);
	}
	json_decref(members);
}

/* The bodies: descriptors are 3, 4, … as procs_start passes them. */
static int dialer_body(void *arg)
{
	struct supjob *job = arg;

	supjob_wipe(job);
	return dialer_run(job, 3);
}

static int conduit_body(void *arg)
{
	struct supjob *job = arg;

	if (job->source_fd >= 0)
		job->source_fd = 7;
	return conduit_run(job, 3, 4, 5, 6);
}

static int console_child(void *arg)
{
	struct supjob *job = arg;
	struct console_args args = { job->limits.console_bytes };

	supjob_wipe(job);
	return console_body(&args);
}

static int start_console(struct control *c, struct err *e)
{
	_cleanup_fd_ int in = -1, out = -1;
	int fds[2];

	if (pipe2(fds, O_CLOEXEC) < 0)
		return err_errno(e, "host", "cannot make the console's pipe");
	in = fds[0];
	c->console_fd = fds[1];
	out = openat(c->dir->fd, "console.log", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (out < 0)
		return err_errno(e, "host", "cannot create console.log");
	struct child_spec spec = { .name = "console", .stdio = { -1, -1, STDERR_FILENO },
				   .keep = { in, out }, .keeps = 2, .cwd_fd = -1, .id = c->ids.others,
				   .no_network = true, .nofile = 16, .fsize_bytes = c->job->limits.console_bytes,
				   .body = console_child, .arg = c->job };
	return child_start(&spec, &c->console, e);
}

static int start_dialer_and_conduit(struct control *c, struct err *e)
{
	_cleanup_fd_ int conduit_link = -1, dial_a = -1, dial_b = -1;
	int link[2], dial[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, link) < 0)
		return err_errno(e, "host", "cannot make a socket pair");
	c->link_fd = link[0];
	conduit_link = link[1];
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, dial) < 0)
		return err_errno(e, "host", "cannot make a socket pair");
	dial_a = dial[0];
	dial_b = dial[1];
	struct child_spec dialer = { .name = "dialer", .stdio = { -1, -1, STDERR_FILENO },
				     .keep = { dial_b }, .keeps = 1, .cwd_fd = -1,
				     .id = c->ids.others, .nofile = DIALER_NOFILE,
				     .body = dialer_body, .arg = c->job };
	struct child_spec conduit = { .name = "conduit", .stdio = { -1, -1, STDERR_FILENO },
				      .keep = { conduit_link, dial_a, c->vmm.listen_fd, c->dir->fd },
				      .keeps = 4, .cwd_fd = -1, .id = c->ids.conduit,
				      .no_network = true, .nofile = CONDUIT_NOFILE, .body = conduit_body, .arg = c->job };
	if (c->job->source_fd >= 0)
		conduit.keep[conduit.keeps++] = c->job->source_fd;
	if (child_start(&dialer, &c->dialer, e) < 0 || child_start(&conduit, &c->conduit, e) < 0)
		return -1;
	supjob_wipe(c->job);
	close(c->vmm.listen_fd);
	c->vmm.listen_fd = -1;
	return 0;
}

/* Say in log and events which VM this is going to be. */
static void announce(struct control *c)
{
	const struct vmm_facts *f = &c->vmm.facts;
	json_t *o = probe_json(c->vmm.ops, f, c->job->factor);

	if (o)
		json_object_set_new(o, "type", json_string("vm"));
	procs_event(c, o);
	procs_event(c, json_pack("{s:s, s:s}", "type", "state", "state", rundir_words[0]));
	if (f->kvm)
		procs_line(c, "VM: %s %s, KVM", c->vmm.ops->name, f->version);
	else
		procs_line(c, "VM: %s %s, emulated (TCG): slow, and no security boundary; %s; deadlines x%u",
			   c->vmm.ops->name, f->version, f->reason, c->job->factor);
}

int procs_start(struct control *c, struct err *e)
{
	struct vmm *v = &c->vmm;

	if (uid_lease(c->job, &c->ids, e) < 0 ||
	    child_namespace(&c->init, c->ids.others, &c->init_hold_fd, e) < 0 ||
	    ctl_open(&c->ctl, c->dir->fd, c->dir->owner, e) < 0)
		return -1;
	if (v->ops->probe(c->job, c->ids.others, &v->facts, e) < 0)
		return -1;
	if (supjob_scale(c->job, v->facts.kvm ? 1 : c->job->emulation_factor, e) < 0 ||
	    supjob_load_ca(c->job, e) < 0 || rundir_share(c->dir, &c->ids, e) < 0)
		return -1;
	v->dir_fd = dup(c->dir->vm_fd);
	if (v->dir_fd < 0 || fcntl(v->dir_fd, F_SETFD, FD_CLOEXEC) < 0)
		return err_errno(e, "host", "cannot open vm/");
	if (start_console(c, e) < 0 || v->ops->listen(v, e) < 0)
		return -1;
	c->job->guest_cid = v->guest_cid;
	if (start_dialer_and_conduit(c, e) < 0)
		return -1;
	announce(c);
	return v->ops->open(v, c->console_fd, e);
}

int procs_start_vm(struct control *c, struct err *e)
{
	if (c->vmm.ops->start(&c->vmm, c->console_fd, e) < 0)
		return -1;
	close(take_fd(&c->console_fd)); /* the console ends with the VMM's processes */
	return rundir_write_run(c->dir, c->job, c->ids.uid, c->vmm.vm.pid, e);
}

static void end_child(struct child *k, uint64_t gentle_ms)
{
	if (gentle_ms && child_wait(k, gentle_ms))
		return;
	child_kill(k, SIGKILL);
	child_wait(k, KILL_END_MS);
}

void procs_end(struct control *c)
{
	end_child(&c->vmm.vm, 0);
	end_child(&c->vmm.helper, 0);
	cleanup_fd(&c->link_fd);
	cleanup_fd(&c->console_fd);
	c->link_fd = c->console_fd = -1;
	end_child(&c->conduit, GENTLE_END_MS);
	end_child(&c->dialer, 0);
	end_child(&c->console, GENTLE_END_MS);
	cleanup_fd(&c->init_hold_fd);
	c->init_hold_fd = -1;
	end_child(&c->init, GENTLE_END_MS);
	vmm_fini(&c->vmm);
	cleanup_fd(&c->ids.lock_fd);
	c->ids.lock_fd = -1;
}
