/* SPDX-License-Identifier: Apache-2.0 */
/* glob_test.c - the patterns of artifacts: what matches, what can match below, and how fast. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "glob.h"

static unsigned judge(const char *pattern, const char *path)
{
	struct glob *g;
	const char *why;
	unsigned v;

	if (glob_compile(pattern, &g, &why) < 0)
		fail_msg("pattern '%s' %s", pattern, why);
	v = glob_match(g, path, strlen(path));
	glob_free(g);
	return v;
}

struct row {
	const char *pattern, *path;
	unsigned verdict;
};

static const struct row rows[] = {
	{ "a", "a", GLOB_MATCH },
	{ "a", "b", 0 },
	{ "a", "a/b", 0 }, /* the walk carries "everything below" */
	{ "a/b", "a", GLOB_BELOW },
	{ "./a/", "a", GLOB_MATCH },
	{ ".", "x/y", GLOB_MATCH | GLOB_BELOW },
	{ "*", "a", GLOB_MATCH },
	{ "*", ".hidden", GLOB_MATCH },
	{ "*", "a/b", 0 },
	{ "*.c", "x.c", GLOB_MATCH },
	{ "*.c", ".c", GLOB_MATCH },
	{ "*.c", "x.cc", 0 },
	{ "a*b*c", "aXbYbZc", GLOB_MATCH },
	{ "a*b*c", "aXbYbZ", 0 },
	{ "*/x", "a/x", GLOB_MATCH },
	{ "*/x", "a/b/x", 0 },
	{ "*/x", "a", GLOB_BELOW },
	{ "?", "a", GLOB_MATCH },
	{ "?", "", 0 },
	{ "?", "ß", GLOB_MATCH }, /* a character, not a byte */
	{ "?", "\xff", GLOB_MATCH },
	{ "??", "\xc3\x28", GLOB_MATCH }, /* no UTF-8: two characters */
	{ "a?b", "a/b", 0 },
	{ "**", "a/b/c", GLOB_MATCH | GLOB_BELOW },
	{ "a/**", "a", GLOB_BELOW },
	{ "a/**", "a/b/c", GLOB_MATCH | GLOB_BELOW },
	{ "a/**", "ab/c", 0 },
	{ "**/x", "x", GLOB_MATCH | GLOB_BELOW },
	{ "**/x", "a/b/x", GLOB_MATCH | GLOB_BELOW },
	{ "**/x", "ax", GLOB_BELOW },
	{ "a/**/b", "a/b", GLOB_MATCH | GLOB_BELOW },
	{ "a/**/b", "a/x/y/b", GLOB_MATCH | GLOB_BELOW },
	{ "a/**/b", "a/xb", GLOB_BELOW },
	{ "a/**/b", "b", 0 },
	{ "a**b", "a/x/b", GLOB_MATCH | GLOB_BELOW },
	{ "**/*.o", "d/x.o", GLOB_MATCH | GLOB_BELOW },
	{ "**/a/**/b/*", "1/a/2/3/b/x", GLOB_MATCH | GLOB_BELOW },
	{ "[abc]", "b", GLOB_MATCH },
	{ "[a-c]x", "bx", GLOB_MATCH },
	{ "[!a-c]", "d", GLOB_MATCH },
	{ "[!a-c]", "b", 0 },
	{ "[^a]", "a", 0 },
	{ "[]x]", "]", GLOB_MATCH },
	{ "[a-]", "-", GLOB_MATCH },
	{ "[ä-ü]", "ö", GLOB_MATCH },
	{ "[!a]", "/", 0 },
	{ "a[!x]b", "a/b", 0 },
	{ "[\\]]", "]", GLOB_MATCH },
	{ "a[b", "a[b", GLOB_MATCH }, /* no end: a plain bracket */
	{ "a[b/c]", "a[b/c]", GLOB_MATCH },
	{ "\\*", "*", GLOB_MATCH },
	{ "\\*", "x", 0 },
	{ "\\[a]", "[a]", GLOB_MATCH },
	{ "target/release/*", "target", GLOB_BELOW },
	{ "target/release/*", "target/debug", 0 },
	{ "target/release/*", "tar", 0 },
};

static void test_rows(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		unsigned v = judge(rows[i].pattern, rows[i].path);

		if (v != rows[i].verdict)
			fail_msg("'%s' on '%s': %u, expected %u", rows[i].pattern, rows[i].path, v,
				 rows[i].verdict);
	}
}

/* The plain definition, exponential: only for short inputs. */
static int slow(const char *p, const char *s)
{
	if (!*p)
		return !*s;
	if (p[0] == '*' && p[1] == '*' && p[2] == '/')
		for (const char *t = s;; t++) {
			if ((t == s || t[-1] == '/') && slow(p + 3, t))
				return 1;
			if (!*t)
				return 0;
		}
	if (p[0] == '*' && p[1] == '*')
		for (const char *t = s;; t++) {
			if (slow(p + 2, t))
				return 1;
			if (!*t)
				return 0;
		}
	if (p[0] == '*')
		for (const char *t = s;; t++) {
			if (slow(p + 1, t))
				return 1;
			if (!*t || *t == '/')
				return 0;
		}
	return *s && (*p == '?' ? *s != '/' : *p == *s) && slow(p + 1, s + 1);
}

