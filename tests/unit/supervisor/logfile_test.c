/* SPDX-License-Identifier: Apache-2.0 */
/* logfile_test.c - guest bytes as they came, host lines at line ends, the limit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "logfile.h"

static struct logfile log_;
static char content[65536];

static void begin(uint64_t limit)
{
	logfile_init(&log_, memfd_create("log", 0), limit);
}

static void guest(const char *text)
{
	struct err e;

	assert_int_equal(logfile_append(&log_, (const uint8_t *)text, strlen(text), &e), 0);
}

static void host(const char *text)
{
	struct err e;

	assert_int_equal(logfile_host_line(&log_, text, &e), 0);
}

/* End: what the file holds, which must be as long as was counted. */
static const char *end(void)
{
	struct err e;
	ssize_t n;

	assert_int_equal(logfile_settle(&log_, &e), 0);
	assert_int_equal(logfile_sync(&log_, &e), 0);
	n = pread(log_.fd, content, sizeof(content) - 1, 0);
	assert_int_equal(n, log_.size_bytes);
	content[n] = '\0';
	close(log_.fd);
	return content;
}

static void host_lines_wait_for_the_end_of_a_line(void **state)
{
	(void)state;
	begin(0);
	host("a");
	guest("one");
	host("b");
	host("c");
	guest(" two");
	guest(" three\nfour");
	host("d");
	guest("\n");
	host("e");
	assert_string_equal(end(), "kiln: a\none two three\nkiln: b\nkiln: c\nfour\nkiln: d\nkiln: e\n");
}

static void settling_ends_an_unfinished_line_only_for_a_host_line(void **state)
{
	(void)state;
	begin(0);
	guest("unfinished");
	assert_string_equal(end(), "unfinished");
	begin(0);
	guest("unfinished");
	host("x");
	assert_string_equal(end(), "unfinished\nkiln: x\n");
}

static void control_bytes_do_not_pass_in_host_lines(void **state)
{
	char longest[3000];

	(void)state;
	begin(0);
	host("a\x1b[31m\nb\x7f");
	assert_string_equal(end(), "kiln: a?[31m?b?\n");
	memset(longest, 'x', sizeof(longest));
	longest[sizeof(longest) - 1] = '\0';
	begin(0);
	host(longest);
	assert_int_equal(strlen(end()), LOGFILE_LINE_BYTES - 1);
}

static void the_limit_is_said_once_and_the_rest_only_counted(void **state)
{
	(void)state;
	begin(10);
	guest("12345\n");
	guest("678901234567890\n");
	guest("more\n");
	host("still said");
	assert_string_equal(end(), "12345\n6789\nkiln: the log limit of 10 bytes is reached; what follows is "
			    "not kept\nkiln: still said\n");
	assert_int_equal(log_.guest_bytes, 27);
	assert_int_equal(log_.kept_bytes, 10);
	begin(6);
	guest("12345\n");
	assert_false(log_.full);
	assert_string_equal(end(), "12345\n");
}

static void many_pieces_are_written_in_order(void **state)
{
	static char pieces[1000][16];
	char want[6001] = "";

	(void)state;
	begin(0);
	for (int i = 0; i < 1000; i++) {
		snprintf(pieces[i], sizeof(pieces[i]), "%04d ", i);
		guest(pieces[i]);
		snprintf(want + i * 5, 6, "%s", pieces[i]);
	}
	assert_string_equal(end(), want);
}

static void waiting_lines_are_bounded(void **state)
{
	(void)state;
	begin(0);
	guest("x");
	for (int i = 0; i < 10000; i++)
		host("a line that waits");
	assert_true(strlen(end()) <= LOGFILE_PENDING_BYTES + 2);
	assert_non_null(strstr(content, "waits\n"));
}

static void a_write_that_fails_is_an_error(void **state)
{
	struct err e = { 0 };

	(void)state;
	logfile_init(&log_, -1, 0);
	guest("x");
	assert_int_equal(logfile_flush(&log_, &e), -1);
	assert_string_equal(e.code, "io");
	assert_non_null(strstr(e.text, "cannot write the log"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(host_lines_wait_for_the_end_of_a_line),
		cmocka_unit_test(settling_ends_an_unfinished_line_only_for_a_host_line),
		cmocka_unit_test(control_bytes_do_not_pass_in_host_lines),
		cmocka_unit_test(the_limit_is_said_once_and_the_rest_only_counted),
		cmocka_unit_test(many_pieces_are_written_in_order),
		cmocka_unit_test(waiting_lines_are_bounded),
		cmocka_unit_test(a_write_that_fails_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
