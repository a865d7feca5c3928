/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire_test.c - the codec against the golden vectors of protocol/vectors, frames cut at every
 * place, and the caps. Reads the files from the top of the tree.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wire.h"

#define FRAME_MAX 8192

static json_t *load(const char *path)
{
	json_error_t je;
	json_t *v = json_load_file(path, 0, &je);

	if (!v)
		fail_msg("%s: %s", path, je.text);
	assert_true(json_array_size(v) > 30);
	return v;
}

static const char *text_of(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	if (!s)
		fail_msg("no %s", key);
	return s;
}

static size_t unhex(const char *hex, uint8_t *out, size_t cap)
{
	size_t n = strlen(hex) / 2;

	assert_true(n <= cap);
	for (size_t i = 0; i < n; i++) {
		char two[3] = { hex[2 * i], hex[2 * i + 1], 0 };
		char *end;

		out[i] = (uint8_t)strtoul(two, &end, 16);
		assert_true(*end == '\0');
	}
	return n;
}

static enum wire_sender sender(const json_t *o)
{
	return strcmp(text_of(o, "from"), "guest") == 0 ? WIRE_FROM_GUEST : WIRE_FROM_HOST;
}

static uint64_t number(const json_t *v)
{
	if (json_is_string(v))
		return strtoull(json_string_value(v), NULL, 10);
	assert_true(json_is_integer(v));
	return (uint64_t)json_integer_value(v);
}

/* The field of a decoded message is what the vector says. */
static void check_field(const char *name, const struct wire_field *f, const struct wire_msg *msg,
			const json_t *want)
{
	const char *at = (const char *)msg + f->offset;
	uint8_t bytes[FRAME_MAX];
	struct wire_bytes view;
	uint64_t got = 0;
	static const size_t width[] = { [WIRE_U8] = 1, [WIRE_U16] = 2, [WIRE_U32] = 4,
					[WIRE_U64] = 8, [WIRE_I32] = 4 };

	if (!want)
		fail_msg("%s: no field %s", name, f->name);
	if (f->type == WIRE_TEXT || f->type == WIRE_BYTES) {
		size_t n = json_string_length(want);

		memcpy(&view, at, sizeof(view));
		if (f->type == WIRE_BYTES)
			n = unhex(json_string_value(want), bytes, sizeof(bytes));
		else
			memcpy(bytes, json_string_value(want), n);
		if (view.n != n || (n && memcmp(view.p, bytes, n) != 0))
			fail_msg("%s: field %s differs", name, f->name);
		return;
	}
	memcpy(&got, at, width[f->type]); /* little-endian machines */
	if (f->type == WIRE_I32)
		got = (uint64_t)(int64_t)(int32_t)got;
	if (got != number(want))
		fail_msg("%s: field %s is %llu", name, f->name, (unsigned long long)got);
}

static void good_vectors_decode_and_encode_to_the_same_bytes(void **state)
{
	json_t *all = load("protocol/vectors/good.json"), *o;
	int seen[WIRE_RESET + 1] = { 0 };
	size_t i;

	(void)state;
	json_array_foreach(all, i, o) {
		const char *name = text_of(o, "name");
		uint8_t frame[FRAME_MAX], again[FRAME_MAX];
		size_t n = unhex(text_of(o, "hex"), frame, sizeof(frame)), used = 0;
		const struct wire_spec *spec;
		struct wire_msg msg;

		if (wire_decode(sender(o), frame, n, &msg, &used) != WIRE_OK || used != n)
			fail_msg("%s: not decoded", name);
		spec = wire_spec_of(msg.type);
		assert_string_equal(spec->name, text_of(o, "message"));
		seen[msg.type] = 1;
		assert_int_equal(spec->fields, json_object_size(json_object_get(o, "fields")));
		for (unsigned k = 0; k < spec->fields; k++)
			check_field(name, &spec->field[k], &msg,
				    json_object_get(json_object_get(o, "fields"), spec->field[k].name));
		if (wire_encode(&msg, again, sizeof(again), &used) != WIRE_OK || used != n ||
		    memcmp(frame, again, n) != 0)
			fail_msg("%s: encodes to other bytes", name);
		assert_int_equal(wire_encode(&msg, again, n - 1, &used), WIRE_ENOSPACE);
	}
	for (unsigned t = 1; t <= WIRE_RESET; t++)
		if (!seen[t])
			fail_msg("no vector of %s", wire_spec_of((uint16_t)t)->name);
	json_decref(all);
}

