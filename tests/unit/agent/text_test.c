/* SPDX-License-Identifier: Apache-2.0 */
/* Text for the wire: what is no UTF-8 is replaced, cuts are between characters. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "text.h"

static void copies_to(const char *src, size_t n, size_t cap, const char *expected)
{
	char dst[64];

	memset(dst, 'z', sizeof(dst));
	assert_int_equal(text_copy(dst, cap, src, n), strlen(expected));
	assert_string_equal(dst, expected);
	assert_int_equal(dst[cap], 'z');
}

static void test_text_stays_as_it_is(void **state)
{
	(void)state;
	copies_to("a\tb\n\xc3\xa9\xe2\x82\xac\xf0\x9f\x94\xa5", 13, 20,
		  "a\tb\n\xc3\xa9\xe2\x82\xac\xf0\x9f\x94\xa5");
	copies_to("", 0, 1, "");
}

static void test_bytes_that_are_no_utf8_become_question_marks(void **state)
{
	(void)state;
	copies_to("a\xff" "b", 3, 20, "a?b");
	copies_to("\xc0\x80", 2, 20, "??");         /* overlong */
	copies_to("\xed\xa0\x80", 3, 20, "???");    /* surrogate */
	copies_to("\xf4\x90\x80\x80", 4, 20, "????"); /* above U+10FFFF */
	copies_to("\xe2\x82", 2, 20, "??");         /* ends early */
	copies_to("\x1b[1m\x7f", 5, 20, "?[1m?");
}

static void test_a_nul_ends_the_text(void **state)
{
	(void)state;
	copies_to("ab\0cd", 5, 20, "ab");
}

static void test_a_cut_does_not_split_a_character(void **state)
{
	(void)state;
	copies_to("ab\xe2\x82\xac", 5, 6, "ab\xe2\x82\xac");
	copies_to("ab\xe2\x82\xac", 5, 5, "ab");
	copies_to("ab\xe2\x82\xac", 5, 3, "ab");
	copies_to("ab", 2, 1, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_text_stays_as_it_is),
		cmocka_unit_test(test_bytes_that_are_no_utf8_become_question_marks),
		cmocka_unit_test(test_a_nul_ends_the_text),
		cmocka_unit_test(test_a_cut_does_not_split_a_character),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
