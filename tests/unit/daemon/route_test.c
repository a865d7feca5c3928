/* SPDX-License-Identifier: Apache-2.0 */
/* route_test.c - method and path to route; percent-decoding. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "../../../host/daemon/api.h"
#include "../../../host/daemon/route.h"

static void finds(const char *method, const char *path, void (*handle)(struct request *r),
		  const char *first, const char *second)
{
	struct route_match m;

	assert_int_equal(route_find(method, path, &m), 0);
	assert_true(m.route->handle == handle);
	assert_int_equal(m.params[0].n, first ? strlen(first) : 0);
	if (first)
		assert_memory_equal(m.params[0].text, first, strlen(first));
	if (second)
		assert_string_equal(m.params[1].text, second);
	else
		assert_null(m.params[1].text);
}

static void test_paths(void **state)
{
	(void)state;
	finds("GET", "/health", api_health, NULL, NULL);
	finds("HEAD", "/health", api_health, NULL, NULL);
	finds("POST", "/build", api_submit, NULL, NULL);
	finds("GET", "/build/x", api_show, "x", NULL);
	finds("GET", "/build/x/log", api_log, "x", NULL);
	finds("GET", "/build/x/artifacts", api_manifest, "x", NULL);
	finds("GET", "/build/x/artifacts.tar", api_artifacts_tar, "x", NULL);
	finds("GET", "/build/x/artifacts/a", api_artifact, "x", "a");
	finds("GET", "/build/x/artifacts/a/b//c", api_artifact, "x", "a/b//c");
	finds("GET", "/build/x/artifacts//", api_artifact, "x", "/");
	finds("POST", "/build/x/cancel", api_cancel, "x", NULL);
}

static void test_no_such_path(void **state)
{
	static const char *const paths[] = { "", "/", "health", "/healt", "/healthy", "/health/", "/build/",
		"/build/x/", "/build//log", "/build/x/logs", "/build/x/artifacts/", "/build/x/y/z", "//build" };
	struct route_match m;

	(void)state;
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
		assert_int_equal(route_find("GET", paths[i], &m), 404);
}

static void test_wrong_method(void **state)
{
	struct route_match m;

	(void)state;
	assert_int_equal(route_find("GET", "/build", &m), 405);
	assert_string_equal(m.allow, "POST");
	assert_int_equal(route_find("HEAD", "/build/x/cancel", &m), 405);
	assert_int_equal(route_find("POST", "/builds", &m), 405);
	assert_string_equal(m.allow, "GET, HEAD");
	assert_int_equal(route_find("get", "/builds", &m), 405);
}

static void test_decode(void **state)
{
	char out[8];

	(void)state;
	assert_int_equal(route_decode("a%2Fb", 5, out, sizeof(out)), 0);
	assert_string_equal(out, "a/b");
	assert_int_equal(route_decode("%41%c3%BC", 9, out, sizeof(out)), 0);
	assert_string_equal(out, "A\xc3\xbc");
	assert_int_equal(route_decode("a+b", 3, out, sizeof(out)), 0);
	assert_string_equal(out, "a+b");
	assert_int_equal(route_decode("abcdefg", 7, out, sizeof(out)), 0);
	assert_int_equal(route_decode("abcdefgh", 8, out, sizeof(out)), -1);
	assert_int_equal(route_decode("%00", 3, out, sizeof(out)), -1);
	assert_int_equal(route_decode("%4", 2, out, sizeof(out)), -1);
	assert_int_equal(route_decode("%", 1, out, sizeof(out)), -1);
	/* The length counts, not what lies behind it. */
	assert_int_equal(route_decode("%41", 2, out, sizeof(out)), -1);
	assert_int_equal(route_decode("%g1", 3, out, sizeof(out)), -1);
	assert_int_equal(route_decode("%1g", 3, out, sizeof(out)), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_paths), cmocka_unit_test(test_no_such_path),
		cmocka_unit_test(test_wrong_method), cmocka_unit_test(test_decode),
	};

	return cmocka_run_group_tests_name("daemon/route", tests, NULL, NULL);
}
