/* SPDX-License-Identifier: Apache-2.0 */
/* The spec of JOB: defaults, every member, and what is refused with its name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "job.h"
#include "wire_msg.h"

static struct job *parsed(const char *text)
{
	struct job *job = NULL;
	struct fail f = { 0 };

	if (job_parse(text, strlen(text), &job, &f) < 0)
		fail_msg("%s", f.text);
	return job;
}

static void refused(const char *text, const char *word)
{
	struct job *job = NULL;
	struct fail f = { 0 };

	assert_int_equal(job_parse(text, strlen(text), &job, &f), -1);
	assert_null(job);
	assert_int_equal(f.class_, WIRE_CLASS_AGENT);
	if (!strstr(f.text, word))
		fail_msg("\"%s\" does not name %s", f.text, word);
}

static void test_defaults(void **state)
{
	struct job *job = parsed("{\"source\": \"none\"}");

	(void)state;
	assert_int_equal(job->source, JOB_SOURCE_NONE);
	assert_int_equal(job->submodules, JOB_SUBMODULES_RECURSIVE);
	assert_int_equal(job->depth, 1);
	assert_int_equal(job->steps_count, 0);
	assert_string_equal(job->workspace, "/workspace");
	assert_string_equal(job->user, "build");
	assert_string_equal(job->branch, "");
	assert_string_equal(job->password, "");
	assert_string_equal(job->build_systems[0], "cargo");
	assert_null(job->env[0]);
	assert_null(job->artifact_paths);
	assert_null(job->artifact_exclude[0]);
	assert_null(job->log_lines[0]);
	assert_int_equal(job->timeout_ms, 0);
	job_free(job);
}

static void test_every_member(void **state)
{
	struct job *job = parsed(
		"{\"build_id\": \"build_1\", \"source\": \"git\", \"repo_url\": \"http://h/r\","
		"\"branch\": \"b\", \"commit\": \"c0\", \"depth\": 0, \"submodules\": \"top\","
		"\"steps\": [{\"name\": \"one\", \"run\": \"make\\nmake check\", \"timeout_s\": 5},"
		"            {\"run\": \"true\", \"timeout_s\": 0.5}, {\"run\": \"x\", \"name\": null}],"
		"\"build_systems\": [\"make\"], \"env\": {\"A\": \"1=2\", \"B\": \"\"},"
		"\"workspace\": \"/src/app\", \"user\": \"root\", \"image\": \"c\","
		"\"artifacts\": {\"paths\": [\"a/**\", \"b\"], \"exclude\": [\"*.o\"]},"
		"\"artifact_bytes_max\": 9007199254740993, \"artifact_files_max\": 7,"
		"\"timeout_ms\": 600000, \"grace_ms\": 10, \"log_lines\": [\"x\"], \"new\": {},"
		"\"credentials\": {\"username\": \"me\", \"password\": \"s:\\u00e9\"}}");

	(void)state;
	assert_int_equal(job->steps_count, 3);
	assert_string_equal(job->steps[0].run, "make\nmake check");
	assert_int_equal(job->steps[0].timeout_ms, 5000);
	assert_string_equal(job->steps[1].name, "step 2");
	assert_int_equal(job->steps[1].timeout_ms, 500);
	assert_string_equal(job->steps[2].name, "step 3");
	assert_string_equal(job->env[0], "A=1=2");
	assert_string_equal(job->env[1], "B=");
	assert_null(job->env[2]);
	assert_string_equal(job->build_systems[0], "make");
	assert_null(job->build_systems[1]);
	assert_string_equal(job->artifact_paths[1], "b");
	assert_null(job->artifact_paths[2]);
	assert_string_equal(job->artifact_exclude[0], "*.o");
	assert_true(job->artifact_bytes_max == 9007199254740993u);
	assert_int_equal(job->depth, 0);
	assert_int_equal(job->submodules, JOB_SUBMODULES_TOP);
	assert_string_equal(job->user, "root");
	assert_string_equal(job->log_lines[0], "x");
	assert_string_equal(job->username, "me");
	assert_string_equal(job->password, "s:\xc3\xa9");
	job_free(job);
}

static void test_wrong_types_and_values_are_named(void **state)
{
	static const char *const cases[][2] = {
		{ "[]", "object" }, { "{\"source\"", "object" }, { "{}", "repo_url" },
		{ "{\"source\": \"none\", \"source\": \"tar\"}", "object" },
		{ "{\"source\": \"ftp\"}", "source" },
		{ "{\"source\": \"none\", \"user\": \"admin\"}", "user" },
		{ "{\"source\": \"none\", \"user\": 1}", "user" },
		{ "{\"source\": \"none\", \"depth\": -1}", "depth" },
		{ "{\"source\": \"none\", \"depth\": \"1\"}", "depth" },
		{ "{\"source\": \"none\", \"timeout_ms\": 1e3}", "timeout_ms" },
		{ "{\"source\": \"none\", \"steps\": {}}", "steps" },
		{ "{\"source\": \"none\", \"steps\": [\"make\"]}", "steps" },
		{ "{\"source\": \"none\", \"steps\": [{\"run\": 1}]}", "run" },
		{ "{\"source\": \"none\", \"env\": {\"A\": 1}}", "env" },
		{ "{\"source\": \"none\", \"env\": {\"A=B\": \"1\"}}", "env" },
		{ "{\"source\": \"none\", \"env\": []}", "env" },
		{ "{\"source\": \"none\", \"artifacts\": []}", "artifacts" },
		{ "{\"source\": \"none\", \"artifacts\": {\"paths\": [1]}}", "paths" },
		{ "{\"source\": \"none\", \"log_lines\": \"x\"}", "log_lines" },
		{ "{\"source\": \"none\", \"credentials\": \"x\"}", "credentials" },
		{ "{\"source\": \"none\", \"credentials\": {\"password\": 1}}", "password" },
		{ "{\"source\": \"none\", \"branch\": \"a\\u0000b\"}", "object" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		refused(cases[i][0], cases[i][1]);
}

static void test_workspaces_that_would_hide_the_system(void **state)
{
	static const char *const paths[] = { "/", "", "src", "/proc", "/proc/x", "/dev/x", "/etc",
					     "/a/../b", "/a//b", "/a/", "/a/.", "/a/..", "/run/x" };
	char text[128];

	(void)state;
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		snprintf(text, sizeof(text), "{\"source\": \"none\", \"workspace\": \"%s\"}", paths[i]);
		refused(text, "workspace");
	}
}

static void test_too_many_steps_and_too_long_a_step(void **state)
{
	size_t cap = 200000, at;
	char *text = malloc(cap);

	(void)state;
	assert_non_null(text);
	at = (size_t)snprintf(text, cap, "{\"source\": \"none\", \"steps\": [");
	for (unsigned i = 0; i <= JOB_MAX_STEPS; i++)
		at += (size_t)snprintf(text + at, cap - at, "%s{\"run\": \"\"}", i ? "," : "");
	snprintf(text + at, cap - at, "]}");
	refused(text, "steps");

	at = (size_t)snprintf(text, cap, "{\"source\": \"none\", \"steps\": [{\"run\": \"");
	memset(text + at, 'x', 140000);
	snprintf(text + at + 140000, cap - at - 140000, "\"}]}");
	refused(text, "run");
	free(text);
}

static void test_many_short_things_fit(void **state)
{
	size_t cap = 262144, at;
	char *text = malloc(cap);
	struct job *job;

	(void)state;
	assert_non_null(text);
	at = (size_t)snprintf(text, cap, "{\"source\":\"none\",\"log_lines\":[");
	for (unsigned i = 0; i < 4000; i++)
		at += (size_t)snprintf(text + at, cap - at, "%s\"\"", i ? "," : "");
	at += (size_t)snprintf(text + at, cap - at, "],\"env\":{");
	for (unsigned i = 0; i < 4000; i++)
		at += (size_t)snprintf(text + at, cap - at, "%s\"%u\":\"\"", i ? "," : "", i);
	at += (size_t)snprintf(text + at, cap - at, "},\"steps\":[");
	for (unsigned i = 0; i < JOB_MAX_STEPS; i++)
		at += (size_t)snprintf(text + at, cap - at, "%s{}", i ? "," : "");
	snprintf(text + at, cap - at, "]}");
	job = parsed(text);
	assert_string_equal(job->env[3999], "3999=");
	assert_string_equal(job->steps[JOB_MAX_STEPS - 1].name, "step 256");
	job_free(job);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_every_member),
		cmocka_unit_test(test_wrong_types_and_values_are_named),
		cmocka_unit_test(test_workspaces_that_would_hide_the_system),
		cmocka_unit_test(test_too_many_steps_and_too_long_a_step),
		cmocka_unit_test(test_many_short_things_fit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
