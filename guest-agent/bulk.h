/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bulk.h - the agent's end of a bulk stream, blocking (PROTOCOL.md, section 5).
 *
 * Used for artifacts and source, where a process does nothing else meanwhile. The proxy, which
 * holds many streams at once, has its own (proxy_conn.h). Calls go in the order
 *
 *	artifacts: bulk_open  bulk_write…  bulk_end   bulk_await_ack  bulk_free
 *	source:    bulk_open  bulk_read…   (END)      bulk_send_ack   bulk_free
 */
#ifndef KILN_AGENT_BULK_H
#define KILN_AGENT_BULK_H

#include <stddef.h>
#include <stdint.h>

#include "fail.h"

struct bulk;

struct bulk_want {
	uint8_t kind;            /* enum wire_kind */
	const uint8_t *secret;   /* WIRE_MAX_SECRET bytes of JOB; not kept */
	uint32_t send_max_bytes; /* of WELCOME: the most that one send() may carry; 0: the default */
	const char *host;        /* kind tcp, else NULL or "" */
	uint16_t port;
};

struct bulk_ack {
	uint64_t total_bytes;
	uint32_t entries, refused;
};

/*
 * Say OPEN on a connected stream socket and await the answer. fd belongs to the stream from
 * now on, on failure too. *total_bytes (may be NULL) is that of OPENED. REFUSED and a broken
 * connection are failures of class agent; REFUSED for a limit is class user.
 */
int bulk_open(int fd, const struct bulk_want *want, struct bulk **out, uint64_t *total_bytes,
	      struct fail *f);

/* Send n bytes as DATA frames of at most send_max_bytes each. n may be 0. */
int bulk_write(struct bulk *b, const void *p, size_t n, struct fail *f);

/* Send END. */
int bulk_end(struct bulk *b, struct fail *f);

/* Wait for STREAM_ACK; fails when it acknowledges another number of bytes than was sent. */
int bulk_await_ack(struct bulk *b, struct bulk_ack *ack, struct fail *f);

/*
 * The next DATA: *p points into the stream's buffer, valid until the next call. *n is 0 after
 * an END whose count and XXH3-64 fit what was received; a wrong END is answered with RESET
 * code 2 and is a failure.
 */
int bulk_read(struct bulk *b, const uint8_t **p, size_t *n, struct fail *f);

/* Send STREAM_ACK for what was read. */
int bulk_send_ack(struct bulk *b, uint32_t entries, uint32_t refused, struct fail *f);

/* Tell the host why the stream ends before its END; errors are ignored. */
void bulk_reset(struct bulk *b, uint16_t code, const char *message);

/* The most data that one frame carries: writing multiples of it wastes no frame. */
size_t bulk_data_max(const struct bulk *b);

/* Bytes of DATA sent and received so far. */
uint64_t bulk_sent_bytes(const struct bulk *b);
uint64_t bulk_received_bytes(const struct bulk *b);

/* Close the socket and free. b may be NULL. */
void bulk_free(struct bulk *b);

#endif
