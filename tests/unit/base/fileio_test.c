/* SPDX-License-Identifier: Apache-2.0 */
/* fileio_test.c - caps, links, replacement by rename, removal of trees. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "cleanup.h"
#include "fileio.h"

struct place {
	char path[64];
	int fd;
};

static int setup(void **state)
{
	static struct place p;

	snprintf(p.path, sizeof(p.path), "/tmp/fileio_test.XXXXXX");
	if (!mkdtemp(p.path))
		return -1;
	p.fd = open(p.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	*state = &p;
	return p.fd < 0;
}

static int teardown(void **state)
{
	struct place *p = *state;
	struct err e = { 0 };

	close(p->fd);
	return fileio_remove_tree(AT_FDCWD, p->path, &e);
}

static void replaces_and_reads_back(void **state)
{
	struct place *p = *state;
	_cleanup_free_ char *got = NULL;
	struct err e = { 0 };
	struct stat st;
	size_t n = 0;

	assert_int_equal(fileio_replace(p->fd, "f", "one", 3, 0600, &e), 0);
	assert_int_equal(fileio_replace(p->fd, "f", "three", 5, 0640, &e), 0);
	assert_int_equal(fileio_read(p->fd, "f", 5, &got, &n, &e), 0);
	assert_int_equal(n, 5);
	assert_string_equal(got, "three");
	assert_int_equal(fstatat(p->fd, "f", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0640);
	assert_int_equal(faccessat(p->fd, "f.new", F_OK, 0), -1);
}

static void refuses_what_is_too_large_or_no_file(void **state)
{
	struct place *p = *state;
	char *got = NULL;
	struct err e = { 0 };

	assert_int_equal(fileio_replace(p->fd, "f", "12345", 5, 0600, &e), 0);
	assert_int_equal(fileio_read(p->fd, "f", 4, &got, NULL, &e), -1);
	assert_string_equal(e.code, "too_large");
	assert_int_equal(fileio_read(p->fd, "none", 4, &got, NULL, &e), -1);
	assert_string_equal(e.code, "not_found");
	assert_int_equal(symlinkat("f", p->fd, "link"), 0);
	assert_int_equal(fileio_read(p->fd, "link", 10, &got, NULL, &e), -1);
	assert_int_equal(mkfifoat(p->fd, "fifo", 0600), 0);
	assert_int_equal(fileio_read(p->fd, "fifo", 10, &got, NULL, &e), -1);
	assert_null(got);
}

static void removes_a_tree_but_not_what_links_point_to(void **state)
{
	struct place *p = *state;
	struct err e = { 0 };
	char path[128];

	snprintf(path, sizeof(path), "%s/a/b/c", p->path);
	assert_int_equal(fileio_mkdirs(path, 0755, &e), 0);
	assert_int_equal(fileio_mkdirs(path, 0755, &e), 0);
	assert_int_equal(fileio_replace(p->fd, "kept", "x", 1, 0600, &e), 0);
	assert_int_equal(symlinkat("../kept", p->fd, "a/link"), 0);
	assert_int_equal(symlinkat("/", p->fd, "a/root"), 0);
	assert_int_equal(fileio_remove_tree(p->fd, "a", &e), 0);
	assert_int_equal(faccessat(p->fd, "a", F_OK, 0), -1);
	assert_int_equal(faccessat(p->fd, "kept", F_OK, 0), 0);
	assert_int_equal(fileio_remove_tree(p->fd, "a", &e), 0);
}

static void a_failed_write_leaves_the_old_file(void **state)
{
	struct place *p = *state;
	struct err e = { 0 };

	assert_int_equal(fileio_mkdirs(p->path, 0755, &e), 0);
	assert_int_equal(fileio_replace(p->fd, "gone/f", "x", 1, 0600, &e), -1);
	assert_string_equal(e.code, "io");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(replaces_and_reads_back, setup, teardown),
		cmocka_unit_test_setup_teardown(refuses_what_is_too_large_or_no_file, setup, teardown),
		cmocka_unit_test_setup_teardown(removes_a_tree_but_not_what_links_point_to, setup,
						teardown),
		cmocka_unit_test_setup_teardown(a_failed_write_leaves_the_old_file, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
