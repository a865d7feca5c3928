/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control.c - the meaning of the control connection's messages (PROTOCOL.md, section 3): a
 * table by message type. Owns no state; the link, the journal and the run do.
 */
#include "control.h"

#include <stdio.h>
#include <string.h>
#include <sys/statfs.h>

#include "agent.h"
#include "clock.h"
#include "fatal.h"
#include "text.h"

static void on_welcome(struct agent *a, const struct wire_msg *msg)
{
	if (a->link.state != LINK_HELLO)
		fatal_die("WELCOME came twice");
	if (journal_replay(&a->journal, msg->u.welcome.acked_seq) < 0)
		fatal_die("the host has messages that were never sent");
	link_welcome(&a->link, &msg->u.welcome);
}

static void on_job(struct agent *a, const struct wire_msg *msg)
{
	if (a->link.has_secret) /* once is enough: a second one would be another build */
		return;
	memcpy(a->link.secret, msg->u.job.secret.p, sizeof(a->link.secret));
	a->link.has_secret = 1;
	run_job(a, &msg->u.job);
}

static void on_ack(struct agent *a, const struct wire_msg *msg)
{
	if (journal_ack(&a->journal, msg->u.ack.seq) < 0)
		fatal_die("the host acknowledged what was never sent");
}

static void on_cancel(struct agent *a, const struct wire_msg *msg)
{
	run_cancel(a, &msg->u.cancel);
}

static void on_result_ack(struct agent *a, const struct wire_msg *msg)
{
	if (a->run.phase == RUN_RESULT && msg->u.result_ack.seq + 1 >= a->journal.next_seq)
		a->ended = 1;
}

static void on_error(struct agent *a, const struct wire_msg *msg)
{
	char text[WIRE_MAX_TEXT + 1];
	uint16_t code = msg->u.error.code;

	text_copy(text, sizeof(text), (const char *)msg->u.error.message.p, msg->u.error.message.n);
	if (code == WIRE_CODE_VERSION || code == WIRE_CODE_PROTOCOL || code == WIRE_CODE_SECRET)
		fatal_die("the host refused the connection (code %u): %s", code, text);
	link_lost(&a->link, a->now_ms);
}

static const struct {
	void (*on)(struct agent *a, const struct wire_msg *msg);
	int first; /* may come before WELCOME */
} handlers[] = {
	[WIRE_WELCOME] = { on_welcome, 1 },
	[WIRE_JOB] = { on_job, 0 },
	[WIRE_ACK] = { on_ack, 0 },
	[WIRE_CANCEL] = { on_cancel, 0 },
	[WIRE_RESULT_ACK] = { on_result_ack, 0 },
	[WIRE_ERROR] = { on_error, 1 },
};

static void handle(struct agent *a, const struct wire_msg *msg)
{
	size_t type = msg->type;

	if (type >= sizeof(handlers) / sizeof(handlers[0]) || !handlers[type].on ||
	    (!handlers[type].first && a->link.state != LINK_UP))
		fatal_die("the host sent message %zu out of place", type);
	handlers[type].on(a, msg);
}

void control_read(struct agent *a)
{
	struct wire_msg msg;
	size_t used;

	do {
		while (link_next(&a->link, &msg, &used, a->now_ms) == 1) {
			uint16_t type = msg.type;

			handle(a, &msg);
			link_taken(&a->link, used);
			if (type == WIRE_JOB)
				link_shrink(&a->link);
		}
	} while (link_read(&a->link, a->now_ms) == 1);
}

static void heartbeat(struct agent *a)
{
	struct statfs st;
	uint64_t used = 0;

	if (a->boot.scratch_fd >= 0 && fstatfs(a->boot.scratch_fd, &st) == 0)
		used = (uint64_t)(st.f_blocks - st.f_bfree) * (uint64_t)st.f_bsize;
	link_heartbeat(&a->link, &a->journal, clock_wall_ms(),
		       a->cgroups.job_fd >= 0 ? cgroup_memory_now(a->cgroups.job_fd) : 0, used);
}

void control_tick(struct agent *a)
{
	struct link *l = &a->link;

	link_watch(l, &a->journal, a->now_ms);
	if (l->state == LINK_DOWN && a->now_ms >= l->redial_at_ms)
		link_dial(l, a->now_ms);
	/* bytes that wait for the host to read say the same as a heartbeat, once it does */
	if (link_idle(l, &a->journal) && a->now_ms - l->last_sent_ms >= l->heartbeat_ms / 2)
		heartbeat(a);
	link_flush(l, &a->journal, a->now_ms);
}
