/* SPDX-License-Identifier: Apache-2.0 */
/*
 * steps.c - one step after the other. Owns run.step; a step is over when its main process has
 * ended and what lay in the pipe at that moment is in the log.
 *
 * Processes that a step leaves behind go on: a server that one step starts is there for
 * the next. They end with the last step.
 */
#include "steps.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "agent.h"
#include "clock.h"
#include "detect.h"
#include "step.h"
#include "text.h"

#define OUTPUT_TAIL_BYTES 65536u /* of the log, looked through after a failed step */

static const struct job_step *step_at(const struct agent *a, uint32_t index)
{
	return a->job->steps_count ? &a->job->steps[index] : &a->run.detected;
}

static size_t step_count(const struct agent *a)
{
	return a->job->steps_count ? a->job->steps_count : 1;
}

static int none_found(const struct job *job, struct fail *f)
{
	char looked[512] = "";
	size_t at = 0;

	for (size_t i = 0; job->build_systems[i]; i++) {
		const struct detect_system *s = detect_by_name(job->build_systems[i]);

		if (s && at < sizeof(looked))
			at += (size_t)snprintf(looked + at, sizeof(looked) - at, "%s%s",
					       at ? ", " : "", s->marker);
	}
	return fail_set(f, WIRE_CLASS_USER, "found nothing to build: the job has no steps and the "
			"source has none of %s at its top; name the steps to run", looked);
}

