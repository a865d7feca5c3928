/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control.c - the states of a build, its deadlines and its event loop. Reads no byte of the
 * guest but the numbers and words that linkio.c lets through; writes nothing but
 * result.json.
 *
 *	preparing -> booting -> greeted -> cloning -> running -> collecting
 *	    |           |          |          `---------+-----------'  deadline, cancel
 *	    |           |          |                stopping
 *	    `-----------+----------+----------------------+--> killing -> finishing -> done
 *
 * States go forward only. Each has a deadline, so that a build ends whatever the guest, the
 * VMM or the conduit do. The first cause of the end is the one that counts (verdict.c).
 */
#include "control.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/param.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "cleanup.h"
#include "clock.h"
#include "console.h"
#include "control_int.h"
#include "log.h"
#include "probe.h"
#include "wire.h"

#define PREPARE_MS 30000 /* the host's own processes: lock down, make a socket */
#define STOP_MS    10000 /* times factor, behind grace: what artifacts there are, RESULT */
#define KILL_MS    10000
#define FINISH_MS  10000
#define NEVER      UINT64_MAX

static void no_prepare(struct control *c);
static void deadline_kill(struct control *c);
static void deadline_stop(struct control *c);
static void begin_end(struct control *c);
static void send_finish(struct control *c);
static void no_finish(struct control *c);

static const struct state_row {
	const char *name;
	int word;             /* index into rundir_words; -1: that of the state before */
	size_t deadline;      /* offset in struct supjob_deadlines; with fixed_ms unused */
	uint64_t fixed_ms;
	enum verdict_deadline which;
	void (*on_deadline)(struct control *c);
} rows[CONTROL_STATE_COUNT] = {
#define HELD(m) offsetof(struct supjob_deadlines, m), 0
	[CONTROL_PREPARING] = { "preparing", 0, 0, PREPARE_MS, 0, no_prepare },
	[CONTROL_BOOTING] = { "booting", 0, HELD(boot), VERDICT_BOOT, deadline_kill },
	[CONTROL_GREETED] = { "greeted", 0, HELD(boot), VERDICT_BEGIN, deadline_kill },
	[CONTROL_CLONING] = { "cloning", 1, HELD(clone), VERDICT_CLONE, deadline_stop },
	[CONTROL_RUNNING] = { "running", 2, HELD(steps), VERDICT_STEPS, deadline_stop },
	[CONTROL_COLLECTING] = { "collecting", 3, HELD(upload), VERDICT_UPLOAD, deadline_stop },
	[CONTROL_STOPPING] = { "stopping", -1, 0, STOP_MS, 0, begin_end },
	[CONTROL_KILLING] = { "killing", -1, 0, KILL_MS, 0, send_finish },
	[CONTROL_FINISHING] = { "finishing", -1, 0, FINISH_MS, 0, no_finish },
	[CONTROL_DONE] = { "done", -1, 0, 0, 0, NULL },
};

/* The one place where the state changes. */
static void enter(struct control *c, enum control_state next)
{
	const struct state_row *r = &rows[next];
	uint64_t now = clock_mono_ms(), ms = r->fixed_ms;

	if (next <= c->state)
		return;
	if (ms == 0 && next != CONTROL_DONE)
		ms = *(const uint64_t *)((const char *)&c->job->deadlines_ms + r->deadline);
	if (next == CONTROL_STOPPING)
		ms = c->job->deadlines_ms.grace + STOP_MS * c->job->factor;
	log_line(LOG_LEVEL_DEBUG, c->job->build_id, "%s -> %s", rows[c->state].name, r->name);
	c->state = next;
	c->state_until_ms = now + ms;
	if (r->word > (int)c->word || next == CONTROL_KILLING) {
		c->word_ms[c->word] += now - c->word_since_ms;
		c->word_since_ms = now;
		c->word = r->word > (int)c->word ? (unsigned)r->word : c->word;
	}
}

static bool guest_works(const struct control *c)
{
	return c->state >= CONTROL_GREETED && c->state <= CONTROL_COLLECTING;
}

