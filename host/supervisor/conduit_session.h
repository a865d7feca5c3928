/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conduit_session.h - what the agent says on the control connection, and what is written of
 * it: the journal of PROTOCOL.md section 3. Knows no socket: frames come in decoded, answers
 * go out through session_io, so that tests and the fuzzer drive it with stubs.
 */
#ifndef KILN_CONDUIT_SESSION_H
#define KILN_CONDUIT_SESSION_H

#include "err.h"
#include "events.h"
#include "link.h"
#include "logfile.h"
#include "supjob.h"
#include "wire.h"

#define SESSION_STEPS_MAX 1024u /* the index of STEP_BEGIN ends at 1023 */

struct session_io {
	void *ctx;
	void (*send)(void *ctx, const struct wire_msg *msg);  /* to the guest; lost when it is gone */
	void (*tell)(void *ctx, const struct link_msg *msg);  /* to control */
	void (*settle)(void *ctx); /* RESULT came: finish the artifacts, then call session_settled */
};

enum session_phase {
	SESSION_NEW,      /* no HELLO yet */
	SESSION_OPEN,     /* bound: the journal runs */
	SESSION_SETTLING, /* RESULT came, artifacts and files are being finished */
	SESSION_DONE,     /* RESULT_ACK was sent */
	SESSION_FAILED,   /* broken by the guest or by the host's disk: nothing is believed any more */
	SESSION_PHASE_COUNT
};

struct session { /* fields belong to conduit_session.c; read phase, secret, state */
	struct session_io io;
	const struct supjob *job;
	struct logfile *log;
	struct events *events;
	enum session_phase phase;
	uint8_t secret[WIRE_MAX_SECRET], entropy[WIRE_MAX_ENTROPY];
	uint64_t begun_ms;              /* monotonic: the listener was ready */
	uint64_t seq, acked_seq, acked_log;
	uint64_t ack_due_ms;            /* monotonic; 0: nothing to acknowledge */
	uint8_t state;                  /* enum wire_state, 0 before the first */
	int step_open, truncation_said;
	uint32_t step_index, steps;
	struct link_msg result;         /* filled by RESULT, sent when all is settled */
	char commit[65], step_name[129];
	struct wire_cancel cancel;      /* reason 0: none asked for */
	char cancel_text[LINK_TEXT_BYTES];
};

/* now_ms: monotonic. Draws secret and entropy with getrandom. Code "internal". */
int session_init(struct session *s, const struct session_io *io, const struct supjob *job,
		 struct logfile *log, struct events *events, uint64_t now_ms, struct err *e);

/*
 * HELLO came on some connection. 0: accepted; the caller makes that connection the control
 * connection, then calls session_welcome. -1: refused; *code is for ERROR, e->text its words;
 * e->code "broken" when the build cannot go on (no common version), else "refused".
 */
int session_hello(struct session *s, const struct wire_hello *hello, uint16_t *code, struct err *e);

/* Answer the accepted HELLO: WELCOME, then what is due: JOB, CANCEL, RESULT_ACK. Code "io". */
int session_welcome(struct session *s, const struct wire_hello *hello, uint64_t now_ms,
		    struct err *e);

/*
 * A frame of the bound control connection. Codes: "protocol": the agent broke the rules (code 2);
 * "gave_up": it sent ERROR; "io": the host's disk. After each the session is failed.
 */
int session_frame(struct session *s, const struct wire_msg *msg, uint64_t now_ms, struct err *e);

/*
 * Acknowledge, when 256 KiB or ack_due_ms are reached, what has been written down. Call
 * after each batch of frames, with the log flushed, and at ack_due_ms.
 */
void session_ack(struct session *s, uint64_t now_ms);

/* Control wants the build cancelled: kept, sent now and after each later WELCOME. Code "io". */
int session_cancel(struct session *s, const struct link_msg *msg, struct err *e);

/* The artifacts are final. Syncs log and events, tells control, sends RESULT_ACK. Code "io". */
int session_settled(struct session *s, const struct link_totals *artifacts, struct err *e);

/* End the log (waiting lines, what was left out) and sync log and events. Code "io". */
int session_sync(struct session *s, struct err *e);

/* The build cannot go on: kind LINK_BROKEN or LINK_HOST, told to control once. */
void session_fail(struct session *s, enum link_kind kind, const char *text);

/* Whether this is the secret of JOB, in constant time. */
int session_secret_ok(const struct session *s, struct wire_bytes secret);

#endif
