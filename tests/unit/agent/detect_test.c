/* SPDX-License-Identifier: Apache-2.0 */
/* detect_test.c - which build system a directory shows, and what its table promises. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "detect.h"
#include "glob.h"

static const char *const names[] = { "cargo", "make", "cmake", "meson", "npm", "go" };
static const char *const markers[] = { "Cargo.toml", "Makefile", "CMakeLists.txt", "meson.build",
				       "package.json", "go.mod" };

struct dir {
	char path[64];
	int fd;
};

static int setup(void **state)
{
	struct dir *d = calloc(1, sizeof(*d));

	snprintf(d->path, sizeof(d->path), "/tmp/detect_test.XXXXXX");
	assert_non_null(mkdtemp(d->path));
	d->fd = open(d->path, O_RDONLY | O_DIRECTORY);
	assert_true(d->fd >= 0);
	*state = d;
	return 0;
}

static int teardown(void **state)
{
	struct dir *d = *state;
	static const char *const all[] = { "Cargo.toml", "Makefile", "CMakeLists.txt", "meson.build",
					   "package.json", "go.mod", "GNUmakefile", "makefile" };

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		unlinkat(d->fd, all[i], 0);
		unlinkat(d->fd, all[i], AT_REMOVEDIR);
	}
	close(d->fd);
	rmdir(d->path);
	free(d);
	return 0;
}

static void make_file(const struct dir *d, const char *name)
{
	int fd = openat(d->fd, name, O_CREAT | O_WRONLY, 0600);

	assert_true(fd >= 0);
	close(fd);
}

/* Markers appear from the last to the first: each new one wins. */
static void test_order(void **state)
{
	struct dir *d = *state;

	assert_null(detect_find(d->fd, NULL));
	for (size_t i = 6; i-- > 0;) {
		const struct detect_system *s;

		make_file(d, markers[i]);
		s = detect_find(d->fd, NULL);
		assert_non_null(s);
		assert_string_equal(s->name, names[i]);
		assert_string_equal(s->marker, markers[i]);
	}
}

static void test_order_of_the_job(void **state)
{
	struct dir *d = *state;
	static const char *const order[] = { "unknown", "go", "cargo", NULL };
	static const char *const none[] = { NULL };

	make_file(d, "Cargo.toml");
	assert_string_equal(detect_find(d->fd, order)->name, "cargo");
	make_file(d, "go.mod");
	assert_string_equal(detect_find(d->fd, order)->name, "go");
	assert_null(detect_find(d->fd, none));
}

static void test_other_names_and_kinds(void **state)
{
	struct dir *d = *state;

	assert_int_equal(mkdirat(d->fd, "Makefile", 0700), 0);
	assert_null(detect_find(d->fd, NULL)); /* a directory is no marker */
	make_file(d, "makefile");
	assert_string_equal(detect_find(d->fd, NULL)->name, "make");
	unlinkat(d->fd, "makefile", 0);
	make_file(d, "GNUmakefile");
	assert_string_equal(detect_find(d->fd, NULL)->name, "make");
	assert_int_equal(symlinkat("/nowhere", d->fd, "Cargo.toml"), 0);
	assert_string_equal(detect_find(d->fd, NULL)->name, "cargo"); /* by its name */
}

static void test_table_is_whole(void **state)
{
	(void)state;
	for (size_t i = 0; i < 6; i++) {
		const struct detect_system *s = detect_by_name(names[i]);
		struct glob *g;
		const char *why;

		assert_non_null(s);
		assert_true(*s->run && *s->tool && s->artifacts[0]);
		for (size_t k = 0; s->artifacts[k]; k++) {
			assert_int_equal(glob_compile(s->artifacts[k], &g, &why), 0);
			glob_free(g);
		}
		for (size_t k = 0; k < 12 && s->exclude[k]; k++) {
			assert_int_equal(glob_compile(s->exclude[k], &g, &why), 0);
			glob_free(g);
		}
	}
	assert_null(detect_by_name("bazel"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_order, setup, teardown),
		cmocka_unit_test_setup_teardown(test_order_of_the_job, setup, teardown),
		cmocka_unit_test_setup_teardown(test_other_names_and_kinds, setup, teardown),
		cmocka_unit_test(test_table_is_whole),
	};

	return cmocka_run_group_tests_name("agent/detect", tests, NULL, NULL);
}
