/* SPDX-License-Identifier: Apache-2.0 */
/* select_test.c - which entries are artifacts: patterns, exclusions, .git, products. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "select.h"
#include "wire_msg.h"

static const struct stat file = { .st_mode = S_IFREG | 0644, .st_ctim = { .tv_sec = 100 } };
static const struct stat program = { .st_mode = S_IFREG | 0755, .st_ctim = { .tv_sec = 100 } };
static const struct stat old_program = { .st_mode = S_IFREG | 0755, .st_ctim = { .tv_sec = 9 } };
static const struct stat link_ = { .st_mode = S_IFLNK | 0777, .st_ctim = { .tv_sec = 100 } };
static const struct stat dir = { .st_mode = S_IFDIR | 0755, .st_ctim = { .tv_sec = 100 } };

#define LIST(...) ((const char *const[]){ __VA_ARGS__, NULL })
static const char *const none[] = { NULL };

static struct select *make(const char *const *paths, const char *const *exclude)
{
	struct select *s = NULL;
	struct fail f = { 0 };

	if (select_new(paths, exclude, "/workspace", &s, &f) < 0)
		fail_msg("%s", f.text);
	return s;
}

static void test_directory_brings_what_is_below(void **state)
{
	struct select *s = make(LIST("dist"), none);

	(void)state;
	assert_int_equal(select_judge(s, "dist", &dir, 0), SELECT_TAKE | SELECT_DESCEND);
	assert_int_equal(select_judge(s, "dist/a", &file, 1), SELECT_TAKE);
	assert_int_equal(select_judge(s, "dist/d", &dir, 1), SELECT_TAKE | SELECT_DESCEND);
	assert_int_equal(select_judge(s, "src", &dir, 0), 0); /* pruned */
	select_free(s);
}

static void test_exclusion_beats(void **state)
{
	struct select *s = make(LIST("**"), LIST("**/*.o", "tmp"));

	(void)state;
	assert_int_equal(select_judge(s, "a/x.c", &file, 1), SELECT_TAKE);
	assert_int_equal(select_judge(s, "a/x.o", &file, 1), 0);
	assert_int_equal(select_judge(s, "tmp", &dir, 1), 0); /* and all below, never entered */
	select_free(s);
}

static void test_git_only_by_name(void **state)
{
	struct select *all = make(LIST("**", "vendor"), none);
	struct select *named = make(LIST("**/x", ".git/config"), none);

	(void)state;
	assert_int_equal(select_judge(all, ".git", &dir, 0), 0);
	assert_int_equal(select_judge(all, "vendor/lib/.git", &dir, 1), 0);
	assert_int_equal(select_judge(all, ".gitignore", &file, 0), SELECT_TAKE);
	assert_int_equal(select_judge(named, ".git", &dir, 0), SELECT_DESCEND);
	assert_int_equal(select_judge(named, ".git/config", &file, 0), SELECT_TAKE);
	assert_int_equal(select_judge(named, ".git/x", &file, 0), 0);
	select_free(all);
	select_free(named);
}

static void test_products(void **state)
{
	struct select *s = make(LIST("**"), none);

	(void)state;
	select_products(s, 50ull * 1000000000u);
	assert_int_equal(select_judge(s, "hello", &program, 0), SELECT_TAKE);
	assert_int_equal(select_judge(s, "hello", &old_program, 0), 0);
	assert_int_equal(select_judge(s, "hello.c", &file, 0), 0);
	assert_int_equal(select_judge(s, "a/libx.a", &file, 0), SELECT_TAKE);
	assert_int_equal(select_judge(s, "libx.so", &file, 0), SELECT_TAKE);
	assert_int_equal(select_judge(s, "libx.so.1.2", &file, 0), SELECT_TAKE);
	assert_int_equal(select_judge(s, "libx.so1", &file, 0), 0);
	assert_int_equal(select_judge(s, "x.so.y", &file, 0), 0);
	assert_int_equal(select_judge(s, "libx.so", &link_, 0), SELECT_TAKE);
	assert_int_equal(select_judge(s, "latest", &link_, 0), 0);
	assert_int_equal(select_judge(s, "d", &dir, 0), SELECT_DESCEND);
	select_free(s);
}

static void test_absolute_patterns(void **state)
{
	struct select *s = make(LIST("/workspace/out/*"), LIST("/workspace/out/x"));
	struct fail f = { 0 };
	struct select *bad = NULL;

	(void)state;
	assert_int_equal(select_judge(s, "out/a", &file, 0), SELECT_TAKE);
	assert_int_equal(select_judge(s, "out/x", &file, 0), 0);
	select_free(s);
	assert_int_equal(select_new(LIST("ok", "/etc/*"), none, "/workspace", &bad, &f), -1);
	assert_int_equal(f.class_, WIRE_CLASS_USER);
	assert_string_equal(f.text, "artifacts.paths: the pattern '/etc/*' is absolute, but paths are "
			    "relative to the workspace");
	assert_int_equal(select_new(none, LIST(""), "/workspace", &bad, &f), -1);
	assert_string_equal(f.text, "artifacts.exclude: the pattern '' is empty");
	assert_null(bad);
}

static void test_patterns_without_a_match(void **state)
{
	struct select *s = make(LIST("a", "b/*", "c"), none);

	(void)state;
	select_judge(s, "b/1", &file, 0);
	assert_string_equal(select_unmatched(s, 0), "a");
	assert_string_equal(select_unmatched(s, 1), "c");
	assert_null(select_unmatched(s, 2));
	select_free(s);
}

static void test_more_exclusions(void **state)
{
	struct select *s = make(LIST("**"), LIST("a"));
	struct fail f;

	(void)state;
	assert_int_equal(select_exclude(s, LIST("b", "c"), "/workspace", &f), 0);
	assert_int_equal(select_judge(s, "a", &file, 0), 0);
	assert_int_equal(select_judge(s, "c", &file, 0), 0);
	assert_int_equal(select_judge(s, "d", &file, 0), SELECT_TAKE);
	select_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_directory_brings_what_is_below),
		cmocka_unit_test(test_exclusion_beats),
		cmocka_unit_test(test_git_only_by_name),
		cmocka_unit_test(test_products),
		cmocka_unit_test(test_absolute_patterns),
		cmocka_unit_test(test_patterns_without_a_match),
		cmocka_unit_test(test_more_exclusions),
	};

	return cmocka_run_group_tests_name("agent/select", tests, NULL, NULL);
}