static void set_cause(struct control *c, enum verdict_cause cause, const char *text)
{
	if (c->facts.cause != VERDICT_NONE)
		return;
	c->facts.cause = cause;
	snprintf(c->text, sizeof(c->text), "%s", text);
}

/* A failure of the host: the cause, or what overrides it. */
static void host_failed(struct control *c, const char *text)
{
	if (!c->facts.host_text) {
		snprintf(c->host_text, sizeof(c->host_text), "%s", text);
		c->facts.host_text = c->host_text;
	}
	set_cause(c, VERDICT_HOST, text);
	begin_end(c);
}

/* No more waiting for the guest: its VM goes. */
static void begin_end(struct control *c)
{
	if (c->state >= CONTROL_KILLING)
		return;
	child_kill(&c->vmm.vm, SIGKILL);
	child_kill(&c->vmm.helper, SIGKILL);
	cleanup_fd(&c->console_fd); /* open when no VM was started: the console ends too */
	c->console_fd = -1;
	enter(c, CONTROL_KILLING);
}

static void end_because(struct control *c, enum verdict_cause cause, const char *text)
{
	set_cause(c, cause, text);
	begin_end(c);
}

static void send_finish(struct control *c)
{
	struct link_msg m = { .kind = LINK_FINISH };
	struct verdict v;
	struct err e;

	enter(c, CONTROL_FINISHING);
	console_tail(c->dir->fd, c->console_tail, sizeof(c->console_tail), &c->facts.panicked);
	if (c->link_fd < 0 || c->conduit.pid == 0) {
		enter(c, CONTROL_DONE);
		return;
	}
	verdict_decide(&c->facts, &v);
	if (c->facts.cause != VERDICT_RESULT)
		procs_line(c, "%s: %s", v.class_, v.message);
	if (linkio_send(c->link_fd, &m, &e) < 0) {
		host_failed(c, e.text);
		enter(c, CONTROL_DONE);
	}
}

static void no_prepare(struct control *c)
{
	host_failed(c, c->conduit_ready ? "vhost-device-vsock made no socket within 30 s" :
					  "the conduit was not ready within 30 s");
}

static void no_finish(struct control *c)
{
	child_kill(&c->conduit, SIGKILL);
	host_failed(c, "the conduit did not finish the files within 10 s");
	enter(c, CONTROL_DONE);
}

static void note_deadline(struct control *c, enum verdict_cause cause,
			  enum verdict_deadline which, uint64_t held_ms)
{
	if (c->facts.cause != VERDICT_NONE)
		return;
	c->facts.deadline = which;
	c->facts.deadline_ms = held_ms;
	set_cause(c, cause, "");
}

static uint64_t held_ms(const struct control *c)
{
	return *(const uint64_t *)((const char *)&c->job->deadlines_ms + rows[c->state].deadline);
}

static void deadline_kill(struct control *c)
{
	note_deadline(c, VERDICT_DEADLINE, rows[c->state].which, held_ms(c));
	begin_end(c);
}

/* Ask the agent to stop, and give it the grace to deliver what there is. */
static void stop(struct control *c, enum wire_reason reason)
{
	struct link_msg m = { .kind = LINK_CANCEL, .number = reason,
			      .grace_ms = (uint32_t)MIN(c->job->deadlines_ms.grace, 3600000u) };
	struct verdict v;

	if (c->state >= CONTROL_STOPPING)
		return;
	if (!guest_works(c)) {
		if (c->facts.cause == VERDICT_CANCEL) /* else the conduit writes it with CANCEL */
			procs_event(c, json_pack("{s:s, s:s}", "type", "cancel", "reason",
						 c->facts.cancel_word));
		begin_end(c);
		return;
	}
	verdict_decide(&c->facts, &v);
	snprintf(m.text, sizeof(m.text), "%.1000s", v.message);
	if (linkio_send(c->link_fd, &m, NULL) < 0) {
		begin_end(c);
		return;
	}
	enter(c, CONTROL_STOPPING);
}

