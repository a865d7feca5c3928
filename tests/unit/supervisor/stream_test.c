/* SPDX-License-Identifier: Apache-2.0 */
/* stream_test.c - the push parser of bulk streams, cut at every place; sums of a stream. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "stream.h"

static uint8_t input[4096];
static size_t input_n;

static void add(const struct wire_msg *msg)
{
	size_t n;

	assert_int_equal(wire_encode(msg, input + input_n, sizeof(input) - input_n, &n), WIRE_OK);
	input_n += n;
}

static void add_data(const char *text)
{
	struct wire_msg msg = { .type = WIRE_DATA, .u.data.data = wire_text(text) };

	add(&msg);
}

static void items_are_the_same_wherever_the_input_is_cut(void **state)
{
	struct wire_msg end = { .type = WIRE_END, .u.end = { 11, 42 } };
	struct stream_parser sp;

	(void)state;
	input_n = 0;
	add_data("hello ");
	add_data("w");
	add_data("orld");
	add(&end);
	for (size_t piece = 1; piece <= input_n; piece++) {
		char got[32] = "";
		size_t at = 0, n = 0, used;
		int ends = 0;

		stream_init(&sp);
		while (at < input_n) {
			struct stream_out out;
			size_t take = input_n - at < piece ? input_n - at : piece;
			enum stream_item item = stream_next(&sp, input + at, take, &used, &out);

			assert_int_not_equal(item, STREAM_BAD);
			if (item == STREAM_CHUNK) {
				memcpy(got + n, out.chunk.p, out.chunk.n);
				n += out.chunk.n;
			} else if (item == STREAM_MSG) {
				assert_int_equal(out.msg.type, WIRE_END);
				assert_int_equal(out.msg.u.end.xxh3, 42);
				ends++;
			}
			at += used;
		}
		assert_string_equal(got, "hello world");
		assert_int_equal(ends, 1);
	}
}

/* Reading only what is wanted never takes a byte behind the first frame. */
static void want_stops_at_the_end_of_a_frame(void **state)
{
	uint8_t secret[32] = { 1 };
	struct wire_msg open = { .type = WIRE_OPEN,
				 .u.open = { WIRE_MAGIC, 1, WIRE_KIND_TCP, 80, { secret, 32 },
					     { (const uint8_t *)"h.org", 5 } } };
	struct stream_parser sp;
	struct stream_out out;
	size_t at = 0, frame;

	(void)state;
	input_n = 0;
	add(&open);
	frame = input_n;
	add_data("what follows");
	stream_init(&sp);
	for (;;) {
		size_t want = stream_want(&sp), used;
		enum stream_item item;

		assert_in_range(want, 1, frame - at);
		item = stream_next(&sp, input + at, want, &used, &out);
		assert_int_equal(used, want);
		at += used;
		if (item == STREAM_MSG)
			break;
		assert_int_equal(item, STREAM_MORE);
	}
	assert_int_equal(at, frame);
	assert_memory_equal(out.msg.u.open.host.p, "h.org", 5);
}

static enum wire_status why_bad(const uint8_t *bytes, size_t n)
{
	struct stream_parser sp;
	struct stream_out out;
	size_t used;

	stream_init(&sp);
	assert_int_equal(stream_next(&sp, bytes, n, &used, &out), STREAM_BAD);
	return out.why;
}

static void rubbish_is_refused_from_its_head(void **state)
{
	static const uint8_t unknown[] = { 1, 0, 0, 0, 99, 0, 0, 0 };
	static const uint8_t reserved[] = { 5, 0, 0, 0, 19, 0, 1, 0 };
	static const uint8_t huge[] = { 0xff, 0xff, 0xff, 0xff, 19, 0, 0, 0 };
	static const uint8_t none[] = { 4, 0, 0, 0, 19, 0, 0, 0, 0, 0, 0, 0 };
	static const uint8_t more[] = { 5, 0, 0, 0, 19, 0, 0, 0, 2, 0, 0, 0 };
	static const uint8_t less[] = { 6, 0, 0, 0, 19, 0, 0, 0, 1, 0, 0, 0 };
	static const uint8_t tiny[] = { 0, 0, 0, 0, 19, 0, 0, 0, 1, 0, 0, 0 };
	static const uint8_t log[] = { 0, 0, 1, 0, 8, 0, 0, 0 };

	(void)state;
	assert_int_equal(why_bad(unknown, sizeof(unknown)), WIRE_EUNKNOWN);
	assert_int_equal(why_bad(reserved, sizeof(reserved)), WIRE_EVALUE);
	assert_int_equal(why_bad(huge, sizeof(huge)), WIRE_ETOOLONG);
	assert_int_equal(why_bad(none, sizeof(none)), WIRE_EVALUE);
	assert_int_equal(why_bad(more, sizeof(more)), WIRE_ESHORT);
	assert_int_equal(why_bad(less, sizeof(less)), WIRE_ETRAILING);
	assert_int_equal(why_bad(tiny, sizeof(tiny)), WIRE_ESHORT);
	assert_int_equal(why_bad(log, sizeof(log)), WIRE_ETOOLONG); /* no room for it here */
}

static void sums_agree_or_not(void **state)
{
	struct stream_sum sum;
	struct wire_end end;

	(void)state;
	stream_sum_init(&sum);
	stream_sum_add(&sum, "abc", 3);
	stream_sum_add(&sum, "def", 3);
	end = (struct wire_end){ 6, XXH3_64bits("abcdef", 6) };
	assert_int_equal(stream_sum_check(&sum, &end, 0), 0);
	end.total_bytes = 5;
	assert_int_equal(stream_sum_check(&sum, &end, 0), -1);
	end = (struct wire_end){ 6, 0 };
	assert_int_equal(stream_sum_check(&sum, &end, 0), -1);
	assert_int_equal(stream_sum_check(&sum, &end, 1), 0);
	end.xxh3 = 1;
	assert_int_equal(stream_sum_check(&sum, &end, 1), -1);
}

static void a_head_and_its_data_are_a_frame(void **state)
{
	uint8_t frame[STREAM_DATA_HEAD + 5];
	struct wire_msg msg;
	size_t used;

	(void)state;
	stream_data_head(frame, 5);
	memcpy(frame + STREAM_DATA_HEAD, "bytes", 5);
	assert_int_equal(wire_decode(WIRE_FROM_HOST, frame, sizeof(frame), &msg, &used), WIRE_OK);
	assert_int_equal(msg.u.data.data.n, 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(items_are_the_same_wherever_the_input_is_cut),
		cmocka_unit_test(want_stops_at_the_end_of_a_frame),
		cmocka_unit_test(rubbish_is_refused_from_its_head),
		cmocka_unit_test(sums_agree_or_not),
		cmocka_unit_test(a_head_and_its_data_are_a_frame),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