int steps_plan(struct agent *a, struct fail *f)
{
	const struct job *job = a->job;
	const struct detect_system *s;
	struct wire_msg note = { .type = WIRE_NOTE };
	int dir;

	if (job->steps_count)
		return 0;
	dir = open(job->workspace, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return fail_errno(f, WIRE_CLASS_AGENT, "cannot open %s", job->workspace);
	s = detect_find(dir, job->build_systems);
	close(dir);
	if (!s)
		return none_found(job, f);
	a->run.system = s;
	output_say(&a->output, &a->journal, "found %s: running %s", s->marker, s->run);
	note.u.note.key = wire_text("build_system");
	note.u.note.value = wire_text(s->name);
	journal_put(&a->journal, &note);
	if (!world_has_tool(&a->world, s->tool))
		return fail_set(f, WIRE_CLASS_USER, "this image (%s) has no %s; use image: builder",
				*job->image ? job->image : "unnamed", s->tool);
	a->run.detected.name = s->name;
	a->run.detected.run = s->run;
	return 0;
}

static void say_begin(struct agent *a, const struct job_step *step)
{
	struct wire_msg msg = { .type = WIRE_STEP_BEGIN };
	char name[WIRE_MAX_NAME + 1], command[WIRE_MAX_TEXT + 1];

	msg.u.step_begin.at_ms = clock_wall_ms();
	msg.u.step_begin.index = a->run.step.index;
	msg.u.step_begin.name.p = (const uint8_t *)name;
	msg.u.step_begin.name.n = (uint32_t)text_copy(name, sizeof(name), step->name,
						      strlen(step->name));
	msg.u.step_begin.command.p = (const uint8_t *)command;
	msg.u.step_begin.command.n = (uint32_t)text_copy(command, sizeof(command), step->run,
							 strlen(step->run));
	journal_put(&a->journal, &msg);
}

static int start(struct agent *a, const struct job_step *step, struct fail *f)
{
	struct run_step *s = &a->run.step;
	struct step_plan plan = { .world = &a->world, .job = a->job, .step = step };
	char name[32];
	int rc;

	snprintf(name, sizeof(name), "step-%u", s->index);
	if (cgroup_make(a->cgroups.job_fd, name, a->cgroups.step_pids, &s->cgroup_fd, f) < 0)
		return -1;
	plan.cgroup_fd = s->cgroup_fd;
	plan.proc_fd = a->boot.proc_fd;
	plan.output_fd = output_writer(&a->output, a->boot.proc_fd);
	if (plan.output_fd < 0)
		return fail_errno(f, WIRE_CLASS_AGENT, "cannot open the pipe of the log");
	rc = step_start(&plan, &s->pid, &s->error_fd, f);
	close(plan.output_fd);
	return rc;
}

static void begin(struct agent *a)
{
	struct run *r = &a->run;
	struct run_step *s = &r->step;
	const struct job_step *step = step_at(a, r->next_step);
	struct fail f;

	*s = (struct run_step){ .active = 1, .index = r->next_step++, .cgroup_fd = -1, .error_fd = -1 };
	s->began_ms = clock_mono_ms();
	s->deadline_ms = step->timeout_ms ? s->began_ms + step->timeout_ms : RUN_NEVER;
	if (s->index == 0) {
		r->steps_began_ns = clock_wall_ms() * 1000000u;
		if (a->job->timeout_ms)
			r->steps_deadline_ms = s->began_ms + a->job->timeout_ms;
	}
	say_begin(a, step);
	if (start(a, step, &f) == 0)
		return;
	s->pid = 0;
	s->status = 127 << 8; /* as a shell says it of what it cannot start */
	verdict_fail(&r->verdict, &f);
}

/* The shell was never reached: say at which point it went wrong. */
static void judge_start(struct agent *a)
{
	struct run_step *s = &a->run.step;
	struct step_error e;
	struct fail f;

	if (s->error_fd < 0)
		return;
	if (step_error_of(s->error_fd, &e)) {
		fail_set(&f, WIRE_CLASS_AGENT, "could not start %s: %s: %s",
			 step_at(a, s->index)->name, e.stage, strerror(e.err));
		verdict_fail(&a->run.verdict, &f);
	}
	s->error_fd = -1;
}

static int said_no_space(const struct agent *a)
{
	return journal_recent_has(&a->journal, OUTPUT_TAIL_BYTES, "No space left on device");
}

static void judge(struct agent *a, const struct cgroup_usage *used)
{
	const struct run_step *s = &a->run.step;
	struct verdict_step end = {
		.index = s->index, .count = step_count(a), .name = step_at(a, s->index)->name,
		.status = s->status, .oom = used->oom_kills > 0,
		.job_memory_bytes = a->cgroups.job_memory_bytes,
		.scratch_bytes = a->boot.scratch_bytes,
	};

	end.disk_full = run_disk_full(a) || (a->run.disk_was_full && said_no_space(a));
	verdict_step(&a->run.verdict, &end);
}

static void finish(struct agent *a)
{
	struct run_step *s = &a->run.step;
	struct wire_msg msg = { .type = WIRE_STEP_END };
	struct cgroup_usage used = { 0 };

	if (s->cgroup_fd >= 0) {
		cgroup_usage(s->cgroup_fd, &used);
		close(s->cgroup_fd);
	}
	judge_start(a);
	judge(a, &used);
	msg.u.step_end.at_ms = clock_wall_ms();
	msg.u.step_end.index = s->index;
	msg.u.step_end.exit_code = WIFSIGNALED(s->status) ? -1 : WEXITSTATUS(s->status);
	msg.u.step_end.signal = WIFSIGNALED(s->status) ? (uint32_t)WTERMSIG(s->status) : 0;
	msg.u.step_end.oom = used.oom_kills > 0;
	msg.u.step_end.wall_ms = a->now_ms > s->began_ms ? a->now_ms - s->began_ms : 0;
	msg.u.step_end.cpu_us = used.cpu_us;
	msg.u.step_end.peak_bytes = used.peak_bytes;
	journal_put(&a->journal, &msg);
	s->active = 0;
	s->cgroup_fd = -1;
}

int steps_tick(struct agent *a)
{
	struct run *r = &a->run;

	for (;;) {
		if (r->step.active) {
			if (r->step.pid || r->step.drain_bytes)
				return 0;
			finish(a);
		}
		if (r->stopping || r->verdict.decided || r->next_step >= step_count(a))
			return 1;
		if (journal_room(&a->journal) < JOURNAL_KEEP_STEPS)
			return 0; /* an acknowledgement brings us back */
		begin(a);
	}
}