static void deadline_stop(struct control *c)
{
	note_deadline(c, VERDICT_DEADLINE, rows[c->state].which, held_ms(c));
	stop(c, WIRE_REASON_TIMEOUT);
}

static void cancel(struct control *c, const char *word, enum wire_reason reason)
{
	if (c->facts.cause == VERDICT_NONE)
		c->facts.cancel_word = word;
	set_cause(c, VERDICT_CANCEL, "");
	stop(c, reason);
}

static void on_guest_state(struct control *c, uint64_t number)
{
	static const enum control_state next[] = { CONTROL_GREETED, CONTROL_CLONING, CONTROL_RUNNING,
						   CONTROL_COLLECTING };

	if (guest_works(c))
		enter(c, next[number]);
	else if (c->state == CONTROL_STOPPING && number > c->word) {
		c->word_ms[c->word] += clock_mono_ms() - c->word_since_ms;
		c->word_since_ms = clock_mono_ms();
		c->word = (unsigned)number;
	}
}

static void on_result(struct control *c, const struct link_msg *m)
{
	c->facts.have_result = true;
	c->facts.result = m->result;
	c->totals = m->totals;
	snprintf(c->result_text, sizeof(c->result_text), "%s", m->text);
	memcpy(c->step_name, m->step_name, sizeof(c->step_name));
	memcpy(c->commit, m->commit, sizeof(c->commit));
	if (c->state < CONTROL_KILLING)
		end_because(c, VERDICT_RESULT, "");
}

static void on_message(struct control *c, const struct link_msg *m)
{
	c->alive_ms = clock_mono_ms();
	switch ((enum link_kind)m->kind) {
	case LINK_READY:
		c->conduit_ready = true;
		break;
	case LINK_HELLO:
		c->facts.greeted = true;
		if (c->state == CONTROL_BOOTING)
			enter(c, CONTROL_GREETED);
		break;
	case LINK_STATE:
		on_guest_state(c, m->number);
		break;
	case LINK_STALLED:
		c->stalled = m->number != 0;
		break;
	case LINK_RESULT:
		on_result(c, m);
		break;
	case LINK_BROKEN:
		end_because(c, VERDICT_BROKEN, m->text);
		break;
	case LINK_HOST:
		host_failed(c, m->text);
		break;
	case LINK_FINISHED:
		c->totals = m->totals;
		if (m->commit[0])
			memcpy(c->commit, m->commit, sizeof(c->commit));
		if (c->state == CONTROL_FINISHING)
			enter(c, CONTROL_DONE);
		break;
	default: /* LINK_ALIVE: heard, no more */
		break;
	}
}

static void read_link(struct control *c)
{
	struct link_msg m;

	while (c->link_fd >= 0 && c->state != CONTROL_DONE) {
		switch (linkio_recv(c->link_fd, &m)) {
		case LINKIO_MESSAGE:
			on_message(c, &m);
			break;
		case LINKIO_NONE:
			return;
		case LINKIO_RUBBISH:
			child_kill(&c->conduit, SIGKILL);
			host_failed(c, "the conduit sent rubbish to control");
			/* fall through */
		case LINKIO_CLOSED: /* its end is told by its pidfd */
			close(take_fd(&c->link_fd));
			return;
		}
	}
}

/* One of the build's own processes, which should outlive the guest, has ended. */
static void check_helper(struct control *c, struct child *k)
{
	char how[96], text[200];

	if (k->pid == 0 || !child_wait(k, 0))
		return;
	if (c->state >= CONTROL_KILLING && k != &c->conduit)
		return; /* these end with the VM and with the conduit */
	if (k == &c->dialer && k->status == 0)
		return; /* the conduit hung up on it: the conduit's own end, or its word, says why */
	if (k == &c->conduit)
		read_link(c); /* its last words */
	if (c->state == CONTROL_DONE)
		return;
	child_status_text(k->status, how, sizeof(how));
	snprintf(text, sizeof(text), "the %s process %s", k->name, how);
	host_failed(c, text);
	if (k == &c->conduit && c->state == CONTROL_FINISHING)
		enter(c, CONTROL_DONE);
}

