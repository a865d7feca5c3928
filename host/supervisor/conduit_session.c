/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conduit_session.c - the control connection's state machine.
 *
 * Owns the journal's position, the secret and what RESULT said. Touches log and events
 * through their modules, everything else through session_io. The rules that it holds:
 * seq without a gap, offsets that add up, states forward only, one step at a time, nothing
 * after RESULT, and one change of phase at a time, by set_phase alone.
 */
#include "conduit_session.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "clock.h"

#define HEARTBEAT_DEFAULT_MS 10000u

/* Legal next phases, as bits. */
static const uint8_t next_phases[SESSION_PHASE_COUNT] = {
	[SESSION_NEW] = 1 << SESSION_OPEN | 1 << SESSION_FAILED,
	[SESSION_OPEN] = 1 << SESSION_SETTLING | 1 << SESSION_FAILED,
	[SESSION_SETTLING] = 1 << SESSION_DONE | 1 << SESSION_FAILED,
};

static int set_phase(struct session *s, enum session_phase to)
{
	if (!(next_phases[s->phase] & 1 << to))
		return -1;
	s->phase = to;
	return 0;
}

static int draw(void *buf, size_t n, struct err *e)
{
	if (getrandom(buf, n, 0) != (ssize_t)n)
		return err_errno(e, "internal", "no random bytes from the kernel");
	return 0;
}

int session_init(struct session *s, const struct session_io *io, const struct supjob *job,
		 struct logfile *log, struct events *events, uint64_t now_ms, struct err *e)
{
	memset(s, 0, sizeof(*s));
	s->io = *io;
	s->job = job;
	s->log = log;
	s->events = events;
	s->begun_ms = now_ms;
	if (draw(s->secret, sizeof(s->secret), e) < 0)
		return -1;
	return draw(s->entropy, sizeof(s->entropy), e);
}

int session_secret_ok(const struct session *s, struct wire_bytes secret)
{
	uint8_t diff = 0;

	if (s->phase == SESSION_NEW || secret.n != sizeof(s->secret))
		return 0;
	for (size_t i = 0; i < sizeof(s->secret); i++)
		diff |= s->secret[i] ^ secret.p[i];
	return diff == 0;
}

static void tell(struct session *s, enum link_kind kind, uint64_t number, const char *text)
{
	struct link_msg msg = { .kind = kind, .number = number };

	snprintf(msg.text, sizeof(msg.text), "%s", text);
	s->io.tell(s->io.ctx, &msg);
}

void session_fail(struct session *s, enum link_kind kind, const char *text)
{
	if (set_phase(s, SESSION_FAILED) == 0)
		tell(s, kind, 0, text);
}

static void copy_text(char *out, size_t size, struct wire_bytes b)
{
	size_t n = b.n;

	if (n >= size) /* cut in front of a character, not within one */
		for (n = size - 1; n > 0 && (b.p[n] & 0xc0) == 0x80; n--)
			;
	if (n)
		memcpy(out, b.p, n);
	out[n] = '\0';
}

int session_hello(struct session *s, const struct wire_hello *hello, uint16_t *code, struct err *e)
{
	*code = WIRE_CODE_SECRET;
	if (s->phase == SESSION_FAILED)
		return err_set(e, "refused", "this build is over");
	if (s->phase == SESSION_NEW && (hello->secret.n != 0 || hello->next_seq != 1))
		return err_set(e, "refused", "the first HELLO has an empty secret and next_seq 1");
	if (s->phase != SESSION_NEW && !session_secret_ok(s, hello->secret))
		return err_set(e, "refused", "a HELLO after the first carries the secret of JOB");
	if (hello->version_min > WIRE_VERSION || hello->version_max < WIRE_VERSION) {
		*code = WIRE_CODE_VERSION;
		return err_set(e, "broken", "the agent speaks protocol versions %u to %u, "
			       "this host speaks version %u", hello->version_min,
			       hello->version_max, WIRE_VERSION);
	}
	*code = WIRE_CODE_PROTOCOL;
	if (hello->next_seq > s->seq + 1)
		return err_set(e, "broken", "journal messages %" PRIu64 " to %" PRIu64 " are lost",
			       s->seq + 1, hello->next_seq - 1);
	return 0;
}

static void send_job(struct session *s)
{
	struct wire_msg msg = { .type = WIRE_JOB };

	msg.u.job.time_ns = clock_wall_ms() * 1000000u;
	msg.u.job.entropy = (struct wire_bytes){ s->entropy, sizeof(s->entropy) };
	msg.u.job.secret = (struct wire_bytes){ s->secret, sizeof(s->secret) };
	msg.u.job.spec = (struct wire_bytes){ (const uint8_t *)s->job->spec,
					      (uint32_t)s->job->spec_bytes };
	msg.u.job.ca_bundle = (struct wire_bytes){ (const uint8_t *)s->job->ca_bundle,
						   (uint32_t)s->job->ca_bundle_bytes };
	s->io.send(s->io.ctx, &msg);
	explicit_bzero(s->entropy, sizeof(s->entropy));
}

