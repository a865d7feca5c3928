/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run.c - the state machine of a job. Owns struct run; one function, set_phase, changes the
 * phase, by the table below. Steps are steps.c's, messages to the host go into the journal.
 */
#include "run.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "agent.h"
#include "clock.h"
#include "fatal.h"
#include "loop.h"
#include "proxyctl.h"
#include "setup.h"
#include "steps.h"
#include "text.h"

#define CLEAR_MS 10000u  /* for killed processes to be gone */
#define SAMPLE_MS 250u   /* between two looks at the scratch disk */
#define FULL_BYTES (1u << 20) /* less is nothing to a build */
#define FULL_INODES 8u
#define WORKER_PIDS 64u

static void set_phase(struct agent *a, enum run_phase to);
static void enter_source(struct agent *a);
static void enter_steps(struct agent *a);
static void enter_clear(struct agent *a);
static void enter_collect(struct agent *a);
static void enter_result(struct agent *a);
static void tick_source(struct agent *a);
static void tick_steps(struct agent *a);
static void tick_clear(struct agent *a);
static void tick_collect(struct agent *a);

static const struct {
	const char *name;
	unsigned next; /* bits of the phases that may follow */
	void (*enter)(struct agent *a);
	void (*tick)(struct agent *a);
} phases[RUN_PHASE_COUNT] = {
	[RUN_IDLE] = { "idle", 1u << RUN_SOURCE | 1u << RUN_RESULT, NULL, NULL },
	[RUN_SOURCE] = { "source", 1u << RUN_STEPS | 1u << RUN_RESULT, enter_source, tick_source },
	[RUN_STEPS] = { "steps", 1u << RUN_CLEAR, enter_steps, tick_steps },
	[RUN_CLEAR] = { "clear", 1u << RUN_COLLECT, enter_clear, tick_clear },
	[RUN_COLLECT] = { "collect", 1u << RUN_RESULT, enter_collect, tick_collect },
	[RUN_RESULT] = { "result", 0, enter_result, NULL },
};

static void set_phase(struct agent *a, enum run_phase to)
{
	if (!(phases[a->run.phase].next & 1u << to))
		fatal_die("went from %s to %s", phases[a->run.phase].name, phases[to].name);
	a->run.phase = to;
	if (phases[to].enter)
		phases[to].enter(a);
}

void run_init(struct run *r)
{
	memset(r, 0, sizeof(*r));
	verdict_init(&r->verdict);
	r->step.cgroup_fd = r->step.error_fd = -1;
	r->kill_at_ms = r->steps_deadline_ms = r->clear_deadline_ms = RUN_NEVER;
}

static void say_state(struct agent *a, uint8_t state)
{
	struct wire_msg msg = { .type = WIRE_STATE };

	msg.u.state.at_ms = clock_wall_ms();
	msg.u.state.state = state;
	journal_put(&a->journal, &msg);
}

/* What fails outside the steps stands in the log too; a step's failure shows itself there. */
static void fail_run(struct agent *a, const struct fail *f)
{
	output_say(&a->output, &a->journal, "%s", f->text);
	verdict_fail(&a->run.verdict, f);
}

void run_job(struct agent *a, const struct wire_job *msg)
{
	struct fail f;

	if (a->run.phase != RUN_IDLE)
		return;
	if (setup_job(a, msg, &f) < 0) {
		fail_run(a, &f);
		set_phase(a, RUN_RESULT);
		return;
	}
	for (size_t i = 0; a->job->log_lines[i]; i++)
		if (journal_room(&a->journal) > JOURNAL_KEEP_LINES)
			output_line(&a->output, &a->journal, a->job->log_lines[i]);
	set_phase(a, RUN_SOURCE);
}

static int start_worker(struct agent *a, const char *name, child_main *body, int needs_secret,
			struct fail *f)
{
	const struct passwd_user *u = &a->world.user.entry;
	struct child_plan plan = {
		.name = name, .main = body, .cgroup_parent_fd = a->cgroups.job_fd,
		.proc_fd = a->boot.proc_fd,
		.pids_max = WORKER_PIDS, .epoll_fd = a->core_epoll_fd, .epoll_key = LOOP_KEY_WORKER,
		.needs_secret = needs_secret, .secret = a->link.secret,
	};
	int rc;

