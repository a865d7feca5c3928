/* SPDX-License-Identifier: Apache-2.0 */
/* sse_test.c - log bytes as events: where they may be cut, and what they look like. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "../../../host/daemon/sse.h"

static void whole(const char *bytes, size_t n, size_t want)
{
	assert_int_equal(sse_whole(bytes, n), want);
}

static void test_where_to_cut(void **state)
{
	(void)state;
	whole("", 0, 0);
	whole("abc", 3, 3);
	whole("a\xc3\xbc", 3, 3);
	whole("a\xc3", 2, 1);
	whole("a\xe2\x82\xac", 4, 4);
	whole("a\xe2\x82", 3, 1);
	whole("a\xe2", 2, 1);
	whole("\xf0\x9f\x98\x80", 4, 4);
	whole("\xf0\x9f\x98", 3, 0);
	whole("\xf0\x9f", 2, 0);
	whole("a\r", 2, 1);
	whole("a\r\n", 3, 3);
	/* What can never become a character is not waited for. */
	whole("\xff", 1, 1);
	whole("\xc0", 1, 1);
	whole("\xe0\x80", 2, 2);
	whole("\xed\xa0", 2, 2);
	whole("\xf4\x90", 2, 2);
	whole("\x80\x80\x80\x80", 4, 4);
	whole("\xe2\x82\xac\x82", 4, 4);
}

static void text_is(const char *bytes, size_t n, const char *want)
{
	char *out = NULL;
	size_t len = 0;

	assert_int_equal(sse_text(n, bytes, n, &out, &len), 0);
	assert_int_equal(len, strlen(want));
	assert_memory_equal(out, want, len);
	free(out);
}

static void test_text(void **state)
{
	(void)state;
	text_is("abc", 3, "id: 3\ndata: abc\n\n");
	text_is("a\nb\n", 4, "id: 4\ndata: a\ndata: b\ndata: \n\n");
	text_is("\n", 1, "id: 1\ndata: \ndata: \n\n");
	text_is("a\r\nb\rc", 6, "id: 6\ndata: a\ndata: b\ndata: c\n\n");
	text_is("x\xff\xc3y", 4, "id: 4\ndata: x\xef\xbf\xbd\xef\xbf\xbdy\n\n");
	text_is("\xe2\x82\xac", 3, "id: 3\ndata: \xe2\x82\xac\n\n");
}

/* However a log is cut, the data put together is the same, and no event splits a character. */
static void test_any_cut(void **state)
{
	static const char log[] = "a\xc3\xbc\n\xe2\x82\xac\xf0\x9f\x98\x80\r\nz\xff.\n";
	size_t n = sizeof(log) - 1;
	char *once = NULL;
	size_t once_len = 0;

	(void)state;
	assert_int_equal(sse_text(n, log, n, &once, &once_len), 0);
	for (size_t cut = 0; cut <= n; cut++) {
		size_t first = sse_whole(log, cut), len1 = 0, len2 = 0;
		char *one = NULL, *two = NULL;
		const char *head1, *head2;

		assert_true(first <= cut && cut - first <= 3);
		assert_int_equal(sse_text(n, log, first, &one, &len1), 0);
		assert_int_equal(sse_text(n, log + first, n - first, &two, &len2), 0);
		head1 = strchr(one, '\n') + 7;
		head2 = strchr(two, '\n') + 7;
		/* The first without its blank line, then the second without its head. */
		assert_int_equal(len1 - 2 + len2 - (size_t)(head2 - two), once_len);
		assert_memory_equal(once, one, len1 - 2);
		assert_memory_equal(once + len1 - 2, head2, len2 - (size_t)(head2 - two));
		assert_true(head1 <= one + len1);
		free(one);
		free(two);
	}
	free(once);
}

static void base64_is(const char *bytes, const char *want)
{
	char *out = NULL;
	size_t len = 0;

	assert_int_equal(sse_base64(7, bytes, strlen(bytes), &out, &len), 0);
	assert_int_equal(len, strlen(want));
	assert_memory_equal(out, want, len);
	free(out);
}

/* RFC 4648, section 10. */
static void test_base64(void **state)
{
	(void)state;
	base64_is("f", "id: 7\ndata: Zg==\n\n");
	base64_is("fo", "id: 7\ndata: Zm8=\n\n");
	base64_is("foo", "id: 7\ndata: Zm9v\n\n");
	base64_is("foobar", "id: 7\ndata: Zm9vYmFy\n\n");
	base64_is("\xff\xfe\xfd", "id: 7\ndata: //79\n\n");
}

static void test_named(void **state)
{
	char *out = NULL;
	size_t len = 0;

	(void)state;
	assert_int_equal(sse_named("end", 5, "{}", &out, &len), 0);
	assert_string_equal(out, "event: end\nid: 5\ndata: {}\n\n");
	assert_int_equal(len, strlen(out));
	free(out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_where_to_cut), cmocka_unit_test(test_text),
		cmocka_unit_test(test_any_cut), cmocka_unit_test(test_base64), cmocka_unit_test(test_named),
	};

	return cmocka_run_group_tests_name("daemon/sse", tests, NULL, NULL);
}
