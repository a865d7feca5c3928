/* SPDX-License-Identifier: Apache-2.0 */
/* events_test.c - one JSON object a line, stamps, the cap, strings of the guest. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "events.h"

static struct events ev;

static json_t *line_of(unsigned which, unsigned *lines)
{
	static char text[262144];
	ssize_t n = pread(ev.fd, text, sizeof(text) - 1, 0);
	json_t *found = NULL;
	char *at = text;

	assert_true(n >= 0);
	text[n] = '\0';
	for (*lines = 0; *at; (*lines)++) {
		char *nl = strchr(at, '\n');

		assert_non_null(nl);
		*nl = '\0';
		if (*lines == which)
			found = json_loads(at, 0, NULL);
		at = nl + 1;
	}
	assert_non_null(found);
	return found;
}

static void events_are_stamped_and_in_order(void **state)
{
	unsigned lines;
	struct err e;
	json_t *o;

	(void)state;
	events_init(&ev, memfd_create("events", 0), 0);
	assert_int_equal(events_put(&ev, EVENTS_KEEP, "state", json_pack("{s:s}", "state", "x"), &e), 0);
	assert_int_equal(events_put_text(&ev, "{\"type\":\"vm\",\"seq\":99,\"vmm\":\"qemu\"}", &e), 0);
	o = line_of(1, &lines);
	assert_int_equal(lines, 2);
	assert_int_equal(json_integer_value(json_object_get(o, "seq")), 2);
	assert_true(json_integer_value(json_object_get(o, "at_ms")) > 1500000000000);
	assert_string_equal(json_string_value(json_object_get(o, "type")), "vm");
	assert_string_equal(json_string_value(json_object_get(o, "vmm")), "qemu");
	json_decref(o);
}

static void what_is_no_event_is_refused(void **state)
{
	struct err e = { 0 };

	(void)state;
	events_init(&ev, memfd_create("events", 0), 0);
	assert_int_equal(events_put_text(&ev, "not json", &e), -1);
	assert_int_equal(events_put_text(&ev, "[]", &e), -1);
	assert_int_equal(events_put_text(&ev, "{\"type\":7}", &e), -1);
	assert_int_equal(events_put(&ev, EVENTS_KEEP, "x", NULL, &e), -1);
	assert_string_equal(e.code, "internal");
	assert_int_equal(ev.seq, 0);
}

static void capped_events_are_counted_at_the_end(void **state)
{
	unsigned lines;
	struct err e;
	json_t *o;

	(void)state;
	events_init(&ev, memfd_create("events", 0), 3);
	for (int i = 0; i < 10; i++)
		assert_int_equal(events_put(&ev, EVENTS_CAPPED, "note", json_object(), &e), 0);
	assert_int_equal(events_put(&ev, EVENTS_KEEP, "state", json_object(), &e), 0);
	assert_int_equal(events_finish(&ev, &e), 0);
	assert_int_equal(events_finish(&ev, &e), 0); /* says it once */
	o = line_of(4, &lines);
	assert_int_equal(lines, 5);
	assert_string_equal(json_string_value(json_object_get(o, "key")), "events_dropped");
	assert_string_equal(json_string_value(json_object_get(o, "value")), "7");
	json_decref(o);
}

static void the_largest_strings_fit_and_cut_ones_are_mended(void **state)
{
	static uint8_t big[4096];
	unsigned lines;
	struct err e;
	json_t *o;

	(void)state;
	memset(big, 1, sizeof(big));
	events_init(&ev, memfd_create("events", 0), 0);
	assert_int_equal(events_put(&ev, EVENTS_KEEP, "x",
				    json_pack("{s:o}", "p", events_text(big, sizeof(big))), &e), 0);
	o = line_of(0, &lines);
	assert_int_equal(json_string_length(json_object_get(o, "p")), sizeof(big));
	json_decref(o);
	o = events_text((const uint8_t *)"ab\xf0\x9f\x94", 5);
	assert_string_equal(json_string_value(o), "ab");
	json_decref(o);
	o = events_text((const uint8_t *)"\xff\xff\xff\xff\xff", 5);
	assert_string_equal(json_string_value(o), "?");
	json_decref(o);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(events_are_stamped_and_in_order),
		cmocka_unit_test(what_is_no_event_is_refused),
		cmocka_unit_test(capped_events_are_counted_at_the_end),
		cmocka_unit_test(the_largest_strings_fit_and_cut_ones_are_mended),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
