/* SPDX-License-Identifier: Apache-2.0 */
/* auth_test.c - Host, Origin and token. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "../../../host/daemon/auth.h"

static void test_host(void **state)
{
	json_t *allowed = json_pack("[s]", "ci.example.org");

	(void)state;
	assert_true(auth_host_ok("localhost", "127.0.0.1", "", allowed));
	assert_true(auth_host_ok("localhost:8080", "127.0.0.1", "", allowed));
	assert_true(auth_host_ok("127.0.0.1:8080", "127.0.0.1", "", allowed));
	assert_true(auth_host_ok("[::1]:8080", "::1", "", allowed));
	assert_true(auth_host_ok("CI.example.org", "10.0.0.1", "", allowed));
	assert_true(auth_host_ok("build", "10.0.0.1", "build", allowed));
	assert_false(auth_host_ok("", "127.0.0.1", "", allowed));
	assert_false(auth_host_ok(":80", "", "", allowed));
	assert_false(auth_host_ok("evil.example", "127.0.0.1", "", allowed));
	assert_false(auth_host_ok("localhost.evil.example", "127.0.0.1", "", allowed));
	assert_false(auth_host_ok("localhost:80x", "127.0.0.1", "", allowed));
	assert_false(auth_host_ok("[::1", "::1", "", allowed));
	assert_false(auth_host_ok("[::1]x", "::1", "", allowed));
	assert_false(auth_host_ok("127.0.0.2", "127.0.0.1", "", NULL));
	json_decref(allowed);
}

static void test_origin(void **state)
{
	(void)state;
	assert_true(auth_origin_ok("http://localhost:8080", "localhost:8080"));
	assert_true(auth_origin_ok("https://ci.example.org", "ci.example.org"));
	assert_false(auth_origin_ok("http://localhost:8081", "localhost:8080"));
	assert_false(auth_origin_ok("http://localhost", "localhost:8080"));
	assert_false(auth_origin_ok("http://localhost.evil.example", "localhost"));
	assert_false(auth_origin_ok("null", "localhost"));
	assert_false(auth_origin_ok("", ""));
	assert_false(auth_origin_ok("ftp://localhost", "localhost"));
	assert_false(auth_origin_ok("http://localhost", NULL));
}

static void test_token(void **state)
{
	(void)state;
	assert_true(auth_token_ok("Bearer abc", "abc"));
	assert_true(auth_token_ok("bearer abc", "abc"));
	assert_false(auth_token_ok("Bearer abcd", "abc"));
	assert_false(auth_token_ok("Bearer ab", "abc"));
	assert_false(auth_token_ok("Bearer  abc", "abc"));
	assert_false(auth_token_ok("Bearer", "abc"));
	assert_false(auth_token_ok("abc", "abc"));
	assert_false(auth_token_ok("", "abc"));
	assert_false(auth_token_ok(NULL, "abc"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_host), cmocka_unit_test(test_origin), cmocka_unit_test(test_token),
	};

	return cmocka_run_group_tests_name("daemon/auth", tests, NULL, NULL);
}