/* Random patterns of whole segments against the definition. */
static void test_agrees_with_the_definition(void **state)
{
	static const char *const parts[] = { "a", "b", "*", "**", "?", "a*", "*b", "ab" };
	static const char *const names[] = { "a", "b", "ab", "aab", "c" };
	unsigned matched = 0;

	(void)state;
	srandom(7);
	for (int round = 0; round < 200000; round++) {
		char pattern[64] = "", path[64] = "";
		size_t np = 1 + (size_t)random() % 4, ns = 1 + (size_t)random() % 4;
		size_t at = 0;
		int expected, got;

		for (size_t i = 0; i < np; i++)
			at += (size_t)snprintf(pattern + at, sizeof(pattern) - at, "%s%s", i ? "/" : "",
					       parts[(size_t)random() % 8]);
		at = 0;
		for (size_t i = 0; i < ns; i++)
			at += (size_t)snprintf(path + at, sizeof(path) - at, "%s%s", i ? "/" : "",
					       names[(size_t)random() % 5]);
		expected = slow(pattern, path);
		got = (judge(pattern, path) & GLOB_MATCH) != 0;
		matched += (unsigned)got;
		if (expected != got)
			fail_msg("'%s' on '%s': %d, by definition %d", pattern, path, got, expected);
	}
	assert_true(matched > 1000);
}

/* When a path matches, every directory above it must be entered. */
static void test_what_matches_is_reached(void **state)
{
	static const char *const paths[] = { "a/b/c", "a/b", "x/a/b/x", "target/release/app" };

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		for (size_t k = 0; k < 4; k++) {
			char dir[64];

			if (!(judge(rows[i].pattern, paths[k]) & GLOB_MATCH))
				continue;
			snprintf(dir, sizeof(dir), "%s", paths[k]);
			for (char *slash; (slash = strrchr(dir, '/')); ) {
				*slash = '\0';
				assert_true(judge(rows[i].pattern, dir) & GLOB_BELOW);
			}
		}
	}
}

static void test_no_pattern_is_slow(void **state)
{
	char pattern[GLOB_MAX_BYTES + 1], path[4097];
	struct timespec began, ended;

	(void)state;
	for (size_t i = 0; i < GLOB_MAX_BYTES; i++)
		pattern[i] = "*a"[i % 2];
	pattern[GLOB_MAX_BYTES] = '\0';
	memset(path, 'a', 4096);
	path[4095] = 'b';
	path[4096] = '\0';
	clock_gettime(CLOCK_MONOTONIC, &began);
	assert_int_equal(judge(pattern, path), 0);
	clock_gettime(CLOCK_MONOTONIC, &ended);
	assert_true(ended.tv_sec - began.tv_sec < 5);
}

static void test_refused_patterns(void **state)
{
	char longest[GLOB_MAX_BYTES + 2];
	struct glob *g = NULL;
	const char *why;

	(void)state;
	memset(longest, '[', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	assert_int_equal(glob_compile(longest, &g, &why), -1);
	assert_string_equal(why, "is too long");
	longest[GLOB_MAX_BYTES] = '\0';
	assert_int_equal(glob_compile(longest, &g, &why), 0);
	assert_int_equal(glob_match(g, longest, GLOB_MAX_BYTES), GLOB_MATCH);
	glob_free(g);
	assert_int_equal(glob_compile("", &g, &why), -1);
	assert_string_equal(why, "is empty");
	assert_int_equal(glob_compile("/etc/passwd", &g, &why), -1);
	assert_non_null(strstr(why, "absolute"));
	glob_free(NULL);
}

static void test_git_spelled_out(void **state)
{
	static const struct { const char *pattern; int names; } table[] = {
		{ ".git", 1 }, { ".git/config", 1 }, { "a/.git/**", 1 }, { "**", 0 },
		{ ".github", 0 }, { "x.git", 0 }, { "*/.git", 1 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct glob *g;
		const char *why;

		assert_int_equal(glob_compile(table[i].pattern, &g, &why), 0);
		assert_int_equal(glob_names_git(g), table[i].names);
		glob_free(g);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_agrees_with_the_definition),
		cmocka_unit_test(test_what_matches_is_reached),
		cmocka_unit_test(test_no_pattern_is_slow),
		cmocka_unit_test(test_refused_patterns),
		cmocka_unit_test(test_git_spelled_out),
	};

	return cmocka_run_group_tests_name("agent/glob", tests, NULL, NULL);
}
