/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_conduit_stream.c - the push parser of bulk streams: the first byte says how the rest is
 * cut; cut or whole, the same items come out.
 */
#include <stdlib.h>
#include <string.h>

#include "stream.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct outcome {
	uint64_t chunk_bytes, messages, types;
	int bad;
	enum wire_status why;
	struct stream_sum sum;
};

static void run(const uint8_t *data, size_t size, size_t piece, struct outcome *o)
{
	struct stream_parser sp;
	struct stream_out out;
	size_t at = 0;

	memset(o, 0, sizeof(*o));
	stream_init(&sp);
	stream_sum_init(&o->sum);
	while (at < size && !o->bad) {
		size_t n = size - at < piece ? size - at : piece, used;

		if (stream_want(&sp) == 0)
			abort();
		switch (stream_next(&sp, data + at, n, &used, &out)) {
		case STREAM_CHUNK:
			if (out.chunk.n == 0 || out.chunk.p < data + at ||
			    out.chunk.p + out.chunk.n > data + at + n)
				abort();
			o->chunk_bytes += out.chunk.n;
			stream_sum_add(&o->sum, out.chunk.p, out.chunk.n);
			break;
		case STREAM_MSG:
			o->messages++;
			o->types = o->types * 31 + out.msg.type;
			break;
		case STREAM_BAD:
			o->bad = 1;
			o->why = out.why;
			break;
		case STREAM_MORE:
			if (used != n)
				abort();
			break;
		}
		if (used > n || (used == 0 && !o->bad))
			abort();
		at += used;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct outcome whole, cut;

	if (size < 1)
		return 0;
	run(data + 1, size - 1, size, &whole);
	run(data + 1, size - 1, 1 + data[0], &cut);
	if (whole.chunk_bytes != cut.chunk_bytes || whole.messages != cut.messages ||
	    whole.types != cut.types || whole.bad != cut.bad || whole.why != cut.why ||
	    XXH3_64bits_digest(&whole.sum.xxh3) != XXH3_64bits_digest(&cut.sum.xxh3))
		abort();
	return 0;
}