static void send_cancel(struct session *s)
{
	struct wire_msg msg = { .type = WIRE_CANCEL, .u.cancel = s->cancel };

	s->io.send(s->io.ctx, &msg);
}

static void send_result_ack(struct session *s)
{
	struct wire_msg msg = { .type = WIRE_RESULT_ACK, .u.result_ack.seq = s->seq };

	s->io.send(s->io.ctx, &msg);
}

static uint32_t heartbeat_ms(const struct supjob *job)
{
	uint64_t third = job->deadlines_ms.heartbeat / 3;

	if (job->deadlines_ms.heartbeat == 0)
		return HEARTBEAT_DEFAULT_MS;
	return third < 100 ? 100 : third > 600000 ? 600000 : (uint32_t)third;
}

/*
 * Since Linux 6.17 a guest puts sends above 32 KiB into several descriptors, which
 * vhost-device-vsock 0.3 and Firecracker before 1.14 lose; an older kernel, and no other, may
 * send large pieces. A guest that lies about its kernel loses its own data.
 */
static uint32_t send_max_bytes(const struct wire_bytes *kernel)
{
	unsigned major = 0, minor = 0;
	char text[WIRE_MAX_NAME + 1];

	memcpy(text, kernel->p, kernel->n);
	text[kernel->n] = '\0';
	if (sscanf(text, "%3u.%3u", &major, &minor) != 2)
		return WIRE_SEND_DEFAULT;
	return major >= 4 && (major < 6 || (major == 6 && minor < 17)) ? WIRE_MAX_DATA :
									 WIRE_SEND_DEFAULT;
}

int session_welcome(struct session *s, const struct wire_hello *hello, uint64_t now_ms,
		    struct err *e)
{
	struct wire_msg msg = { .type = WIRE_WELCOME };
	int first = s->phase == SESSION_NEW;

	msg.u.welcome.version = WIRE_VERSION;
	msg.u.welcome.send_max_bytes = send_max_bytes(&hello->kernel);
	msg.u.welcome.heartbeat_ms = heartbeat_ms(s->job);
	msg.u.welcome.acked_seq = s->seq;
	s->acked_seq = s->seq;
	s->acked_log = s->log->guest_bytes;
	s->ack_due_ms = 0;
	s->io.send(s->io.ctx, &msg);
	if (first) {
		set_phase(s, SESSION_OPEN);
		send_job(s);
		tell(s, LINK_HELLO, 0, "");
	}
	if (s->cancel.reason && s->phase == SESSION_OPEN)
		send_cancel(s);
	if (s->phase == SESSION_DONE)
		send_result_ack(s);
	if (!first)
		return 0;
	return events_put(s->events, EVENTS_KEEP, "hello",
			  json_pack("{s:o, s:o, s:o, s:I}", "agent",
				    events_text(hello->agent.p, hello->agent.n), "kernel",
				    events_text(hello->kernel.p, hello->kernel.n), "arch",
				    events_text(hello->arch.p, hello->arch.n), "boot_ms",
				    (json_int_t)(now_ms - s->begun_ms)), e);
}

static int on_state(struct session *s, const struct wire_msg *m, struct err *e)
{
	uint8_t state = m->u.state.state;

	if (state <= s->state)
		return err_set(e, "protocol", "state %u came after state %u", state, s->state);
	s->state = state;
	tell(s, LINK_STATE, state, "");
	return events_put(s->events, EVENTS_KEEP, "state",
			  json_pack("{s:s}", "state", wire_state_name(state)), e);
}

static int on_source(struct session *s, const struct wire_msg *m, struct err *e)
{
	const struct wire_source *src = &m->u.source;

	copy_text(s->commit, sizeof(s->commit), src->commit);
	return events_put(s->events, EVENTS_CAPPED, "source",
			  json_pack("{s:o, s:o, s:b, s:I, s:I}", "commit",
				    events_text(src->commit.p, src->commit.n), "ref",
				    events_text(src->ref.p, src->ref.n), "shallow", src->shallow,
				    "submodules", (json_int_t)src->submodules, "log_offset",
				    (json_int_t)s->log->size_bytes), e);
}