	plan.env = (struct worker_env){
		.job = a->job, .secret = a->link.secret, .send_max_bytes = a->link.send_max_bytes,
		.uid = u->uid, .gid = u->gid, .home = u->home,
		.ca_path = a->world.has_ca ? WORLD_CA_PATH : "",
		.build_system = a->run.system ? a->run.system->name : "",
		.proxy_port = WORLD_PROXY_PORT, .listen_fd = -1, .vsock_port = a->link.port,
		.steps_began_ns = a->run.steps_began_ns,
	};
	plan.env.workspace_fd = open(a->job->workspace, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (plan.env.workspace_fd < 0)
		return fail_errno(f, WIRE_CLASS_AGENT, "cannot open %s", a->job->workspace);
	rc = child_start(&a->worker, &plan, f);
	close(plan.env.workspace_fd);
	return rc;
}

static void enter_source(struct agent *a)
{
	enum job_source source = a->job->source;
	struct fail f;

	if (source == JOB_SOURCE_NONE) {
		set_phase(a, RUN_STEPS);
		return;
	}
	say_state(a, WIRE_STATE_CLONING);
	if (start_worker(a, "source", source == JOB_SOURCE_GIT ? clone_main : unpack_main,
			 source == JOB_SOURCE_TAR, &f) < 0) {
		fail_run(a, &f);
		set_phase(a, RUN_RESULT);
	}
}

static void tick_source(struct agent *a)
{
	struct fail f;

	if (a->worker.pid)
		return;
	run_reports(a);
	if (a->worker.report_fd >= 0)
		return; /* the journal is full: what the worker said last has to wait */
	a->run.kill_at_ms = RUN_NEVER;
	if (child_verdict(&a->worker, a->job->source == JOB_SOURCE_GIT ? "the clone" : "unpacking",
			  &f) < 0 && !a->run.verdict.decided)
		fail_run(a, &f);
	cgroup_signal(a->cgroups.job_fd, SIGKILL); /* a worker has no children that may stay */
	set_phase(a, a->run.verdict.decided ? RUN_RESULT : RUN_STEPS);
}

static void enter_steps(struct agent *a)
{
	struct fail f;

	say_state(a, WIRE_STATE_RUNNING);
	if (steps_plan(a, &f) < 0)
		fail_run(a, &f);
	tick_steps(a);
}

static void tick_steps(struct agent *a)
{
	struct run *r = &a->run;

	if (a->now_ms >= r->sample_at_ms) {
		r->sample_at_ms = a->now_ms + SAMPLE_MS;
		r->disk_was_full |= run_disk_full(a);
	}
	if (!r->stopping && a->now_ms >= r->steps_deadline_ms) {
		char text[96];

		snprintf(text, sizeof(text), "the steps took longer than %llu s",
			 (unsigned long long)(a->job->timeout_ms / 1000));
		run_stop(a, WIRE_CLASS_TIMEOUT, a->job->grace_ms, text);
	}
	if (!r->stopping && r->step.active && a->now_ms >= r->step.deadline_ms) {
		char text[96];

		snprintf(text, sizeof(text), "step %u took longer than its %llu ms", r->step.index + 1,
			 (unsigned long long)(r->step.deadline_ms - r->step.began_ms));
		run_stop(a, WIRE_CLASS_TIMEOUT, a->job->grace_ms, text);
	}
	if (steps_tick(a))
		set_phase(a, RUN_CLEAR);
}

static void enter_clear(struct agent *a)
{
	cgroup_signal(a->cgroups.job_fd, SIGKILL);
	a->run.kill_at_ms = RUN_NEVER;
	a->run.clear_deadline_ms = a->now_ms + CLEAR_MS;
	tick_clear(a);
}

static void tick_clear(struct agent *a)
{
	if (a->run.clear_deadline_ms != RUN_NEVER && a->now_ms < a->run.clear_deadline_ms &&
	    cgroup_populated(a->cgroups.job_fd))
		return;
	if (output_pending(&a->output)) { /* its writers are dead, so it ends */
		a->output.readable = 1;
		a->run.clear_deadline_ms = RUN_NEVER;
		return;
	}
	a->run.clear_deadline_ms = RUN_NEVER;
	set_phase(a, RUN_COLLECT);
}

static void enter_collect(struct agent *a)
{
	struct fail f;

	say_state(a, WIRE_STATE_COLLECTING);
	if (!a->job->artifact_paths && !a->run.system) {
		set_phase(a, RUN_RESULT); /* nothing was named, nothing was found */
		return;
	}
	if (start_worker(a, "collect", collect_main, 1, &f) < 0) {
		fail_run(a, &f);
		set_phase(a, RUN_RESULT);
	}
}

static void tick_collect(struct agent *a)
{
	struct fail f;

	if (a->worker.pid)
		return;
	run_reports(a);
	if (a->worker.report_fd >= 0)
		return;
	if (child_verdict(&a->worker, "collecting the artifacts", &f) < 0)
		fail_run(a, &f);
	set_phase(a, RUN_RESULT);
}

static void enter_result(struct agent *a)
{
	const struct verdict *v = &a->run.verdict;
	struct wire_msg msg = { .type = WIRE_RESULT };
	struct cgroup_usage used = { 0 };
	char text[WIRE_MAX_TEXT + 1];

	if (a->cgroups.job_fd >= 0)
		cgroup_usage(a->cgroups.job_fd, &used);
	a->run.kill_at_ms = RUN_NEVER;
	msg.u.result.class_ = v->class_;
	msg.u.result.step = v->step;
	msg.u.result.exit_code = v->exit_code;
	msg.u.result.signal = v->signal;
	msg.u.result.log_bytes = a->journal.log_bytes;
	msg.u.result.peak_bytes = used.peak_bytes;
	msg.u.result.cpu_us = used.cpu_us;
	msg.u.result.message.p = (const uint8_t *)text;
	msg.u.result.message.n = (uint32_t)text_copy(text, sizeof(text), v->text, strlen(v->text));
	if (journal_put(&a->journal, &msg) < 0)
		fatal_die("the result does not fit into the journal");
}

void run_stop(struct agent *a, uint8_t cls, uint64_t grace_ms, const char *text)
{
	struct run *r = &a->run;
	uint64_t kill_at_ms = a->now_ms + grace_ms;

	if (r->phase == RUN_IDLE || r->phase == RUN_RESULT)
		return;
	verdict_stop(&r->verdict, cls, r->step.active ? r->step.index : WIRE_NO_STEP, text);
	if (kill_at_ms < r->kill_at_ms)
		r->kill_at_ms = kill_at_ms;
	if (r->stopping || r->phase == RUN_CLEAR)
		return;
	r->stopping = 1;
	output_say(&a->output, &a->journal, "%s", text);
	if (r->phase == RUN_SOURCE && a->worker.pid)
		cgroup_signal(a->worker.cgroup_fd, SIGTERM);
	if (r->phase == RUN_STEPS && r->step.active && r->step.cgroup_fd >= 0)
		cgroup_signal(r->step.cgroup_fd, SIGTERM);
}

void run_cancel(struct agent *a, const struct wire_cancel *msg)
{
	static const char *const why[] = { "", "the build was cancelled", "a deadline of the host passed",
					   "the host shuts down" };
	char text[WIRE_MAX_TEXT + 1];

	text_copy(text, sizeof(text), (const char *)msg->message.p, msg->message.n);
	run_stop(a, msg->reason == WIRE_REASON_TIMEOUT ? WIRE_CLASS_TIMEOUT : WIRE_CLASS_CANCELLED,
		 msg->grace_ms, *text ? text : why[msg->reason]);
}

void run_reaped(struct agent *a, pid_t pid, int status)
{
	struct run_step *s = &a->run.step;

	if (s->active && pid == s->pid) {
		s->pid = 0;
		s->status = status;
		s->drain_bytes = output_pending(&a->output);
		a->output.readable = 1;
		a->output.hold_until_ms = 0;
	}
	if (pid == a->worker.pid)
		child_reaped(&a->worker, status);
	if (pid == a->proxy.pid)
		proxyctl_ended(a, status);
}

void run_tick(struct agent *a)
{
	enum run_phase before;

	if (a->now_ms >= a->run.kill_at_ms) {
		a->run.kill_at_ms = RUN_NEVER;
		cgroup_signal(a->cgroups.job_fd, SIGKILL);
	}
	if (a->worker.readable)
		run_reports(a);
	if (a->proxy.readable)
		proxyctl_reports(a);
	do {
		before = a->run.phase;
		if (phases[before].tick)
			phases[before].tick(a);
	} while (a->run.phase != before);
}

uint64_t run_deadline(const struct agent *a)
{
	const struct run *r = &a->run;
	uint64_t at_ms = r->kill_at_ms;

	if (r->phase == RUN_STEPS) {
		if (!r->stopping && r->steps_deadline_ms < at_ms)
			at_ms = r->steps_deadline_ms;
		if (!r->stopping && r->step.active && r->step.deadline_ms < at_ms)
			at_ms = r->step.deadline_ms;
		if (r->sample_at_ms < at_ms)
			at_ms = r->sample_at_ms;
	}
	return r->phase == RUN_CLEAR && r->clear_deadline_ms < at_ms ? r->clear_deadline_ms : at_ms;
}

size_t run_output_limit(const struct agent *a)
{
	const struct run_step *s = &a->run.step;

	if (a->run.phase == RUN_RESULT)
		return 0; /* RESULT was the last message */
	return s->active && !s->pid && s->drain_bytes ? s->drain_bytes : SIZE_MAX;
}

void run_output(struct agent *a, size_t n)
{
	struct run_step *s = &a->run.step;

	if (s->active && !s->pid) /* 0: the pipe is empty, whatever it held */
		s->drain_bytes = n && n < s->drain_bytes ? s->drain_bytes - n : 0;
}

static void take_report(struct agent *a, const struct worker_msg *m)
{
	struct wire_msg msg = { .type = WIRE_NOTE };
	char key[WIRE_MAX_NAME], value[WIRE_MAX_TEXT + 1];

	text_copy(key, 65, m->kind == WORKER_SOURCE ? m->commit : m->key, 64);
	switch (m->kind) {
	case WORKER_LINE:
		output_say(&a->output, &a->journal, "%s", m->text);
		return;
	case WORKER_NOTE:
		text_copy(value, sizeof(value), m->text, sizeof(m->text));
		msg.u.note.key = wire_text(key);
		msg.u.note.value = wire_text(value);
		break;
	case WORKER_SOURCE:
		text_copy(value, 257, m->ref, 256);
		text_copy(a->world.commit, sizeof(a->world.commit), key, sizeof(key));
		msg.type = WIRE_SOURCE;
		msg.u.source.shallow = m->shallow != 0;
		msg.u.source.submodules = m->submodules;
		msg.u.source.commit = wire_text(key);
		msg.u.source.ref = wire_text(value);
		world_resolved(&a->world, a->job, value);
		break;
	default:
		return;
	}
	journal_put(&a->journal, &msg);
}

void run_reports(struct agent *a)
{
	struct worker_msg msg;

	while (journal_room(&a->journal) > JOURNAL_KEEP_LINES && child_report(&a->worker, &msg) == 1)
		take_report(a, &msg);
}

int run_disk_full(const struct agent *a)
{
	struct statfs st;

	if (a->boot.scratch_fd < 0 || fstatfs(a->boot.scratch_fd, &st) < 0)
		return 0;
	return (uint64_t)st.f_bavail * (uint64_t)st.f_bsize < FULL_BYTES ||
	       (st.f_files && st.f_ffree < FULL_INODES);
}
