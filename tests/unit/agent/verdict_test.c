/* SPDX-License-Identifier: Apache-2.0 */
/* Class and sentence of a build's end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "verdict.h"
#include "wire_msg.h"

static struct verdict of_step(int status, int oom, int disk_full)
{
	struct verdict v;
	struct verdict_step s = {
		.index = 1, .count = 3, .name = "test", .status = status, .oom = oom,
		.disk_full = disk_full, .job_memory_bytes = 160u << 20, .scratch_bytes = 64u << 20,
	};

	verdict_init(&v);
	verdict_step(&v, &s);
	return v;
}

static void test_success_decides_nothing(void **state)
{
	struct verdict v = of_step(0, 1, 1);

	(void)state;
	assert_int_equal(v.decided, 0);
	assert_int_equal(v.class_, WIRE_CLASS_OK);
	assert_true(v.step == WIRE_NO_STEP);
}

static void test_exit_code(void **state)
{
	struct verdict v = of_step(3 << 8, 0, 0);

	(void)state;
	assert_int_equal(v.class_, WIRE_CLASS_USER);
	assert_int_equal(v.step, 1);
	assert_int_equal(v.exit_code, 3);
	assert_int_equal(v.signal, 0);
	assert_string_equal(v.text, "step 2 of 3 (test) failed with exit code 3");
}

static void test_signal(void **state)
{
	struct verdict v = of_step(11, 0, 0);

	(void)state;
	assert_int_equal(v.class_, WIRE_CLASS_USER);
	assert_int_equal(v.exit_code, -1);
	assert_int_equal(v.signal, 11);
}

static void test_memory_beats_disk_beats_user(void **state)
{
	struct verdict v = of_step(9, 1, 1);

	(void)state;
	assert_int_equal(v.class_, WIRE_CLASS_OOM);
	assert_string_equal(v.text, "step 2 of 3 (test) used up the memory of the VM (160 MiB for the "
			    "build)");
	v = of_step(1 << 8, 0, 1);
	assert_int_equal(v.class_, WIRE_CLASS_DISK_FULL);
	assert_string_equal(v.text, "step 2 of 3 (test) filled the scratch disk (64 MiB)");
}

static void test_the_first_failure_stays(void **state)
{
	struct verdict v = of_step(3 << 8, 0, 0);
	struct fail f = { .class_ = WIRE_CLASS_AGENT, .text = "later" };

	(void)state;
	verdict_fail(&v, &f);
	assert_int_equal(v.class_, WIRE_CLASS_USER);
}

static void test_a_stop_beats_a_failure_but_not_a_stop(void **state)
{
	struct verdict v = of_step(3 << 8, 0, 0);

	(void)state;
	verdict_stop(&v, WIRE_CLASS_TIMEOUT, 2, "too long");
	assert_int_equal(v.class_, WIRE_CLASS_TIMEOUT);
	assert_int_equal(v.step, 2);
	assert_int_equal(v.exit_code, 0);
	verdict_stop(&v, WIRE_CLASS_CANCELLED, WIRE_NO_STEP, "cancelled");
	assert_int_equal(v.class_, WIRE_CLASS_TIMEOUT);
	assert_string_equal(v.text, "too long");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_success_decides_nothing),
		cmocka_unit_test(test_exit_code),
		cmocka_unit_test(test_signal),
		cmocka_unit_test(test_memory_beats_disk_beats_user),
		cmocka_unit_test(test_the_first_failure_stays),
		cmocka_unit_test(test_a_stop_beats_a_failure_but_not_a_stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