static int on_step_begin(struct session *s, const struct wire_msg *m, struct err *e)
{
	const struct wire_step_begin *b = &m->u.step_begin;

	if (s->step_open)
		return err_set(e, "protocol", "step %u began before step %u ended", b->index,
			       s->step_index);
	if (s->steps++ == SESSION_STEPS_MAX)
		return err_set(e, "protocol", "more than %u steps", SESSION_STEPS_MAX);
	if (logfile_settle(s->log, e) < 0)
		return -1;
	s->step_open = 1;
	s->step_index = b->index;
	copy_text(s->step_name, sizeof(s->step_name), b->name);
	return events_put(s->events, EVENTS_KEEP, "step_begin",
			  json_pack("{s:I, s:o, s:o, s:I}", "index", (json_int_t)b->index, "name",
				    events_text(b->name.p, b->name.n), "command",
				    events_text(b->command.p, b->command.n), "log_offset",
				    (json_int_t)s->log->size_bytes), e);
}

/* A number of the guest for JSON, which has signed 64-bit integers here. */
static json_int_t num(uint64_t v)
{
	return v > INT64_MAX ? INT64_MAX : (json_int_t)v;
}

static int on_step_end(struct session *s, const struct wire_msg *m, struct err *e)
{
	const struct wire_step_end *x = &m->u.step_end;

	if (!s->step_open || x->index != s->step_index)
		return err_set(e, "protocol", "the end of step %u, which was not open", x->index);
	if (logfile_settle(s->log, e) < 0)
		return -1;
	s->step_open = 0;
	return events_put(s->events, EVENTS_KEEP, "step_end",
			  json_pack("{s:I, s:i, s:I, s:b, s:I, s:I, s:I, s:I}", "index",
				    (json_int_t)x->index, "exit_code", x->exit_code, "signal",
				    (json_int_t)x->signal, "oom", x->oom, "wall_ms",
				    num(x->wall_ms), "cpu_ms", num(x->cpu_us / 1000), "peak_bytes",
				    num(x->peak_bytes), "log_offset",
				    (json_int_t)s->log->size_bytes), e);
}

static int on_log(struct session *s, const struct wire_msg *m, struct err *e)
{
	const struct wire_log *l = &m->u.log;

	if (l->offset != s->log->guest_bytes)
		return err_set(e, "protocol", "log bytes at offset %" PRIu64 ", expected %" PRIu64,
			       l->offset, s->log->guest_bytes);
	return logfile_append(s->log, l->data.p, l->data.n, e);
}

static int on_note(struct session *s, const struct wire_msg *m, struct err *e)
{
	const struct wire_note *n = &m->u.note;

	return events_put(s->events, EVENTS_CAPPED, "note",
			  json_pack("{s:o, s:o}", "key", events_text(n->key.p, n->key.n), "value",
				    events_text(n->value.p, n->value.n)), e);
}

static int on_result(struct session *s, const struct wire_msg *m, struct err *e)
{
	const struct wire_result *r = &m->u.result;
	struct link_msg *out = &s->result;

	if (r->log_bytes != s->log->guest_bytes)
		return err_set(e, "protocol", "RESULT counts %" PRIu64 " log bytes, %" PRIu64 " came",
			       r->log_bytes, s->log->guest_bytes);
	out->kind = LINK_RESULT;
	out->result = (struct link_result){ .class_ = r->class_, .step = r->step,
					    .exit_code = r->exit_code, .signal = r->signal,
					    .peak_bytes = r->peak_bytes, .cpu_us = r->cpu_us };
	copy_text(out->text, sizeof(out->text), r->message);
	memcpy(out->commit, s->commit, sizeof(out->commit));
	if (s->steps && r->step == s->step_index)
		memcpy(out->step_name, s->step_name, sizeof(out->step_name));
	set_phase(s, SESSION_SETTLING);
	return 0;
}

/* Journal messages: all begin with seq, so it may be read through any of them. */
static int (*const journal[])(struct session *s, const struct wire_msg *m, struct err *e) = {
	[WIRE_STATE] = on_state,
	[WIRE_SOURCE] = on_source,
	[WIRE_STEP_BEGIN] = on_step_begin,
	[WIRE_STEP_END] = on_step_end,
	[WIRE_LOG] = on_log,
	[WIRE_RESULT] = on_result,
	[WIRE_NOTE] = on_note,
};
_Static_assert(offsetof(struct wire_log, seq) == 0 && offsetof(struct wire_note, seq) == 0 &&
	       offsetof(struct wire_state_msg, seq) == 0 && offsetof(struct wire_source, seq) == 0 &&
	       offsetof(struct wire_step_begin, seq) == 0 && offsetof(struct wire_result, seq) == 0 &&
	       offsetof(struct wire_step_end, seq) == 0, "seq comes first");

