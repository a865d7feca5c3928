/* SPDX-License-Identifier: Apache-2.0 */
/*
 * verdict.c - class and sentence of a build's end. Owns nothing.
 */
#include "verdict.h"

#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "text.h"
#include "wire_msg.h"

void verdict_init(struct verdict *v)
{
	memset(v, 0, sizeof(*v));
	v->class_ = WIRE_CLASS_OK;
	v->step = WIRE_NO_STEP;
}

void verdict_fail(struct verdict *v, const struct fail *f)
{
	if (v->decided)
		return;
	v->decided = 1;
	v->class_ = f->class_;
	text_copy(v->text, sizeof(v->text), f->text, strlen(f->text));
}

static void describe(const struct verdict_step *s, uint8_t cls, char *to, size_t cap)
{
	char who[200], how[200];

	if (s->count > 1)
		snprintf(who, sizeof(who), "step %u of %zu (%.120s)", s->index + 1, s->count, s->name);
	else
		snprintf(who, sizeof(who), "the step (%.120s)", s->name);
	switch (cls) {
	case WIRE_CLASS_OOM:
		snprintf(how, sizeof(how), "used up the memory of the VM (%llu MiB for the build)",
			 (unsigned long long)(s->job_memory_bytes >> 20));
		break;
	case WIRE_CLASS_DISK_FULL:
		snprintf(how, sizeof(how), "filled the scratch disk (%llu MiB)",
			 (unsigned long long)(s->scratch_bytes >> 20));
		break;
	default:
		if (WIFSIGNALED(s->status))
			snprintf(how, sizeof(how), "was ended by signal %d (%s)", WTERMSIG(s->status),
				 strsignal(WTERMSIG(s->status)));
		else
			snprintf(how, sizeof(how), "failed with exit code %d",
				 WEXITSTATUS(s->status));
	}
	snprintf(to, cap, "%s %s", who, how);
}

void verdict_step(struct verdict *v, const struct verdict_step *s)
{
	if (v->decided || (WIFEXITED(s->status) && WEXITSTATUS(s->status) == 0))
		return;
	v->decided = 1;
	v->class_ = s->oom ? WIRE_CLASS_OOM : s->disk_full ? WIRE_CLASS_DISK_FULL : WIRE_CLASS_USER;
	v->step = s->index;
	v->exit_code = WIFSIGNALED(s->status) ? -1 : WEXITSTATUS(s->status);
	v->signal = WIFSIGNALED(s->status) ? (uint32_t)WTERMSIG(s->status) : 0;
	describe(s, v->class_, v->text, sizeof(v->text));
}

void verdict_stop(struct verdict *v, uint8_t cls, uint32_t step, const char *text)
{
	if (v->decided && (v->class_ == WIRE_CLASS_TIMEOUT || v->class_ == WIRE_CLASS_CANCELLED))
		return;
	verdict_init(v);
	v->decided = 1;
	v->class_ = cls;
	v->step = step;
	text_copy(v->text, sizeof(v->text), text, strlen(text));
}
