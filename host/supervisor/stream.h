/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stream.h - the frames of a bulk stream as a push parser (PROTOCOL.md, sections 2 and 5).
 *
 * DATA is handed on as it comes, in pieces, without waiting for the whole frame; so a stream
 * costs the host one small head and no buffer of 64 KiB. Every other frame is collected
 * and decoded by wire_decode. Input may be cut anywhere.
 */
#ifndef KILN_STREAM_H
#define KILN_STREAM_H

#include <stddef.h>
#include <stdint.h>
#define XXH_STATIC_LINKING_ONLY /* the state is embedded, not allocated */
#include <xxhash.h>

#include "wire.h"

#define STREAM_DATA_HEAD 12u   /* frame header and the length of the bytes */
#define STREAM_HEAD_MAX  1104u /* the largest frame but DATA that a guest sends here: RESET, and HELLO */

enum stream_item {
	STREAM_MORE,  /* all input is used up */
	STREAM_CHUNK, /* bytes of DATA */
	STREAM_MSG,   /* a whole frame that is not DATA */
	STREAM_BAD    /* rubbish: the connection is beyond repair */
};

struct stream_parser {
	uint32_t have;      /* bytes in head */
	uint32_t data_left; /* of the DATA frame that is being handed on */
	uint8_t head[STREAM_HEAD_MAX];
};

struct stream_out {
	struct wire_bytes chunk; /* STREAM_CHUNK: a view into the input */
	struct wire_msg msg;     /* STREAM_MSG: views into the parser, until the next call */
	enum wire_status why;    /* STREAM_BAD */
};

void stream_init(struct stream_parser *sp);

/*
 * How many bytes may be read from the socket without touching what follows the current
 * frame's head: for connections that are handed on after their first frame. Never 0.
 */
size_t stream_want(const struct stream_parser *sp);

/* Take from buf[0..n); *used says how much. n may be 0. Call again until STREAM_MORE or STREAM_BAD. */
enum stream_item stream_next(struct stream_parser *sp, const uint8_t *buf, size_t n, size_t *used,
			     struct stream_out *out);

/* Head of a DATA frame of n bytes, 1 to WIRE_MAX_DATA. */
void stream_data_head(uint8_t head[STREAM_DATA_HEAD], uint32_t n);

/* One direction's byte count and XXH3-64. */
struct stream_sum {
	uint64_t bytes;
	XXH3_state_t xxh3;
};

void stream_sum_init(struct stream_sum *sum);
void stream_sum_add(struct stream_sum *sum, const void *p, size_t n);

/* 0 when END agrees with what was counted, -1 when not. zero_ok: an xxh3 of 0 is not checked. */
int stream_sum_check(const struct stream_sum *sum, const struct wire_end *end, int zero_ok);

#endif
