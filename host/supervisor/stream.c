/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stream.c - push parser of bulk frames, and the sums of a stream. Pure: no I/O, no heap.
 * The grammar is that of PROTOCOL.md section 2; headers are judged by wire_decode alone.
 */
#include "stream.h"

#include <string.h>

void stream_init(struct stream_parser *sp)
{
	sp->have = 0;
	sp->data_left = 0;
}

static uint32_t le32(const uint8_t *p)
{
	return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static int is_data(const struct stream_parser *sp)
{
	return sp->have >= WIRE_HEADER_BYTES && sp->head[4] == WIRE_DATA && sp->head[5] == 0;
}

/* What the head must grow to before it can be judged further. 0: the header is bad, *why says how. */
static size_t head_goal(const struct stream_parser *sp, enum wire_status *why)
{
	struct wire_msg msg;
	size_t whole;

	if (sp->have < WIRE_HEADER_BYTES)
		return WIRE_HEADER_BYTES;
	*why = wire_decode(WIRE_FROM_GUEST, sp->head, WIRE_HEADER_BYTES, &msg, &whole);
	if (*why != WIRE_MORE)
		return 0; /* no message has an empty payload: a header alone is never WIRE_OK */
	if (is_data(sp))
		return STREAM_DATA_HEAD;
	*why = WIRE_ETOOLONG;
	return whole <= STREAM_HEAD_MAX ? whole : 0;
}

size_t stream_want(const struct stream_parser *sp)
{
	enum wire_status why;
	size_t goal = head_goal(sp, &why);

	return goal > sp->have ? goal - sp->have : 1;
}

static enum stream_item bad(struct stream_out *out, enum wire_status why)
{
	out->why = why;
	return STREAM_BAD;
}

/* The head has what it needs: a DATA frame begins, or a whole frame is decoded. */
static enum stream_item head_done(struct stream_parser *sp, struct stream_out *out)
{
	enum wire_status st;
	size_t whole;

	if (is_data(sp)) {
		uint32_t n = le32(sp->head + WIRE_HEADER_BYTES);

		if (n > WIRE_MAX_DATA)
			return bad(out, WIRE_ETOOLONG);
		if (n == 0)
			return bad(out, WIRE_EVALUE);
		if (le32(sp->head) != 4 + n)
			return bad(out, le32(sp->head) < 4 + n ? WIRE_ESHORT : WIRE_ETRAILING);
		sp->data_left = n;
		sp->have = 0;
		return STREAM_MORE;
	}
	st = wire_decode(WIRE_FROM_GUEST, sp->head, sp->have, &out->msg, &whole);
	if (st != WIRE_OK)
		return bad(out, st);
	sp->have = 0;
	return STREAM_MSG;
}

enum stream_item stream_next(struct stream_parser *sp, const uint8_t *buf, size_t n, size_t *used,
			     struct stream_out *out)
{
	*used = 0;
	while (*used < n) {
		size_t goal, take, left = n - *used;
		enum stream_item item;

		if (sp->data_left) {
			take = left < sp->data_left ? left : sp->data_left;
			out->chunk.p = buf + *used;
			out->chunk.n = (uint32_t)take;
			sp->data_left -= (uint32_t)take;
			*used += take;
			return STREAM_CHUNK;
		}
		goal = head_goal(sp, &out->why);
		if (goal == 0)
			return STREAM_BAD;
		take = goal - sp->have < left ? goal - sp->have : left;
		memcpy(sp->head + sp->have, buf + *used, take);
		sp->have += (uint32_t)take;
		*used += take;
		goal = head_goal(sp, &out->why);
		if (goal == 0)
			return STREAM_BAD;
		if (sp->have < goal)
			continue;
		item = head_done(sp, out);
		if (item != STREAM_MORE)
			return item;
	}
	return STREAM_MORE;
}

void stream_data_head(uint8_t head[STREAM_DATA_HEAD], uint32_t n)
{
	uint8_t none = 0;
	struct wire_msg msg = { .type = WIRE_DATA };
	size_t used;

	/* The view is not read: only its length goes into the head. */
	msg.u.data.data.p = &none;
	msg.u.data.data.n = n;
	wire_encode_head(&msg, head, STREAM_DATA_HEAD, &used);
}

void stream_sum_init(struct stream_sum *sum)
{
	sum->bytes = 0;
	XXH3_64bits_reset(&sum->xxh3);
}

void stream_sum_add(struct stream_sum *sum, const void *p, size_t n)
{
	sum->bytes += n;
	XXH3_64bits_update(&sum->xxh3, p, n);
}

int stream_sum_check(const struct stream_sum *sum, const struct wire_end *end, int zero_ok)
{
	if (end->total_bytes != sum->bytes)
		return -1;
	if (zero_ok && end->xxh3 == 0)
		return 0;
	return end->xxh3 == XXH3_64bits_digest(&sum->xxh3) ? 0 : -1;
}
