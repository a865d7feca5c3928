/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_conduit_session.c - a control connection of any bytes: frames through the codec into the
 * session, with stubs for the guest's socket and for control. Log and events go to /dev/null.
 * To get past HELLO and the journal's numbers, both are put right on every other input.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "conduit_session.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct world {
	struct session s;
	struct logfile log;
	struct events events;
	int told_end, results;
};

static void on_send(void *ctx, const struct wire_msg *msg)
{
	static uint8_t out[WIRE_MAX_FRAME];
	size_t n;

	if (wire_encode(msg, out, sizeof(out), &n) != WIRE_OK)
		abort(); /* the host would send rubbish */
}

static void on_tell(void *ctx, const struct link_msg *msg)
{
	struct world *w = ctx;

	if (msg->kind == LINK_BROKEN || msg->kind == LINK_HOST)
		w->told_end++;
	if (msg->kind == LINK_RESULT)
		w->results++;
	if (w->told_end > 1 || w->results > 1 || memchr(msg->text, 0, sizeof(msg->text)) == NULL)
		abort();
}

static void on_settle(void *ctx)
{
	struct world *w = ctx;
	const struct link_totals none = { 0 };
	struct err e;

	session_settled(&w->s, &none, &e);
}

static void put_right(struct world *w, struct wire_msg *msg)
{
	if (msg->type == WIRE_HELLO && w->s.phase != SESSION_NEW)
		msg->u.hello.secret = (struct wire_bytes){ w->s.secret, sizeof(w->s.secret) };
	if (msg->type == WIRE_HELLO)
		msg->u.hello.next_seq = 1;
	if ((msg->type >= WIRE_STATE && msg->type <= WIRE_LOG) || msg->type == WIRE_RESULT ||
	    msg->type == WIRE_NOTE)
		msg->u.state.seq = w->s.seq + 1;
	if (msg->type == WIRE_LOG)
		msg->u.log.offset = w->log.guest_bytes;
	if (msg->type == WIRE_RESULT)
		msg->u.result.log_bytes = w->log.guest_bytes;
}

static void frames(struct world *w, const uint8_t *data, size_t size, int right)
{
	size_t used;

	for (uint64_t now = 1; size > 0; now += 70) {
		struct wire_msg msg;
		struct err e = { 0 };
		uint16_t code;

		if (wire_decode(WIRE_FROM_GUEST, data, size, &msg, &used) != WIRE_OK)
			return;
		if (right)
			put_right(w, &msg);
		if (msg.type == WIRE_HELLO && session_hello(&w->s, &msg.u.hello, &code, &e) == 0)
			session_welcome(&w->s, &msg.u.hello, now, &e);
		else if (msg.type != WIRE_HELLO && w->s.phase != SESSION_NEW)
			session_frame(&w->s, &msg, now, &e);
		if (logfile_flush(&w->log, &e) < 0)
			abort();
		session_ack(&w->s, now);
		data += used;
		size -= used;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct world w;
	static int null = -1;
	char spec[] = "{}", ca[] = "";
	struct supjob job = { .factor = 1, .spec = spec, .spec_bytes = 2, .ca_bundle = ca,
			      .deadlines_ms = { .heartbeat = 30000 } };
	struct session_io io = { &w, on_send, on_tell, on_settle };
	struct err e;

	if (null < 0)
		null = open("/dev/null", O_WRONLY | O_CLOEXEC);
	memset(&w, 0, sizeof(w));
	logfile_init(&w.log, null, size & 1 ? 1000 : 0);
	events_init(&w.events, null, 50);
	if (session_init(&w.s, &io, &job, &w.log, &w.events, 0, &e) < 0)
		abort();
	frames(&w, data, size, size & 2);
	if (session_sync(&w.s, &e) < 0)
		abort();
	return 0;
}