static void check_children(struct control *c)
{
	struct vmm *v = &c->vmm;

	if (v->helper.pid && child_wait(&v->helper, 0) && c->facts.cause == VERDICT_NONE) {
		c->facts.status = v->helper.status;
		end_because(c, VERDICT_VSOCK_EXIT, "");
	}
	if (v->vm.pid && child_wait(&v->vm, 0) && c->facts.cause == VERDICT_NONE) {
		c->facts.status = v->vm.status;
		end_because(c, VERDICT_VM_EXIT, "");
	}
	check_helper(c, &c->conduit);
	check_helper(c, &c->dialer);
	check_helper(c, &c->console);
	check_helper(c, &c->init);
}

static void check_signals(struct control *c)
{
	struct signalfd_siginfo s;

	while (read(c->signal_fd, &s, sizeof(s)) == (ssize_t)sizeof(s))
		cancel(c, "shutdown", WIRE_REASON_HOST);
}

static void check_ctl(struct control *c, uint64_t now)
{
	switch (ctl_serve(&c->ctl, now)) {
	case CTL_KILL:
		if (c->state < CONTROL_STOPPING)
			end_because(c, VERDICT_KILL, "");
		begin_end(c);
		break;
	case CTL_CANCEL:
		cancel(c, "user", WIRE_REASON_USER);
		break;
	default:
		break;
	}
}

static uint64_t silence_until_ms(const struct control *c)
{
	if (!guest_works(c) || c->stalled)
		return NEVER;
	return c->alive_ms + c->job->deadlines_ms.heartbeat;
}

static void check_deadlines(struct control *c, uint64_t now)
{
	if (c->state == CONTROL_DONE)
		return;
	if (now >= silence_until_ms(c)) {
		note_deadline(c, VERDICT_HEARTBEAT, VERDICT_SILENCE, c->job->deadlines_ms.heartbeat);
		begin_end(c);
	}
	if (c->state < CONTROL_STOPPING && now >= c->job_until_ms) {
		note_deadline(c, VERDICT_DEADLINE, VERDICT_JOB, c->job->deadlines_ms.job);
		stop(c, WIRE_REASON_TIMEOUT);
	}
	if (now >= c->state_until_ms && c->state != CONTROL_DONE)
		rows[c->state].on_deadline(c);
}

/* Steps that follow from what has happened, not from an event of their own. */
static void advance(struct control *c)
{
	struct err e;
	int n;

	if (c->state == CONTROL_PREPARING && c->conduit_ready) {
		n = c->vmm.ops->ready(&c->vmm, &e);
		if (n > 0 && procs_start_vm(c, &e) == 0)
			enter(c, CONTROL_BOOTING);
		else if (n != 0) {
			c->facts.start_class = strcmp(e.code, "vmm") == 0 ? "vmm" : "host";
			end_because(c, VERDICT_START, e.text);
		}
	}
	if (c->state == CONTROL_KILLING && c->vmm.vm.pid == 0 && c->vmm.helper.pid == 0 &&
	    c->console.pid == 0)
		send_finish(c);
}

static int wait_ms(const struct control *c)
{
	uint64_t now = clock_mono_ms(), until = c->state_until_ms;

	until = MIN(until, MIN(silence_until_ms(c), ctl_deadline_ms(&c->ctl)));
	if (c->state < CONTROL_STOPPING)
		until = MIN(until, c->job_until_ms);
	return until <= now ? 0 : (int)MIN(until - now, 1000000000u);
}

