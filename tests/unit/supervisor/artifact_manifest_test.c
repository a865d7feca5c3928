/* SPDX-License-Identifier: Apache-2.0 */
/* artifact_manifest_test.c - the set of paths and the file; the one form of a path. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "artifact_manifest.h"

static char dir[] = "/tmp/manifest-XXXXXX";
static int dir_fd;
static struct manifest *m;

static int set_up(void **state)
{
	struct err e;

	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/manifest-XXXXXX");
	dir_fd = mkdtemp(dir) ? open(dir, O_RDONLY | O_DIRECTORY) : -1;
	return manifest_new(&m, dir_fd, "build_x", 100000, &e);
}

static int tear_down(void **state)
{
	(void)state;
	manifest_free(m);
	unlinkat(dir_fd, MANIFEST_NAME, 0);
	close(dir_fd);
	return rmdir(dir); /* fails when anything else is left */
}

static void add(enum tarin_type type, const char *path, const char *target)
{
	struct tarin_entry tar = { .type = type, .mode = 0644, .size = 3, .mtime = 7 };
	struct manifest_entry x = { &tar, path, target, manifest_next(m),
				    type == TARIN_FILE ? "ab" : NULL };
	struct err e;

	assert_null(manifest_judge(m, path, type));
	assert_int_equal(manifest_add(m, &x, &e), 0);
}

static void nothing_is_put_below_what_is_no_directory(void **state)
{
	(void)state;
	add(TARIN_SYMLINK, "l", "/etc");
	add(TARIN_FILE, "d/e/f", NULL);
	assert_non_null(manifest_judge(m, "l/x", TARIN_FILE));
	assert_non_null(manifest_judge(m, "l/x/y/z", TARIN_FILE));
	assert_non_null(manifest_judge(m, "d/e/f/g", TARIN_DIR));
	assert_non_null(manifest_judge(m, "d/e/f", TARIN_FILE));
	assert_non_null(manifest_judge(m, "d/e", TARIN_SYMLINK)); /* f lies below it */
	assert_null(manifest_judge(m, "d/e", TARIN_DIR));
	assert_null(manifest_judge(m, "lx", TARIN_FILE));
	assert_null(manifest_judge(m, "d/e/g", TARIN_FILE));
	add(TARIN_DIR, "d/e", NULL);
	assert_non_null(manifest_judge(m, "d/e", TARIN_DIR));
}

static void many_entries_keep_their_index(void **state)
{
	char path[64], want[64];
	uint32_t index;
	struct err e;
	json_t *o, *files;
	FILE *f;

	(void)state;
	for (unsigned i = 0; i < 20000; i++) {
		snprintf(path, sizeof(path), "dir%u/file \"%u\"", i % 100, i);
		add(TARIN_FILE, path, NULL);
	}
	for (unsigned i = 0; i < 20000; i++) {
		snprintf(path, sizeof(path), "dir%u/file \"%u\"", i % 100, i);
		assert_int_equal(manifest_find(m, path, &index), MANIFEST_FILE);
		assert_int_equal(index, i);
	}
	assert_int_equal(manifest_find(m, "dir1", &index), MANIFEST_DIR_ABOVE);
	assert_int_equal(manifest_find(m, "dir100", &index), MANIFEST_NEW);
	assert_int_equal(manifest_finish(m, "sum", 12, 34, &e), 0);
	assert_int_equal(manifest_sync(m, &e), 0);
	snprintf(want, sizeof(want), "%s/%s", dir, MANIFEST_NAME);
	f = fopen(want, "r");
	assert_non_null(f);
	o = json_loadf(f, 0, NULL);
	fclose(f);
	files = json_object_get(o, "files");
	assert_int_equal(json_array_size(files), 20000);
	assert_string_equal(json_string_value(json_object_get(json_array_get(files, 19999), "path")), path);
	assert_int_equal(json_integer_value(json_object_get(o, "total_bytes")), 34);
	assert_string_equal(json_string_value(json_object_get(o, "build_id")), "build_x");
	json_decref(o);
}

static void an_unfinished_manifest_leaves_nothing(void **state)
{
	(void)state;
	add(TARIN_FILE, "a", NULL); /* tear_down finds the directory empty */
}

static void the_largest_entry_fits(void **state)
{
	static char path[4097], target[4097];

	(void)state;
	memset(path, 1, 4096);
	memset(target, 2, 4096);
	for (int i = 0; i < 5; i++) {
		path[0] = (char)('a' + i);
		add(TARIN_SYMLINK, path, target);
	}
}

/* Names are a guest's own choice: without an end they would fill the host's disk and its memory. */
static void the_manifest_has_an_end(void **state)
{
	static char path[4097], target[4097];
	struct stat st;
	struct err e;
	unsigned n = 0;

	(void)state;
	memset(path, 1, 4096);
	memset(target, 2, 4096);
	for (; n < 20000; n++) {
		snprintf(path, 9, "%08u", n);
		path[8] = 1;
		if (manifest_judge(m, path, TARIN_SYMLINK))
			break;
		add(TARIN_SYMLINK, path, target);
	}
	assert_in_range(n, 100, 19999);
	assert_non_null(manifest_judge(m, "short", TARIN_FILE));
	assert_int_equal(manifest_finish(m, "sum", 1, 2, &e), 0);
	assert_int_equal(fstatat(dir_fd, MANIFEST_NAME, &st, 0), 0);
	assert_in_range(st.st_size, 1, MANIFEST_BYTES_MAX);
}

static void paths_have_one_form(void **state)
{
	static const char *const good[][2] = {
		{ "a", "a" }, { "./a", "a" }, { "a/", "a" }, { "a//b", "a/b" }, { "./././a/./b/.", "a/b" },
		{ ".", "" }, { "./", "" }, { "", "" }, { "..a", "..a" }, { "a../b..", "a../b.." },
		{ ".../x", ".../x" },
	};
	static const char *const bad[] = { "/", "/a", "//a", "..", "../a", "a/..", "a/../b", "./..", "./../a" };
	char out[16], deep[1024] = "", wide[4097];

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_null(tarin_path(good[i][0], out, sizeof(out)));
		assert_string_equal(out, good[i][1]);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (!tarin_path(bad[i], out, sizeof(out)))
			fail_msg("'%s' was taken for '%s'", bad[i], out);
	assert_non_null(tarin_path("0123456789abcdef", out, sizeof(out)));
	assert_non_null(tarin_path("0123456/89abcde/g", out, sizeof(out)));
	for (unsigned i = 0; i < TARIN_DEPTH_MAX; i++)
		memcpy(deep + 2 * i, "a/", 3);
	assert_null(tarin_path(deep, wide, sizeof(wide)));
	memcpy(deep + 2 * TARIN_DEPTH_MAX, "b", 2);
	assert_non_null(tarin_path(deep, wide, sizeof(wide)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(nothing_is_put_below_what_is_no_directory, set_up, tear_down),
		cmocka_unit_test_setup_teardown(many_entries_keep_their_index, set_up, tear_down),
		cmocka_unit_test_setup_teardown(an_unfinished_manifest_leaves_nothing, set_up, tear_down),
		cmocka_unit_test_setup_teardown(the_largest_entry_fits, set_up, tear_down),
		cmocka_unit_test_setup_teardown(the_manifest_has_an_end, set_up, tear_down),
		cmocka_unit_test(paths_have_one_form),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
