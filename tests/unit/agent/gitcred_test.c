/* SPDX-License-Identifier: Apache-2.0 */
/* Which servers may hear the credentials of a job. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "gitcred.h"

static void test_only_the_repositorys_own_server_fits(void **state)
{
	static const struct gitcred c = { "u", "p", "https://git.example:8443/a/b.git" };
	static const char *const others[] = {
		"http://git.example:8443/a/b.git", "https://git.example/a/b.git",
		"https://git.example:84430/a/b.git", "https://git.example:844/a/b.git",
		"https://git.example.evil:8443/a", "https://evil/git.example:8443/a",
		"https://git.example:8443@evil/a", "https://u@git.example:8443/a", "", "/a/b", "x",
	};

	(void)state;
	assert_true(gitcred_fits(&c, c.url));
	assert_true(gitcred_fits(&c, "https://git.example:8443/other.git"));
	assert_true(gitcred_fits(&c, "https://git.example:8443"));
	assert_true(gitcred_fits(&c, "HTTPS://Git.Example:8443/other.git"));
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		if (gitcred_fits(&c, others[i]))
			fail_msg("%s would hear the credentials", others[i]);
	}
}

static void test_without_a_password_nothing_fits(void **state)
{
	static const struct gitcred none = { "u", "", "http://h/a" }, empty = { "u", "p", "" };

	(void)state;
	assert_false(gitcred_fits(NULL, "http://h/a"));
	assert_false(gitcred_fits(&none, "http://h/a"));
	assert_false(gitcred_fits(&empty, ""));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_only_the_repositorys_own_server_fits),
		cmocka_unit_test(test_without_a_password_nothing_fits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
