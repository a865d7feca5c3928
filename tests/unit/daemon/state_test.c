/* SPDX-License-Identifier: Apache-2.0 */
/* state_test.c - the table of states, every pair of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "../../../host/daemon/state.h"

static void test_every_pair(void **state)
{
	/* Row: from; column: to; both in the order of the enumeration. */
	static const char may[STATE_COUNT][STATE_COUNT + 1] = {
		"-X----XX", /* queued */
		"X-XXXXXX", /* starting_vm */
		"---XXXXX", /* cloning_repo */
		"----XXXX", /* running_build */
		"-----XXX", /* collecting_artifacts */
		"--------", "--------", "--------",
	};

	(void)state;
	for (int from = 0; from < STATE_COUNT; from++) {
		for (int to = 0; to < STATE_COUNT; to++)
			assert_int_equal(state_may((enum build_state)from, (enum build_state)to),
					 may[from][to] == 'X');
		assert_int_equal(state_final((enum build_state)from), from >= STATE_COMPLETED);
	}
}

static void test_words(void **state)
{
	enum build_state s;

	(void)state;
	for (int i = 0; i < STATE_COUNT; i++) {
		assert_int_equal(state_parse(state_word((enum build_state)i), &s), 0);
		assert_int_equal(s, i);
	}
	assert_int_equal(state_parse("done", &s), -1);
	assert_string_equal(state_sentence(STATE_STARTING_VM), "Starting VM");
	assert_int_equal(state_of_class("ok"), STATE_COMPLETED);
	assert_int_equal(state_of_class("cancelled"), STATE_CANCELLED);
	assert_int_equal(state_of_class("oom"), STATE_FAILED);
	assert_int_equal(state_of_class("anything"), STATE_FAILED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_pair), cmocka_unit_test(test_words),
	};

	return cmocka_run_group_tests_name("daemon/state", tests, NULL, NULL);
}
