/* SPDX-License-Identifier: Apache-2.0 */
/* The user database as text: entries found, odd lines passed over. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "passwd.h"

static const char users[] =
	"root:x:0:0:root:/root:/bin/bash\n"
	"# a comment\n"
	"short:x:1000:1000\n"
	"wrong:x:10x0:1000:::\n"
	"huge:x:4294967295:1000::/:\n"
	"long:x:1:1:a:b:c:d\n"
	":x:1000:5::/:\n"
	"\n"
	"dev:x:1000:1001:A Developer,,,:/home/dev:/bin/zsh\n"
	"again:x:1000:7::/nowhere:\n"
	"last:x:33:33::/:/bin/sh";

static void test_finds_by_uid_the_first_whole_entry(void **state)
{
	struct passwd_user u;

	(void)state;
	assert_int_equal(passwd_by_uid(users, 1000, &u), 0);
	assert_string_equal(u.name, "dev");
	assert_int_equal(u.gid, 1001);
	assert_string_equal(u.home, "/home/dev");
	assert_string_equal(u.shell, "/bin/zsh");
}

static void test_finds_by_name_and_the_line_without_newline(void **state)
{
	struct passwd_user u;

	(void)state;
	assert_int_equal(passwd_by_name(users, "last", &u), 0);
	assert_int_equal(u.uid, 33);
	assert_int_equal(passwd_by_name(users, "root", &u), 0);
	assert_int_equal(u.uid, 0);
}

static void test_odd_lines_are_no_entries(void **state)
{
	static const char *const names[] = { "short", "wrong", "huge", "long", "", "# a comment" };
	struct passwd_user u = { .uid = 77 };

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		assert_int_equal(passwd_by_name(users, names[i], &u), -1);
	assert_int_equal(passwd_by_uid("", 0, &u), -1);
	assert_int_equal(u.uid, 77);
}

static const char groups[] =
	"root:x:0:\n"
	"sudo:x:27:dev,other\n"
	"bad:x:y:dev\n"
	"docker:x:999:other,dev\n"
	"dev:x:1001:dev\n"
	"devs:x:50:developer,de";

static void test_groups_of_a_user(void **state)
{
	gid_t out[8];

	(void)state;
	assert_int_equal(passwd_groups_of(groups, "dev", 1001, out, 8), 2);
	assert_int_equal(out[0], 27);
	assert_int_equal(out[1], 999);
	assert_int_equal(passwd_groups_of(groups, "dev", 1001, out, 1), 1);
	assert_int_equal(passwd_groups_of(groups, "de", 0, out, 8), 1);
	assert_int_equal(passwd_groups_of(groups, "nobody", 0, out, 8), 0);
}

static void test_groups_by_name_and_number(void **state)
{
	(void)state;
	assert_true(passwd_has_group(groups, "docker"));
	assert_false(passwd_has_group(groups, "dock"));
	assert_false(passwd_has_group(groups, "bad"));
	assert_true(passwd_has_gid(groups, 50));
	assert_false(passwd_has_gid(groups, 51));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_finds_by_uid_the_first_whole_entry),
		cmocka_unit_test(test_finds_by_name_and_the_line_without_newline),
		cmocka_unit_test(test_odd_lines_are_no_entries),
		cmocka_unit_test(test_groups_of_a_user),
		cmocka_unit_test(test_groups_by_name_and_number),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
