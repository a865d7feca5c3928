/* SPDX-License-Identifier: Apache-2.0 */
/* verdict.c - the table of classes and their sentences. Pure: no clock, no file, no process. */
#include "verdict.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "child.h"
#include "wire.h"

static const struct deadline_words {
	const char *class_;
	const char *what;    /* … within N s */
	const char *setting;
} deadlines[] = {
	[VERDICT_BOOT] = { "vmm", "the VM did not say HELLO", "deadlines.boot_s" },
	[VERDICT_BEGIN] = { "agent_lost", "the agent said HELLO, but began nothing", "deadlines.boot_s" },
	[VERDICT_CLONE] = { "timeout", "the clone did not end", "deadlines.clone_s" },
	[VERDICT_STEPS] = { "timeout", "the steps did not end", "timeout_s" },
	[VERDICT_UPLOAD] = { "timeout", "the artifacts were not delivered", "deadlines.upload_s" },
	[VERDICT_JOB] = { "timeout", "the whole build did not end", "deadlines.job_s" },
	[VERDICT_SILENCE] = { "agent_lost", "no sign of life came from the agent",
			      "deadlines.heartbeat_s" },
};
_Static_assert(sizeof(deadlines) / sizeof(deadlines[0]) == VERDICT_DEADLINE_COUNT, "deadlines");

__attribute__((format(printf, 3, 4)))
static void say(struct verdict *v, const char *class_, const char *fmt, ...)
{
	va_list ap;

	v->class_ = class_;
	va_start(ap, fmt);
	vsnprintf(v->message, sizeof(v->message), fmt, ap);
	va_end(ap);
}

/* "200 s", "1.5 s" */
static const char *seconds(uint64_t ms, char *buf, size_t n)
{
	if (ms % 1000)
		snprintf(buf, n, "%" PRIu64 ".%03" PRIu64 " s", ms / 1000, ms % 1000);
	else
		snprintf(buf, n, "%" PRIu64 " s", ms / 1000);
	return buf;
}

static void decide_deadline(const struct verdict_facts *f, struct verdict *v)
{
	const struct deadline_words *d = &deadlines[f->deadline];
	char held[32], set[32];

	if (f->factor > 1)
		say(v, d->class_, "%s within %s (%s: %s, times %u because the VM is emulated)", d->what,
		    seconds(f->deadline_ms, held, sizeof(held)), d->setting,
		    seconds(f->deadline_ms / f->factor, set, sizeof(set)), f->factor);
	else
		say(v, d->class_, "%s within %s (%s)", d->what,
		    seconds(f->deadline_ms, held, sizeof(held)), d->setting);
}

static void decide_vm_exit(const struct verdict_facts *f, struct verdict *v)
{
	const char *when = f->greeted ? "before the agent delivered its result" :
					"before the agent said HELLO";
	char how[96];

	child_status_text(f->status, how, sizeof(how));
	if (!WIFEXITED(f->status) || WEXITSTATUS(f->status) != 0)
		say(v, "vmm", "the VMM %s %s", how, when);
	else if (f->panicked)
		say(v, "kernel_panic", "the guest's kernel panicked %s", when);
	else
		say(v, "agent_lost", "the VM ended %s", when);
}

/* The agent's words. A class that only the host may give is not believed. */
static void decide_result(const struct verdict_facts *f, struct verdict *v)
{
	static const char *const words[] = { "ok", "user", "timeout", "oom", "disk_full", NULL,
					     "agent_lost" };
	uint8_t cls = f->result.class_;

	if (cls < sizeof(words) / sizeof(words[0]) && words[cls])
		say(v, words[cls], "%s", f->result_text);
	else
		say(v, "agent_lost", "the agent said '%s', but nobody cancelled",
		    cls == 5 ? "cancelled" : "?");
}

static bool result_counts(const struct verdict_facts *f)
{
	switch (f->cause) {
	case VERDICT_RESULT:
	case VERDICT_VM_EXIT:    /* it rebooted before control had read the message */
	case VERDICT_VSOCK_EXIT:
	case VERDICT_HEARTBEAT:
		return f->have_result;
	case VERDICT_CANCEL:     /* the build was quicker than the wish to cancel it */
		return f->have_result && f->result.class_ == 0;
	default:
		return false;
	}
}

static void decide_cause(const struct verdict_facts *f, struct verdict *v)
{
	char how[96];

	switch (f->cause) {
	case VERDICT_START:
		say(v, f->start_class, "%s", f->text);
		break;
	case VERDICT_DEADLINE:
	case VERDICT_HEARTBEAT:
		decide_deadline(f, v);
		break;
	case VERDICT_CANCEL:
		say(v, "cancelled", strcmp(f->cancel_word, "shutdown") == 0 ?
		    "cancelled: the host shuts down" : "cancelled");
		break;
	case VERDICT_KILL:
		say(v, "cancelled", "killed");
		break;
	case VERDICT_BROKEN:
		say(v, "agent_lost", "%s", f->text);
		break;
	case VERDICT_VM_EXIT:
		decide_vm_exit(f, v);
		break;
	case VERDICT_VSOCK_EXIT:
		say(v, "vmm", "vhost-device-vsock %s", child_status_text(f->status, how, sizeof(how)));
		break;
	case VERDICT_HOST:
		say(v, "host", "%s", f->text);
		break;
	default:
		say(v, "host", "the supervisor ended the build without a cause");
		break;
	}
}

void verdict_decide(const struct verdict_facts *f, struct verdict *v)
{
	static const char *const with_console[] = { "kernel_panic", "agent_lost", "vmm", "host" };

	*v = (struct verdict){ .exit_code = 0 };
	if (f->have_result && f->result.step != WIRE_NO_STEP) {
		v->has_step = true;
		v->step = f->result.step;
		v->exit_code = f->result.exit_code;
		v->signal = f->result.signal;
	}
	if (f->host_text)
		say(v, "host", "%s", f->host_text);
	else if (result_counts(f))
		decide_result(f, v);
	else
		decide_cause(f, v);
	for (unsigned i = 0; i < sizeof(with_console) / sizeof(with_console[0]); i++)
		if (strcmp(v->class_, with_console[i]) == 0)
			v->with_console = true;
}