static int loop(struct control *c, struct err *e)
{
	for (advance(c); c->state != CONTROL_DONE; advance(c)) {
		struct pollfd p[9 + CTL_CLIENTS + 1] = {
			{ .fd = c->signal_fd, .events = POLLIN },
			{ .fd = c->link_fd, .events = POLLIN },
			{ .fd = c->state == CONTROL_PREPARING ? c->vmm.watch_fd : -1, .events = POLLIN },
			{ .fd = c->init.pidfd, .events = POLLIN },
			{ .fd = c->conduit.pidfd, .events = POLLIN },
			{ .fd = c->dialer.pidfd, .events = POLLIN },
			{ .fd = c->console.pidfd, .events = POLLIN },
			{ .fd = c->vmm.helper.pidfd, .events = POLLIN },
			{ .fd = c->vmm.vm.pidfd, .events = POLLIN },
		};

		ctl_poll(&c->ctl, p + 9);
		if (poll(p, sizeof(p) / sizeof(p[0]), wait_ms(c)) < 0 && errno != EINTR)
			return err_errno(e, "io", "poll");
		read_link(c); /* before the deaths: a RESULT comes ahead of the VM's end */
		check_signals(c);
		check_ctl(c, clock_mono_ms());
		check_children(c);
		check_deadlines(c, clock_mono_ms());
	}
	return 0;
}

static int open_signals(struct control *c, struct err *e)
{
	sigset_t set, blocked;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	blocked = set;
	sigaddset(&blocked, SIGHUP); /* these two are never looked at */
	sigaddset(&blocked, SIGPIPE);
	if (sigprocmask(SIG_BLOCK, &blocked, NULL) < 0)
		return err_errno(e, "io", "sigprocmask");
	c->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return c->signal_fd < 0 ? err_errno(e, "io", "signalfd") : 0;
}

static int conclude(struct control *c, struct err *e)
{
	struct verdict v;
	struct rundir_result r = { .verdict = &v, .word = c->word, .step_name = c->step_name,
				   .commit = c->commit, .totals = c->totals, .used = c->facts.result,
				   .console_tail = c->console_tail };
	int rc;

	verdict_decide(&c->facts, &v);
	memcpy(r.word_ms, c->word_ms, sizeof(r.word_ms));
	if (c->vmm.facts.version[0])
		r.vmm = probe_json(c->vmm.ops, &c->vmm.facts, c->job->factor);
	rc = rundir_write_result(c->dir, c->job, &r, e);
	json_decref(r.vmm);
	log_line(LOG_LEVEL_INFO, c->job->build_id, "%s%s%s", v.class_, v.message[0] ? ": " : "",
		 v.message);
	return rc;
}

int control_run(struct supjob *job, struct rundir *dir, struct err *e)
{
	struct control c = { .job = job, .dir = dir, .init = CHILD_NONE, .conduit = CHILD_NONE,
			     .dialer = CHILD_NONE, .console = CHILD_NONE, .init_hold_fd = -1,
			     .link_fd = -1, .signal_fd = -1, .console_fd = -1,
			     .ctl = { .listen_fd = -1 } };
	struct err why = { .code = "host" };
	int rc;

	for (int i = 0; i < CTL_CLIENTS; i++)
		c.ctl.client[i].fd = -1;
	c.ids.lock_fd = -1;
	c.facts.text = c.text;
	c.facts.result_text = c.result_text;
	c.facts.cancel_word = "user";
	vmm_init(&c.vmm, job, &c.ids);
	c.word_since_ms = c.alive_ms = clock_mono_ms();
	c.state_until_ms = c.word_since_ms + PREPARE_MS;
	rc = open_signals(&c, e);
	if (rc == 0 && procs_start(&c, &why) < 0) {
		c.facts.start_class = strcmp(why.code, "vmm") == 0 ? "vmm" : "host";
		end_because(&c, VERDICT_START, why.text);
	}
	c.facts.factor = job->factor;
	c.job_until_ms = c.word_since_ms + job->deadlines_ms.job;
	if (rc == 0)
		rc = loop(&c, e);
	ctl_close(&c.ctl);
	procs_end(&c);
	if (rc == 0)
		rc = conclude(&c, e);
	cleanup_fd(&c.signal_fd);
	return rc;
}
