/* SPDX-License-Identifier: Apache-2.0 */
/*
 * link.h - the control connection: dialling the host, HELLO, bytes out and frames in.
 *
 * The link knows connections and frames, not what the messages mean. Its socket is
 * non-blocking and watched edge-triggered: reading and writing go on until EAGAIN.
 */
#ifndef KILN_AGENT_LINK_H
#define KILN_AGENT_LINK_H

#include <stddef.h>
#include <stdint.h>

#include "fail.h"
#include "journal.h"
#include "wire.h"

#define LINK_HOST_CID 2u
#define LINK_BUFFER_BYTES (4u << 20)
#define LINK_IN_BYTES 8192u /* frames after JOB are small */
#define LINK_REDIAL_FIRST_MS 100u
#define LINK_REDIAL_MAX_MS 1000u

enum link_state {
	LINK_DOWN,       /* waits for redial_at_ms */
	LINK_CONNECTING,
	LINK_HELLO,      /* HELLO is on its way, WELCOME is awaited */
	LINK_UP
};

struct link {
	int fd, epoll_fd;
	uint32_t port;          /* of the host */
	enum link_state state;
	int writable;
	uint64_t redial_at_ms, last_sent_ms; /* monotonic */
	uint64_t quiet_since_ms; /* since then the host owes an answer */
	uint32_t failures;      /* dials in a row that brought no WELCOME */
	uint32_t send_max_bytes, heartbeat_ms;
	int has_secret;
	uint8_t secret[WIRE_MAX_SECRET];
	uint8_t *in;            /* WIRE_MAX_FRAME until link_shrink, then small[] */
	size_t in_cap, in_len;
	uint8_t small[LINK_IN_BYTES];
	uint8_t out[512];       /* HELLO and HEARTBEAT: not journal messages */
	size_t out_len, out_at;
};

/* epoll_fd watches the socket under LOOP_KEY_LINK. Maps the buffer for JOB. */
int link_init(struct link *l, int epoll_fd, uint32_t port, struct fail *f);

/* Begin to dial now; returns at once. A failure sets redial_at_ms. */
void link_dial(struct link *l, uint64_t now_ms);

/* The socket reported something: end the connecting, note that it is writable. */
void link_on_event(struct link *l, uint32_t events, uint64_t next_seq, uint64_t now_ms);

/*
 * Read what is there. Returns 1 when bytes came, 0 when none are there, -1 when the connection
 * is gone (link_lost was called).
 */
int link_read(struct link *l, uint64_t now_ms);

/*
 * Take the next frame of those read. 1: *msg is filled (views into the buffer, valid until
 * link_taken). 0: none is whole. -1: rubbish; the connection was closed.
 */
int link_next(struct link *l, struct wire_msg *msg, size_t *used, uint64_t now_ms);
void link_taken(struct link *l, size_t used);

/* Send what is waiting: own frames, then (when UP) the journal, until the socket is full. */
void link_flush(struct link *l, struct journal *j, uint64_t now_ms);

/* 1 when a HEARTBEAT can go out: see link_heartbeat. */
int link_idle(const struct link *l, const struct journal *j);

/* Queue a HEARTBEAT; only when the journal is sent to its end and nothing else waits. */
void link_heartbeat(struct link *l, const struct journal *j, uint64_t at_ms, uint64_t memory_bytes,
		    uint64_t scratch_bytes);

/* WELCOME came: the limits hold, the failures are forgotten. */
void link_welcome(struct link *l, const struct wire_welcome *w);

/* JOB was dealt with and taken: wipe and give back its buffer; what came behind it stays. */
void link_shrink(struct link *l);

/*
 * The host acknowledges within 200 ms. When it has not said a word for heartbeat_ms although
 * something waits for its answer, the connection died without anybody being told:
 * vhost-device-vsock can forget a connection that its host's side closed under load. Then
 * dial again; a host that was only slow replaces the old connection by the new one.
 */
void link_watch(struct link *l, const struct journal *j, uint64_t now_ms);

/* When link_watch would find the connection dead; UINT64_MAX when the host owes nothing. */
uint64_t link_watch_at_ms(const struct link *l, const struct journal *j);

/* Close the connection; dial again after the pause that section 3 names. */
void link_lost(struct link *l, uint64_t now_ms);

#endif