static void a_cut_frame_asks_for_more_and_says_how_much(void **state)
{
	json_t *all = load("protocol/vectors/good.json"), *o;
	size_t i;

	(void)state;
	json_array_foreach(all, i, o) {
		uint8_t frame[FRAME_MAX];
		size_t n = unhex(text_of(o, "hex"), frame, sizeof(frame)), used;
		struct wire_msg msg;

		for (size_t cut = 0; cut < n; cut++) {
			uint8_t *part = malloc(cut ? cut : 1); /* exact, so that a checker sees a read beyond */

			memcpy(part, frame, cut);
			assert_int_equal(wire_decode(sender(o), part, cut, &msg, &used), WIRE_MORE);
			assert_int_equal(used, cut < WIRE_HEADER_BYTES ? WIRE_HEADER_BYTES : n);
			free(part);
		}
	}
	json_decref(all);
}

static enum wire_status status_of(const char *reason)
{
	static const struct {
		const char *word;
		enum wire_status st;
	} words[] = { { "unknown", WIRE_EUNKNOWN }, { "too long", WIRE_ETOOLONG },
		      { "short", WIRE_ESHORT },	    { "trailing", WIRE_ETRAILING },
		      { "value", WIRE_EVALUE },	    { "text", WIRE_ETEXT } };

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (strcmp(words[i].word, reason) == 0)
			return words[i].st;
	fail_msg("unknown reason %s", reason);
	return WIRE_OK;
}

static void refused_vectors_are_refused_for_their_reason(void **state)
{
	json_t *all = load("protocol/vectors/refused.json"), *o;
	size_t i;

	(void)state;
	json_array_foreach(all, i, o) {
		uint8_t frame[2 * FRAME_MAX];
		size_t n = unhex(text_of(o, "hex"), frame, sizeof(frame)), used = 1;
		struct wire_msg msg;
		enum wire_status st = wire_decode(sender(o), frame, n, &msg, &used);

		if (st != status_of(text_of(o, "reason")))
			fail_msg("%s: %s, not '%s'", text_of(o, "name"), wire_strerror(st),
				 text_of(o, "reason"));
		assert_int_equal(used, 0);
	}
	json_decref(all);
}

static void the_encoder_refuses_what_the_decoder_would(void **state)
{
	struct wire_msg msg = { .type = WIRE_NOTE };
	uint8_t out[FRAME_MAX];
	size_t n;

	(void)state;
	msg.u.note.seq = 1;
	assert_int_equal(wire_encode(&msg, out, sizeof(out), &n), WIRE_EVALUE); /* no key */
	msg.u.note.key = wire_text("k");
	msg.u.note.value = wire_text("\xff");
	assert_int_equal(wire_encode(&msg, out, sizeof(out), &n), WIRE_ETEXT);
	msg.u.note.value = wire_text("v");
	assert_int_equal(wire_encode(&msg, out, sizeof(out), &n), WIRE_OK);
	msg.u.note.seq = 0;
	assert_int_equal(wire_encode(&msg, out, sizeof(out), &n), WIRE_EVALUE);
	msg.type = 23;
	assert_int_equal(wire_encode(&msg, out, sizeof(out), &n), WIRE_EUNKNOWN);
}

static void head_and_data_make_the_whole_frame(void **state)
{
	struct wire_msg msg = { .type = WIRE_LOG };
	const uint8_t data[] = "some bytes of a log";
	uint8_t whole[128], head[128];
	size_t n, h;

	(void)state;
	msg.u.log.seq = 3;
	msg.u.log.data = (struct wire_bytes){ data, sizeof(data) };
	assert_int_equal(wire_encode(&msg, whole, sizeof(whole), &n), WIRE_OK);
	assert_int_equal(wire_encode_head(&msg, head, sizeof(head), &h), WIRE_OK);
	assert_int_equal(h + sizeof(data), n);
	assert_memory_equal(whole, head, h);
	assert_memory_equal(whole + h, data, sizeof(data));
}

static void caps_hold_the_largest_frames(void **state)
{
	(void)state;
	for (const struct wire_spec *s = wire_specs; s->name; s++) {
		assert_true(wire_payload_max(s) + WIRE_HEADER_BYTES <= WIRE_MAX_FRAME);
		if (s->sender & WIRE_FROM_GUEST)
			assert_true(wire_payload_max(s) + WIRE_HEADER_BYTES <= WIRE_MAX_GUEST_FRAME);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good_vectors_decode_and_encode_to_the_same_bytes),
		cmocka_unit_test(a_cut_frame_asks_for_more_and_says_how_much),
		cmocka_unit_test(refused_vectors_are_refused_for_their_reason),
		cmocka_unit_test(the_encoder_refuses_what_the_decoder_would),
		cmocka_unit_test(head_and_data_make_the_whole_frame),
		cmocka_unit_test(caps_hold_the_largest_frames),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
