/* SPDX-License-Identifier: Apache-2.0 */
/* filter_test.c - what of a build's output reaches a terminal, however it is cut. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "filter.h"

struct pair {
	const char *in, *out;
};

static const struct pair pairs[] = {
	{ "plain\ttext\r\n", "plain\ttext\r\n" },
	{ "\x1b[31mred\x1b[0m", "\x1b[31mred\x1b[0m" },
	{ "\x1b[38:2::1:2:3mx\x1b[m", "\x1b[38:2::1:2:3mx\x1b[m" },
	{ "a\x1b[2Jb", "ab" },                          /* clear screen */
	{ "a\x1b[10;20Hb", "ab" },                      /* move the cursor */
	{ "a\x1b[?1049hb", "ab" },                      /* alternate screen */
	{ "a\x1b[>4;1mb", "ab" },                       /* a private sequence that ends in m */
	{ "a\x1b[ 6mb", "ab" },
	{ "a\x1b]0;title\x07z", "az" },                 /* window title */
	{ "a\x1b]52;c;aGk=\x1b\\z", "az" },             /* clipboard */
	{ "a\x1bPq#0;2\x1b\\z", "az" },                 /* DCS */
	{ "a\x1b_x\x1b\\z", "az" },                     /* APC */
	{ "a\x1b]0;never ended\nnext", "a\nnext" },
	{ "a\x1b(0b", "ab" },                           /* character set */
	{ "a\x1b" "cb", "ab" },                         /* reset */
	{ "a\x1b\x1b[31mb", "a\x1b[31mb" },
	{ "a\x1b[31\x1b[32mb", "a\x1b[32mb" },
	{ "a\x1b[31\nb", "a\nb" },
	{ "a\x1b\nb", "a\nb" },
	{ "a\x08\x07\x0e\x7f" "b", "ab" },              /* backspace, bell, shift out, delete */
	{ "a\xc2\x9b" "31mb", "a31mb" },                /* CSI as U+009B */
	{ "a\x9b" "31mb", "a?31mb" },                   /* CSI as a byte */
	{ "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80", "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80" },
	{ "\xc0\xaf\xff", "???" },
	{ "\xed\xa0\x80", "???" },                      /* a surrogate */
	{ "\xe2\x82" "x", "?x" },
	{ "\xe2\x1b[2Jx", "?x" },
};

static void as_one_piece(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		struct filter f = { 0 };
		char out[256];
		size_t n = filter_push(&f, pairs[i].in, strlen(pairs[i].in), out);

		out[n] = '\0';
		if (strcmp(out, pairs[i].out) != 0)
			fail_msg("case %zu: '%s'", i, out);
	}
}

static void cut_at_every_place(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		size_t len = strlen(pairs[i].in);

		for (size_t cut = 0; cut <= len; cut++) {
			struct filter f = { 0 };
			char out[256];
			size_t n = filter_push(&f, pairs[i].in, cut, out);

			n += filter_push(&f, pairs[i].in + cut, len - cut, out + n);
			out[n] = '\0';
			if (strcmp(out, pairs[i].out) != 0)
				fail_msg("case %zu cut at %zu: '%s'", i, cut, out);
		}
	}
}

static void colours_can_be_dropped(void **state)
{
	struct filter f = { .drop_colour = 1 };
	char out[64];
	size_t n = filter_push(&f, "\x1b[31mred\x1b[0m", 12, out);

	(void)state;
	assert_int_equal(n, 3);
	assert_memory_equal(out, "red", 3);
}

static void a_sequence_without_end_does_not_grow(void **state)
{
	struct filter f = { 0 };
	char in[4096], out[4096 + FILTER_SEQ_MAX];

	(void)state;
	memset(in, '1', sizeof(in));
	assert_int_equal(filter_push(&f, "\x1b[", 2, out), 0);
	for (int i = 0; i < 100; i++)
		assert_int_equal(filter_push(&f, in, sizeof(in), out), 0);
	assert_int_equal(filter_push(&f, "mX", 2, out), 1);
	assert_int_equal(out[0], 'X');
}

static void random_bytes_never_overflow_nor_pass_controls(void **state)
{
	char in[512], out[512 + FILTER_SEQ_MAX + 1];
	struct filter f = { 0 };

	(void)state;
	srand(7);
	for (int round = 0; round < 2000; round++) {
		size_t n;

		for (size_t i = 0; i < sizeof(in); i++)
			in[i] = rand() % 3 ? "\x1b[]m;1P\\\xc2\x9b\xe2"[rand() % 11] : (char)rand();
		out[sizeof(out) - 1] = 0x55;
		n = filter_push(&f, in, sizeof(in), out);
		assert_true(n <= sizeof(in) + FILTER_SEQ_MAX);
		assert_int_equal(out[sizeof(out) - 1], 0x55);
		for (size_t i = 0; i < n; i++) {
			unsigned char c = (unsigned char)out[i];

			if (c == 0x1b)
				assert_int_equal(out[i + 1], '[');
			else
				assert_true(c >= 0x20 || c == '\n' || c == '\t' || c == '\r');
		}
	}
}

static void lines_hold_no_control(void **state)
{
	char out[16];

	(void)state;
	assert_string_equal(filter_line("a\nb\x1b[31mc", out, sizeof(out)), "a?b?[31mc");
	assert_string_equal(filter_line("\xe2\x82\x1b]x", out, sizeof(out)), "??]x");
	assert_string_equal(filter_line("0123456789abcdefgh", out, sizeof(out)), "0123456789abcde");
	assert_string_equal(filter_line("0123456789abcd\xc3\xbc", out, sizeof(out)), "0123456789abcd");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(as_one_piece),
		cmocka_unit_test(cut_at_every_place),
		cmocka_unit_test(colours_can_be_dropped),
		cmocka_unit_test(a_sequence_without_end_does_not_grow),
		cmocka_unit_test(random_bytes_never_overflow_nor_pass_controls),
		cmocka_unit_test(lines_hold_no_control),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
