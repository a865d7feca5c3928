/* SPDX-License-Identifier: Apache-2.0 */
/* jsonx_test.c - strict getters: absent, wrong type, out of range, unknown members. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "jsonx.h"

static json_t *parse(const char *text)
{
	struct err e = { 0 };
	json_t *o = NULL;

	assert_int_equal(jsonx_parse_object(text, strlen(text), 4096, &o, &e), 0);
	return o;
}

static void absent_and_null_leave_the_default(void **state)
{
	json_t *o = parse("{\"a\": null}");
	struct err e = { 0 };
	const char *s = "default";
	int64_t n = 7;

	(void)state;
	assert_int_equal(jsonx_str(o, "a", 10, &s, &e), 0);
	assert_int_equal(jsonx_int(o, "b", 0, 10, &n, &e), 0);
	assert_string_equal(s, "default");
	assert_int_equal(n, 7);
	json_decref(o);
}

static void wrong_type_names_the_field(void **state)
{
	json_t *o = parse("{\"vcpus\": \"two\", \"list\": [1], \"flag\": 1, \"obj\": []}");
	struct err e = { 0 };
	json_t *v = NULL;
	int64_t n = 0;
	int b = 0;

	(void)state;
	assert_int_equal(jsonx_int(o, "vcpus", 1, 32, &n, &e), -1);
	assert_string_equal(e.code, "bad_type");
	assert_string_equal(e.field, "vcpus");
	assert_string_equal(e.text, "vcpus must be an integer, not a string");
	assert_int_equal(jsonx_str_array(o, "list", 4, 10, &v, &e), -1);
	assert_string_equal(e.field, "list");
	assert_int_equal(jsonx_bool(o, "flag", &b, &e), -1);
	assert_int_equal(jsonx_object(o, "obj", &v, &e), -1);
	json_decref(o);
}

static void bounds_are_held(void **state)
{
	json_t *o = parse("{\"n\": 33, \"s\": \"abcdef\", \"l\": [\"a\", \"b\"]}");
	struct err e = { 0 };
	const char *s = NULL;
	json_t *v = NULL;
	int64_t n = 0;

	(void)state;
	assert_int_equal(jsonx_int(o, "n", 1, 32, &n, &e), -1);
	assert_string_equal(e.code, "out_of_range");
	assert_int_equal(jsonx_int(o, "n", 1, 33, &n, &e), 0);
	assert_int_equal(jsonx_str(o, "s", 5, &s, &e), -1);
	assert_int_equal(jsonx_str(o, "s", 6, &s, &e), 0);
	assert_int_equal(jsonx_str_array(o, "l", 1, 10, &v, &e), -1);
	assert_int_equal(jsonx_str_array(o, "l", 2, 10, &v, &e), 0);
	json_decref(o);
}

static void nul_bytes_and_duplicates_are_refused(void **state)
{
	struct err e = { 0 };
	json_t *o = NULL;

	(void)state;
	assert_int_equal(jsonx_parse_object("{\"a\":1,\"a\":2}", 13, 100, &o, &e), -1);
	assert_string_equal(e.code, "bad_json");
	assert_int_equal(jsonx_parse_object("[1]", 3, 100, &o, &e), -1);
	assert_int_equal(jsonx_parse_object("{}", 2, 1, &o, &e), -1);
	assert_string_equal(e.code, "too_large");
	/* jansson refuses an escaped NUL unless it is told otherwise */
	assert_int_equal(jsonx_parse_object("{\"z\":\"a\\u0000b\"}", 16, 100, &o, &e), -1);
}

static void unknown_member_names_the_nearest(void **state)
{
	static const char *const known[] = { "vcpus", "memory_mib", "image" };
	static const char *const words[] = { "ps", "logs", "--log" };
	json_t *o = parse("{\"vcpu\": 2}");
	struct err e = { 0 };

	(void)state;
	assert_int_equal(jsonx_only(o, known, 3, &e), -1);
	assert_string_equal(e.code, "unknown_field");
	assert_string_equal(e.text, "unknown field 'vcpu', did you mean 'vcpus'?");
	assert_null(jsonx_nearest("zzzzzz", known, 3));
	assert_string_equal(jsonx_nearest("memry_mb", known, 3), "memory_mib");
	assert_string_equal(jsonx_nearest("lgos", words, 3), "logs");
	assert_null(jsonx_nearest("--bogus", words, 3));
	assert_null(jsonx_nearest("xy", words, 3));
	json_decref(o);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(absent_and_null_leave_the_default),
		cmocka_unit_test(wrong_type_names_the_field),
		cmocka_unit_test(bounds_are_held),
		cmocka_unit_test(nul_bytes_and_duplicates_are_refused),
		cmocka_unit_test(unknown_member_names_the_nearest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