static int on_journal(struct session *s, const struct wire_msg *m, uint64_t now_ms, struct err *e)
{
	uint64_t seq = m->u.state.seq;

	if (seq <= s->seq)
		return 0; /* sent again after a reset */
	if (seq != s->seq + 1)
		return err_set(e, "protocol", "journal message %" PRIu64 " came after %" PRIu64, seq,
			       s->seq);
	if (s->phase != SESSION_OPEN)
		return err_set(e, "protocol", "a journal message came after RESULT");
	if (journal[m->type](s, m, e) < 0)
		return -1;
	s->seq = seq;
	if (!s->ack_due_ms)
		s->ack_due_ms = now_ms + WIRE_ACK_MS;
	if (s->phase == SESSION_SETTLING)
		s->io.settle(s->io.ctx);
	return 0;
}

static int on_frame(struct session *s, const struct wire_msg *msg, uint64_t now_ms, struct err *e)
{
	char text[WIRE_MAX_TEXT / 2];

	if (s->phase == SESSION_FAILED)
		return err_set(e, "protocol", "this build is over");
	if (msg->type == WIRE_HEARTBEAT)
		return 0;
	if (msg->type == WIRE_ERROR) {
		copy_text(text, sizeof(text), msg->u.error.message);
		return err_set(e, "gave_up", "the agent gave up (code %u): %s", msg->u.error.code,
			       text);
	}
	if (msg->type < sizeof(journal) / sizeof(journal[0]) && journal[msg->type])
		return on_journal(s, msg, now_ms, e);
	return err_set(e, "protocol", "%s has no place here", wire_spec_of(msg->type)->name);
}

int session_frame(struct session *s, const struct wire_msg *msg, uint64_t now_ms, struct err *e)
{
	int host;

	if (on_frame(s, msg, now_ms, e) == 0)
		return 0;
	host = strcmp(e->code, "io") == 0 || strcmp(e->code, "internal") == 0;
	session_fail(s, host ? LINK_HOST : LINK_BROKEN, e->text);
	return -1;
}

void session_ack(struct session *s, uint64_t now_ms)
{
	struct wire_msg msg = { .type = WIRE_ACK };

	if (s->phase == SESSION_FAILED || s->ack_due_ms == 0)
		return;
	if (s->log->guest_bytes - s->acked_log < WIRE_ACK_BYTES && now_ms < s->ack_due_ms)
		return;
	msg.u.ack.seq = s->acked_seq = s->seq;
	msg.u.ack.log_bytes = s->acked_log = s->log->guest_bytes;
	s->ack_due_ms = 0;
	s->io.send(s->io.ctx, &msg);
}

int session_cancel(struct session *s, const struct link_msg *msg, struct err *e)
{
	static const char *const words[] = { NULL, "user", "deadline", "shutdown" };
	int first = s->cancel.reason == 0;

	if (msg->number < 1 || msg->number > 3)
		return err_set(e, "internal", "a cancel of control without a reason");
	snprintf(s->cancel_text, sizeof(s->cancel_text), "%s", msg->text);
	s->cancel.reason = (uint8_t)msg->number;
	s->cancel.grace_ms = msg->grace_ms < 3600000 ? msg->grace_ms : 3600000;
	s->cancel.message = wire_text(s->cancel_text);
	if (s->phase == SESSION_OPEN)
		send_cancel(s);
	if (!first)
		return 0;
	return events_put(s->events, EVENTS_KEEP, "cancel",
			  json_pack("{s:s}", "reason", words[msg->number]), e);
}

/* What the limits left out is said at the end, once, then both files are made durable. */
int session_sync(struct session *s, struct err *e)
{
	if (logfile_settle(s->log, e) < 0)
		return -1;
	if (s->log->full && !s->truncation_said) {
		s->truncation_said = 1;
		if (events_put(s->events, EVENTS_KEEP, "log_truncated",
			       json_pack("{s:I}", "kept_bytes", (json_int_t)s->log->kept_bytes), e) < 0)
			return -1;
	}
	if (logfile_sync(s->log, e) < 0)
		return -1;
	return events_finish(s->events, e);
}

int session_settled(struct session *s, const struct link_totals *artifacts, struct err *e)
{
	if (session_sync(s, e) < 0) {
		session_fail(s, LINK_HOST, e->text);
		return -1;
	}
	if (set_phase(s, SESSION_DONE) < 0)
		return 0;
	s->result.totals = *artifacts;
	s->result.totals.log_bytes = s->log->size_bytes;
	/* Before the ACK: once the guest has it, it reboots, and control must know why. */
	s->io.tell(s->io.ctx, &s->result);
	s->ack_due_ms = 0;
	send_result_ack(s);
	return 0;
}
