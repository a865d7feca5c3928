/* SPDX-License-Identifier: Apache-2.0 */
/* egress_rule_test.c - which words are rules, and which rule lies inside which. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "egress_rule.h"

static void rules(void **state)
{
	static const char *const good[] = { "pypi.org", "pypi.org:443", "*.debian.org", "*.debian.org:80",
					    "host:*", "*", "*:443", "10.0.0.1", "[::1]:3000", "a_b.c", "x." };
	static const char *const bad[] = { "", ":80", "a b", "a:0", "a:65536", "a:80x", "a..b", ".a", "-a",
					   "a/b", "http://a", "*.", "a*b", "[::1", "[x]", "a:", "[::1]80",
					   "a\nb", "**.a", "a:-1" };
	struct err e;

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		if (egress_rule_check(good[i], &e) < 0)
			fail_msg("%s: %s", good[i], e.text);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (egress_rule_check(bad[i], &e) == 0)
			fail_msg("'%s' passed", bad[i]);
}

static void private_ranges(void **state)
{
	static const char *const good[] = { "10.0.0.0/8", "127.0.0.1:8080", "[::1]:3000", "fd00::/8",
					    "[fd00::]", "192.168.1.1", "::1" };
	static const char *const bad[] = { "", "example.org", "10.0.0.0/33", "10.0.0", "10.0.0.0/", "[::1",
					   "::/129", "10.0.0.0/8:99999", "10.0.0.0/-1", "10.0.0.0/8x" };
	struct err e;

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		if (egress_rule_check_private(good[i], &e) < 0)
			fail_msg("%s: %s", good[i], e.text);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (egress_rule_check_private(bad[i], &e) == 0)
			fail_msg("'%s' passed", bad[i]);
}

static void covering(void **state)
{
	static const struct { const char *outer, *inner; int covers; } cases[] = {
		{ "pypi.org", "pypi.org", 1 },
		{ "pypi.org", "PyPI.org:443", 1 },
		{ "pypi.org", "pypi.org:22", 0 },
		{ "pypi.org:443", "pypi.org", 0 },
		{ "pypi.org:*", "pypi.org:22", 1 },
		{ "pypi.org:22", "pypi.org:*", 0 },
		{ "*.debian.org", "deb.debian.org", 1 },
		{ "*.debian.org", "debian.org", 0 },
		{ "*.debian.org", "evildebian.org", 0 },
		{ "*.debian.org", "*.debian.org", 1 },
		{ "*.debian.org", "*.deb.debian.org", 1 },
		{ "*.deb.debian.org", "*.debian.org", 0 },
		{ "deb.debian.org", "*.debian.org", 0 },
		{ "*", "anything.example", 1 },
		{ "*", "anything.example:22", 0 },
		{ "*:*", "anything.example:22", 1 },
		{ "a.org", "b.org", 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		if (egress_rule_covers(cases[i].outer, cases[i].inner) != cases[i].covers)
			fail_msg("%s and %s", cases[i].outer, cases[i].inner);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rules),
		cmocka_unit_test(private_ranges),
		cmocka_unit_test(covering),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
