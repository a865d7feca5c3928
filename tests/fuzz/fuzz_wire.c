/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_wire.c - wire_decode on any bytes; what it accepts must encode to the same bytes. */
#include <stdlib.h>
#include <string.h>

#include "wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void one(enum wire_sender from, const uint8_t *data, size_t size)
{
	struct wire_msg msg;
	size_t used, n;
	enum wire_status st = wire_decode(from, data, size, &msg, &used);
	uint8_t *out;

	if (st == WIRE_MORE && (used <= size && size >= WIRE_HEADER_BYTES))
		abort();
	if (st == WIRE_MORE && used > WIRE_MAX_FRAME)
		abort();
	if (st != WIRE_OK)
		return;
	out = malloc(used);
	if (!out || used > size || wire_encode(&msg, out, used, &n) != WIRE_OK || n != used ||
	    memcmp(out, data, n) != 0)
		abort();
	free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	one(WIRE_FROM_GUEST, data, size);
	one(WIRE_FROM_HOST, data, size);
	return 0;
}
