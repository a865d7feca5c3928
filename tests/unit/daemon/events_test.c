/* SPDX-License-Identifier: Apache-2.0 */
/* events_test.c - events.jsonl to facts, cut anywhere; lines that are no events. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../../host/daemon/events.h"

static const char file[] =
	"{\"seq\":1,\"at_ms\":5,\"type\":\"vm\",\"vmm\":\"qemu\",\"accel\":\"tcg\",\"emulated\":true}\n"
	"{\"seq\":2,\"at_ms\":6,\"type\":\"hello\",\"agent\":\"1\",\"kernel\":\"6.1\",\"boot_ms\":3}\n"
	"{\"seq\":3,\"at_ms\":7,\"type\":\"state\",\"state\":\"cloning_repo\"}\n"
	"{\"seq\":4,\"at_ms\":8,\"type\":\"source\",\"commit\":\"abc\",\"ref\":\"r\",\"log_offset\":0}\n"
	"{\"seq\":5,\"at_ms\":9,\"type\":\"state\",\"state\":\"running_build\"}\n"
	"{\"seq\":6,\"at_ms\":10,\"type\":\"step_begin\",\"index\":0,\"name\":\"s\",\"log_offset\":1}\n"
	"{\"seq\":7,\"at_ms\":11,\"type\":\"step_end\",\"index\":0,\"exit_code\":2,\"log_offset\":9}\n"
	"{\"seq\":8,\"at_ms\":12,\"type\":\"note\",\"key\":\"build_system\",\"value\":\"make\"}\n"
	"{\"seq\":9,\"at_ms\":13,\"type\":\"egress\",\"allowed\":true,\"bytes_up\":4,\"bytes_down\":5}\n"
	"{\"seq\":10,\"at_ms\":13,\"type\":\"egress\",\"allowed\":false}\n"
	"{\"seq\":11,\"at_ms\":13,\"type\":\"egress\",\"allowed\":true,\"bytes_up\":1,\"bytes_down\":1}\n";

struct seen {
	unsigned count;
	enum build_state last;
	uint64_t at_ms;
};

static void on_state(void *arg, enum build_state s, uint64_t at_ms)
{
	struct seen *seen = arg;

	seen->count++;
	seen->last = s;
	seen->at_ms = at_ms;
}

static json_int_t number(const json_t *o, const char *key)
{
	return json_integer_value(json_object_get(o, key));
}

static void check_facts(const json_t *f)
{
	const json_t *step = json_array_get(json_object_get(f, "steps"), 0);
	const json_t *egress = json_object_get(f, "egress");

	assert_string_equal(json_string_value(json_object_get(json_object_get(f, "vmm"), "vmm")), "qemu");
	assert_string_equal(json_string_value(json_object_get(f, "commit")), "abc");
	assert_string_equal(json_string_value(json_object_get(f, "kernel")), "6.1");
	assert_int_equal(json_array_size(json_object_get(f, "steps")), 1);
	assert_int_equal(number(step, "exit_code"), 2);
	assert_int_equal(number(step, "log_offset"), 1);
	assert_int_equal(number(step, "log_end_offset"), 9);
	assert_int_equal(number(step, "started_at_ms"), 10);
	assert_int_equal(number(egress, "allowed"), 2);
	assert_int_equal(number(egress, "refused"), 1);
	assert_int_equal(number(egress, "bytes_up"), 5);
	assert_string_equal(json_string_value(json_object_get(json_object_get(f, "notes"),
							      "build_system")), "make");
}

static void test_cut_anywhere(void **state)
{
	size_t n = sizeof(file) - 1;

	(void)state;
	for (size_t piece = 1; piece <= n; piece = piece < 64 ? piece + 1 : piece * 2) {
		struct seen seen = { 0 };
		struct events ev;

		assert_int_equal(events_init(&ev, on_state, &seen), 0);
		for (size_t at = 0; at < n; at += piece)
			events_feed(&ev, file + at, n - at < piece ? n - at : piece);
		check_facts(ev.facts);
		assert_int_equal(seen.count, 2);
		assert_int_equal(seen.last, STATE_RUNNING_BUILD);
		assert_int_equal(seen.at_ms, 9);
		events_fini(&ev);
	}
}

static void feed(struct events *ev, const char *text)
{
	events_feed(ev, text, strlen(text));
}

static void test_no_events(void **state)
{
	struct seen seen = { 0 };
	struct events ev;
	static const char event[] = "{\"type\":\"state\",\"state\":\"running_build\"}";
	char *giant = malloc(EVENTS_LINE_MAX + 100);

	(void)state;
	assert_non_null(giant);
	assert_int_equal(events_init(&ev, on_state, &seen), 0);
	feed(&ev, "\n\nnot json\n[]\n5\n{}\n{\"type\":5}\n{\"type\":\"unheard_of\"}\n");
	feed(&ev, "{\"type\":\"state\"}\n{\"type\":\"state\",\"state\":\"done\"}\n");
	feed(&ev, "{\"type\":\"state\",\"state\":\"completed\"}\n");
	feed(&ev, "{\"type\":\"step_end\",\"index\":4}\n{\"type\":\"note\"}\n");
	memset(giant, ' ', EVENTS_LINE_MAX + 100);
	memcpy(giant, event, sizeof(event) - 1);
	events_feed(&ev, giant, 100);
	events_feed(&ev, giant + 100, EVENTS_LINE_MAX);
	feed(&ev, "\n");
	assert_int_equal(seen.count, 0);
	feed(&ev, "{\"type\":\"state\",\"state\":\"running_build\"}\n");
	assert_int_equal(seen.count, 1);
	events_fini(&ev);
	free(giant);
}

static void test_caps(void **state)
{
	struct seen seen = { 0 };
	struct events ev;
	char line[128];

	(void)state;
	assert_int_equal(events_init(&ev, on_state, &seen), 0);
	for (int i = 0; i < EVENTS_STEPS_MAX + 10; i++) {
		snprintf(line, sizeof(line), "{\"type\":\"step_begin\",\"index\":%d}\n"
			 "{\"type\":\"note\",\"key\":\"k%d\",\"value\":\"v\"}\n", i, i);
		feed(&ev, line);
	}
	assert_int_equal(json_array_size(json_object_get(ev.facts, "steps")), EVENTS_STEPS_MAX);
	assert_int_equal(json_object_size(json_object_get(ev.facts, "notes")), 64);
	events_fini(&ev);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cut_anywhere), cmocka_unit_test(test_no_events),
		cmocka_unit_test(test_caps),
	};

	return cmocka_run_group_tests_name("daemon/events", tests, NULL, NULL);
}
