/* SPDX-License-Identifier: Apache-2.0 */
/* verdict_test.c - every cause of an end has its class and sentence. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "verdict.h"
#include "wire.h"

#define EXITED(n)   ((n) << 8)
#define KILLED(sig) (sig)

static struct verdict_facts facts(enum verdict_cause cause)
{
	return (struct verdict_facts){ .cause = cause, .factor = 1, .text = "the text",
				       .start_class = "vmm", .cancel_word = "user",
				       .result_text = "words of the agent",
				       .result.step = WIRE_NO_STEP };
}

static void expect(const struct verdict_facts *f, const char *class_, const char *words)
{
	struct verdict v;

	verdict_decide(f, &v);
	assert_string_equal(v.class_, class_);
	if (!strstr(v.message, words))
		fail_msg("'%s' does not say '%s'", v.message, words);
}

static void test_results(void **state)
{
	static const char *const words[] = { "ok", "user", "timeout", "oom", "disk_full", "agent_lost",
					     "agent_lost" };

	(void)state;
	for (uint8_t i = 0; i < 7; i++) {
		struct verdict_facts f = facts(VERDICT_RESULT);

		f.have_result = true;
		f.result.class_ = i;
		expect(&f, words[i], i == 5 ? "nobody cancelled" : "words of the agent");
	}
}

static void test_step_to_blame(void **state)
{
	struct verdict_facts f = facts(VERDICT_RESULT);
	struct verdict v;

	(void)state;
	f.have_result = true;
	f.result = (struct link_result){ .class_ = 1, .step = 3, .exit_code = 7, .signal = 0 };
	verdict_decide(&f, &v);
	assert_true(v.has_step);
	assert_int_equal(v.step, 3);
	assert_int_equal(v.exit_code, 7);
	assert_false(v.with_console);
	f.result.step = WIRE_NO_STEP;
	verdict_decide(&f, &v);
	assert_false(v.has_step);
}

static void test_deadlines(void **state)
{
	static const char *const class_[] = { "vmm", "agent_lost", "timeout", "timeout", "timeout",
					      "timeout", "agent_lost" };
	static const char *const setting[] = { "deadlines.boot_s", "deadlines.boot_s",
					       "deadlines.clone_s", "timeout_s", "deadlines.upload_s",
					       "deadlines.job_s", "deadlines.heartbeat_s" };

	(void)state;
	for (int i = 0; i < VERDICT_DEADLINE_COUNT; i++) {
		struct verdict_facts f = facts(i == VERDICT_SILENCE ? VERDICT_HEARTBEAT :
							VERDICT_DEADLINE);

		f.deadline = (enum verdict_deadline)i;
		f.deadline_ms = 200000;
		f.factor = 20;
		expect(&f, class_[i], setting[i]);
		expect(&f, class_[i], "within 200 s");
		expect(&f, class_[i], "10 s, times 20");
		f.factor = 1;
		f.deadline_ms = 1500;
		expect(&f, class_[i], "within 1.500 s");
	}
}

static void test_the_host_decides_over_its_deadline(void **state)
{
	struct verdict_facts f = facts(VERDICT_DEADLINE);

	(void)state;
	f.deadline = VERDICT_STEPS;
	f.have_result = true; /* the guest claims success after CANCEL */
	f.result.class_ = 0;
	expect(&f, "timeout", "the steps did not end");
}

static void test_vm_ends(void **state)
{
	struct verdict_facts f = facts(VERDICT_VM_EXIT);

	(void)state;
	expect(&f, "agent_lost", "before the agent said HELLO");
	f.greeted = true;
	expect(&f, "agent_lost", "before the agent delivered");
	f.panicked = true;
	expect(&f, "kernel_panic", "panicked");
	f.status = KILLED(9);
	expect(&f, "vmm", "killed by signal 9");
	f.status = EXITED(1);
	expect(&f, "vmm", "exited with status 1");
	f.have_result = true; /* RESULT was acknowledged: how the VM ended is of no interest */
	f.result.class_ = 1;
	expect(&f, "user", "words of the agent");
	f = facts(VERDICT_VSOCK_EXIT);
	f.status = KILLED(9);
	expect(&f, "vmm", "vhost-device-vsock was killed");
}

static void test_cancel(void **state)
{
	struct verdict_facts f = facts(VERDICT_CANCEL);

	(void)state;
	expect(&f, "cancelled", "cancelled");
	f.cancel_word = "shutdown";
	expect(&f, "cancelled", "the host shuts down");
	f.have_result = true;
	f.result.class_ = 5;
	expect(&f, "cancelled", "the host shuts down");
	f.result.class_ = 1; /* the step failed because it was cancelled */
	expect(&f, "cancelled", "the host shuts down");
	f.result.class_ = 0;
	expect(&f, "ok", "words of the agent");
	f = facts(VERDICT_KILL);
	expect(&f, "cancelled", "killed");
}

static void test_host_failures(void **state)
{
	struct verdict_facts f = facts(VERDICT_HOST);

	(void)state;
	expect(&f, "host", "the text");
	f = facts(VERDICT_START);
	expect(&f, "vmm", "the text");
	f.start_class = "host";
	expect(&f, "host", "the text");
	f = facts(VERDICT_BROKEN);
	expect(&f, "agent_lost", "the text");
	f = facts(VERDICT_RESULT); /* a good result whose files were lost is no good result */
	f.have_result = true;
	f.host_text = "the disk is full";
	expect(&f, "host", "the disk is full");
	expect(&(struct verdict_facts){ .cause = VERDICT_NONE }, "host", "without a cause");
}

static void test_console_goes_with_the_last_four(void **state)
{
	struct verdict_facts f = facts(VERDICT_VM_EXIT);
	struct verdict v;

	(void)state;
	verdict_decide(&f, &v);
	assert_true(v.with_console);
	f = facts(VERDICT_CANCEL);
	verdict_decide(&f, &v);
	assert_false(v.with_console);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_results), cmocka_unit_test(test_step_to_blame),
		cmocka_unit_test(test_deadlines),
		cmocka_unit_test(test_the_host_decides_over_its_deadline),
		cmocka_unit_test(test_vm_ends), cmocka_unit_test(test_cancel),
		cmocka_unit_test(test_host_failures),
		cmocka_unit_test(test_console_goes_with_the_last_four),
	};

	return cmocka_run_group_tests_name("supervisor/verdict", tests, NULL, NULL);
}
