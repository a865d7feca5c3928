/* SPDX-License-Identifier: Apache-2.0 */
/*
 * journal.h - the journal messages that the host has not acknowledged (PROTOCOL.md, section 3).
 *
 * A ring of whole encoded frames, 1 MiB, fixed. Messages get their seq here; an
 * acknowledgement drops frames from the front; a new connection sends again from there.
 */
#ifndef KILN_AGENT_JOURNAL_H
#define KILN_AGENT_JOURNAL_H

#include <stddef.h>
#include <stdint.h>

#include "fail.h"
#include "wire.h"

#define JOURNAL_BYTES WIRE_UNACKED_MAX

/*
 * What each kind of writer leaves free for those above it: LOG stops first, then the lines
 * of workers, then new steps; the closing messages of what has begun always find room.
 */
#define JOURNAL_KEEP_LOG 65536u
#define JOURNAL_KEEP_LINES 49152u
#define JOURNAL_KEEP_STEPS 32768u

struct journal {
	uint8_t *ring;        /* mapped twice in a row: any frame is contiguous */
	uint64_t tail, sent, head; /* byte positions; tail <= sent <= head <= tail + JOURNAL_BYTES */
	uint64_t next_seq;    /* of the next message */
	uint64_t log_bytes;   /* in LOG messages so far */
};

/* Map the ring; it is not inherited by forked children. */
int journal_init(struct journal *j, struct fail *f);
void journal_fini(struct journal *j);

/* Free bytes. */
size_t journal_room(const struct journal *j);

/*
 * Append a journal message; its seq (and LOG's offset) is filled in. Returns 0, or -1 when
 * it does not fit or has a field out of its limits: both are errors of the caller.
 */
int journal_put(struct journal *j, struct wire_msg *msg);

/*
 * Where the data of a LOG message of at most frame_max bytes (header included) may be read
 * to, so that log bytes are copied once. *cap gets the room; 0 when the log must wait.
 * journal_log_commit makes the message of the first n bytes written there (n <= *cap, n > 0).
 */
uint8_t *journal_log_reserve(struct journal *j, size_t frame_max, size_t *cap);
void journal_log_commit(struct journal *j, size_t n);

/* The bytes to be sent next, contiguous; journal_sent says how many went out. */
size_t journal_unsent(const struct journal *j, const uint8_t **p);
void journal_sent(struct journal *j, size_t n);

/* The lowest seq that can still be sent: HELLO's next_seq. */
uint64_t journal_first_seq(const struct journal *j);

/* Drop what ends with seq. -1 when the host acknowledges what was not sent whole. */
int journal_ack(struct journal *j, uint64_t seq);

/* A new connection: drop up to acked_seq, send all the rest again. -1 as above. */
int journal_replay(struct journal *j, uint64_t acked_seq);

/*
 * Look for needle in the newest back_bytes of the ring, acknowledged or not. 1 when found.
 * For the one question after a failed step; not on the path of the log.
 */
int journal_recent_has(const struct journal *j, size_t back_bytes, const char *needle);

#endif
