/* SPDX-License-Identifier: Apache-2.0 */
/* console_test.c - the console's file is bounded, keeps head and end, and its tail is safe text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "console.h"
#include "fileio.h"

static char place[64];
static int dir_fd;

static int setup(void **state)
{
	(void)state;
	snprintf(place, sizeof(place), "/tmp/console_test.XXXXXX");
	if (!mkdtemp(place))
		return -1;
	dir_fd = open(place, O_RDONLY | O_DIRECTORY);
	return dir_fd < 0;
}

static int teardown(void **state)
{
	(void)state;
	close(dir_fd);
	return fileio_remove_tree(AT_FDCWD, place, NULL);
}

/* Run the process over n bytes of p, in pieces; its exit status. */
static int copy(const char *p, size_t n, uint64_t limit_bytes)
{
	struct console_args args = { limit_bytes };
	int fds[2], out, status;
	pid_t pid;

	assert_int_equal(pipe(fds), 0);
	out = openat(dir_fd, "console.log", O_WRONLY | O_CREAT | O_TRUNC, 0600);
	pid = fork();
	if (pid == 0) {
		dup2(fds[0], 100);
		dup2(out, 101);
		dup2(100, CONSOLE_IN_FD);
		dup2(101, CONSOLE_OUT_FD);
		for (int fd = 5; fd < 102; fd++)
			close(fd);
		_exit(console_body(&args));
	}
	close(fds[0]);
	close(out);
	for (size_t at = 0; at < n; at += 1000)
		assert_true(write(fds[1], p + at, n - at < 1000 ? n - at : 1000) > 0);
	close(fds[1]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static void test_small_is_kept_whole(void **state)
{
	char *got;
	size_t n;

	(void)state;
	assert_int_equal(copy("hello\nworld\n", 12, 4096), 0);
	assert_int_equal(fileio_read(dir_fd, "console.log", 4096, &got, &n, NULL), 0);
	assert_string_equal(got, "hello\nworld\n");
	free(got);
}

static void test_flood_is_bounded(void **state)
{
	size_t n = 3000000, len;
	char *p = malloc(n), *got;

	(void)state;
	memset(p, '.', n);
	memcpy(p, "the beginning", 13);
	memcpy(p + n - 7, "the end", 7);
	assert_int_equal(copy(p, n, 8192), 0);
	assert_int_equal(fileio_read(dir_fd, "console.log", 8192, &got, &len, NULL), 0);
	assert_in_range(len, 8000, 8192);
	assert_memory_equal(got, "the beginning", 13);
	assert_string_equal(got + len - 7, "the end");
	assert_non_null(strstr(got, "bytes left out]\n"));
	free(got);
	assert_int_equal(copy(p, n, 1 << 20), 0);
	assert_int_equal(fileio_read(dir_fd, "console.log", 1 << 20, &got, &len, NULL), 0);
	assert_in_range(len, CONSOLE_HEAD + CONSOLE_TAIL, CONSOLE_HEAD + CONSOLE_TAIL + 64);
	free(got);
	free(p);
}

static void test_tail_is_safe_text(void **state)
{
	char out[CONSOLE_TAIL_TEXT + 1];
	bool panicked;

	(void)state;
	console_tail(dir_fd, out, sizeof(out), &panicked);
	assert_string_equal(out, "");
	assert_int_equal(copy("a\x1b[2J\xff\0b\r\nc\td", 14, 4096), 0);
	console_tail(dir_fd, out, sizeof(out), &panicked);
	assert_string_equal(out, "a?[2J?b\nc\td");
	assert_false(panicked);
	assert_int_equal(copy("\n[ 1.0] Kernel panic - not syncing: x\n", 38, 4096), 0);
	console_tail(dir_fd, out, sizeof(out), &panicked);
	assert_true(panicked);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_small_is_kept_whole, setup, teardown),
		cmocka_unit_test_setup_teardown(test_flood_is_bounded, setup, teardown),
		cmocka_unit_test_setup_teardown(test_tail_is_safe_text, setup, teardown),
	};

	return cmocka_run_group_tests_name("supervisor/console", tests, NULL, NULL);
}
