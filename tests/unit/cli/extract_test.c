/* SPDX-License-Identifier: Apache-2.0 */
/* extract_test.c - artifacts of a hostile guest stay inside their directory. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "extract.h"
#include "fileio.h"

static char dir[64];
static char refused[4096];

static int setup(void **state)
{
	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/kiln-extract-test-XXXXXX");
	refused[0] = '\0';
	return mkdtemp(dir) && chdir(dir) == 0 ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	return chdir("/") == 0 ? fileio_remove_tree(AT_FDCWD, dir, NULL) : -1;
}

/* The content of an artifact is its index. */
static int copy(void *arg, const json_t *entry, int fd, struct err *e)
{
	char text[32];
	int n = snprintf(text, sizeof(text), "%lld", (long long)json_integer_value(json_object_get(entry, "index")));

	(void)arg;
	return fileio_write_full(fd, text, (size_t)n, e);
}

static void on_refused(void *arg, const char *path, const char *why)
{
	size_t n = strlen(refused);

	(void)arg;
	(void)why;
	snprintf(refused + n, sizeof(refused) - n, "[%s]", path);
}

static int run(struct extract *x, const char *files, struct err *e)
{
	char text[4096];
	json_t *m;
	int rc;

	snprintf(text, sizeof(text), "{\"files\": [%s]}", files);
	m = json_loads(text, 0, NULL);
	assert_non_null(m);
	x->target = x->target ? x->target : "out";
	x->copy = copy;
	x->refused = on_refused;
	memset(e, 0, sizeof(*e));
	rc = extract_manifest(x, m, e);
	json_decref(m);
	return rc;
}

static void assert_content(const char *path, const char *want)
{
	char *text = NULL;
	struct err e;

	if (fileio_read(AT_FDCWD, path, 1000, &text, NULL, &e) < 0)
		fail_msg("%s", e.text);
	assert_string_equal(text, want);
	free(text);
}

static void files_modes_times_and_links(void **state)
{
	struct extract x = { 0 };
	char target[64] = "";
	struct stat st;
	struct err e;

	(void)state;
	if (run(&x, "{\"index\":0,\"path\":\"bin/a\",\"type\":\"file\",\"mode\":\"4755\",\"mtime\":1700000000},"
		    "{\"index\":1,\"path\":\"empty\",\"type\":\"dir\"},"
		    "{\"index\":2,\"path\":\"l\",\"type\":\"symlink\",\"target\":\"bin/a\"},"
		    "{\"index\":0,\"path\":\"hard\",\"type\":\"hardlink\",\"target\":\"bin/a\",\"mode\":\"0600\"}", &e) < 0)
		fail_msg("%s", e.text);
	assert_content("out/bin/a", "0");
	assert_content("out/hard", "0");
	assert_int_equal(stat("out/bin/a", &st), 0);
	assert_int_equal(st.st_mode & 07777, 0755); /* never setuid */
	assert_int_equal(st.st_mtime, 1700000000);
	assert_int_equal(stat("out/empty", &st), 0);
	assert_true(S_ISDIR(st.st_mode));
	assert_int_equal(readlink("out/l", target, sizeof(target) - 1), 5);
	assert_string_equal(target, "bin/a");
	assert_int_equal(x.files, 3);
	assert_int_equal(x.left_out, 0);
}

static void names_that_lead_out_are_refused(void **state)
{
	struct extract x = { 0 };
	struct err e;

	(void)state;
	assert_int_equal(run(&x, "{\"index\":1,\"path\":\"../a\",\"type\":\"file\"},"
				 "{\"index\":1,\"path\":\"/tmp/kiln-evil\",\"type\":\"file\"},"
				 "{\"index\":1,\"path\":\"a/../../b\",\"type\":\"file\"},"
				 "{\"index\":1,\"path\":\"\",\"type\":\"file\"},"
				 "{\"index\":1,\"path\":\"a//b\",\"type\":\"file\"},"
				 "{\"index\":1,\"path\":\"./c\",\"type\":\"file\"},"
				 "{\"index\":1,\"path\":\"dev\",\"type\":\"chardev\"},"
				 "{\"index\":1,\"path\":\"ok\",\"type\":\"file\"}", &e), 0);
	assert_int_equal(x.files, 1);
	assert_int_equal(x.left_out, 7);
	assert_int_equal(access("a", F_OK), -1);
	assert_int_equal(access("/tmp/kiln-evil", F_OK), -1);
}

static void nothing_is_written_through_a_link(void **state)
{
	struct extract x = { 0 };
	struct err e;

	(void)state;
	assert_int_equal(mkdir("victim", 0755), 0);
	/* The same name as link and as directory, and a file below it, in each order. */
	assert_int_equal(run(&x, "{\"index\":0,\"path\":\"d\",\"type\":\"symlink\",\"target\":\"../victim\"},"
				 "{\"index\":1,\"path\":\"d/x\",\"type\":\"file\"},"
				 "{\"index\":2,\"path\":\"d\",\"type\":\"symlink\",\"target\":\"other\"}", &e), 0);
	assert_int_equal(access("victim/x", F_OK), -1);
	assert_content("out/d/x", "1");
	assert_string_equal(refused, "[d][d]");
}

static void two_of_one_name_keep_the_first(void **state)
{
	struct extract x = { 0 };
	struct err e;

	(void)state;
	assert_int_equal(run(&x, "{\"index\":1,\"path\":\"a\",\"type\":\"file\"},{\"index\":2,\"path\":\"a\",\"type\":\"file\"},"
				 "{\"index\":3,\"path\":\"a/b\",\"type\":\"file\"}", &e), 0);
	assert_content("out/a", "1");
	assert_string_equal(refused, "[a][a/b]");
}

static void link_targets(void **state)
{
	static const struct { const char *path, *target; int ok; } cases[] = {
		{ "l", "a", 1 }, { "l", "a/b", 1 }, { "d/l", "../a", 1 }, { "l", ".", 1 }, { "l", "./a", 1 },
		{ "d/e/l", "../../a", 1 }, { "l", "a/./b", 1 }, { "l", "..a", 1 },
		{ "l", "..", 0 }, { "l", "../a", 0 }, { "d/l", "../../a", 0 }, { "l", "/etc/passwd", 0 },
		{ "l", "", 0 }, { "l", "a/../b", 0 }, { "d/l", "x/../../y", 0 }, { "d/l", "..//..//x", 0 },
		{ "d/l", "./../../x", 0 }, { "d/l", "x/../y", 0 }, { "d/e/l", "../x/../y", 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		if (extract_link_ok(cases[i].path, cases[i].target) != cases[i].ok)
			fail_msg("%s -> %s", cases[i].path, cases[i].target);
}

static void what_is_there_is_kept_unless_it_may_go(void **state)
{
	struct extract x = { 0 };
	struct err e;

	(void)state;
	assert_int_equal(mkdir("out", 0755), 0);
	assert_int_equal(run(&x, "{\"index\":1,\"path\":\"a\",\"type\":\"file\"}", &e), 0); /* it was empty */
	assert_int_equal(run(&x, "{\"index\":2,\"path\":\"b\",\"type\":\"file\"}", &e), -1);
	assert_string_equal(e.code, "exists");
	assert_content("out/a", "1");
	x.replace = 1;
	assert_int_equal(run(&x, "{\"index\":2,\"path\":\"b\",\"type\":\"file\"}", &e), 0);
	assert_content("out/b", "2");
	assert_int_equal(access("out/a", F_OK), -1);
	/* Nothing of the work is left beside it. */
	assert_int_equal(rmdir("."), -1);
	assert_int_equal(unlink("out/b"), 0);
	assert_int_equal(rmdir("out"), 0);
	assert_int_equal(rmdir(dir), 0);
	assert_int_equal(mkdir(dir, 0755), 0);
}

static void links_files_and_dear_directories_are_never_replaced(void **state)
{
	struct extract x = { .replace = 1 };
	char above[80];
	struct err e;

	(void)state;
	assert_int_equal(mkdir("real", 0755), 0);
	assert_int_equal(symlink("real", "out"), 0);
	assert_int_equal(run(&x, "", &e), -1);
	assert_int_equal(unlink("out"), 0);
	assert_int_equal(fileio_replace(AT_FDCWD, "out", "x", 1, 0600, NULL), 0);
	assert_int_equal(run(&x, "", &e), -1);
	assert_content("out", "x");
	x.target = dir;
	assert_int_equal(run(&x, "", &e), -1);
	snprintf(above, sizeof(above), "%s/..", dir);
	x.target = above;
	assert_int_equal(run(&x, "", &e), -1);
	x.target = "/";
	assert_int_equal(run(&x, "", &e), -1);
	setenv("HOME", "/tmp/kiln-extract-home/me", 1);
	assert_int_equal(fileio_mkdirs("/tmp/kiln-extract-home/me", 0755, NULL), 0);
	x.target = "/tmp/kiln-extract-home";
	assert_int_equal(run(&x, "", &e), -1);
	assert_int_equal(access("/tmp/kiln-extract-home/me", F_OK), 0);
	fileio_remove_tree(AT_FDCWD, "/tmp/kiln-extract-home", NULL);
}

static int failing(void *arg, const json_t *entry, int fd, struct err *e)
{
	(void)arg;
	(void)entry;
	(void)fd;
	return err_set(e, "io", "no");
}

static void a_failure_leaves_what_was_there(void **state)
{
	struct extract x = { .target = "out", .replace = 1, .copy = failing };
	json_t *m = json_pack("{s:[{s:i, s:s, s:s}]}", "files", "index", 0, "path", "a", "type", "file");
	struct err e;

	(void)state;
	assert_int_equal(mkdir("out", 0755), 0);
	assert_int_equal(fileio_replace(AT_FDCWD, "out/old", "x", 1, 0600, NULL), 0);
	assert_int_equal(extract_manifest(&x, m, &e), -1);
	assert_content("out/old", "x");
	json_decref(m);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(files_modes_times_and_links),
		T(names_that_lead_out_are_refused),
		T(nothing_is_written_through_a_link),
		T(two_of_one_name_keep_the_first),
		T(link_targets),
		T(what_is_there_is_kept_unless_it_may_go),
		T(links_files_and_dear_directories_are_never_replaced),
		T(a_failure_leaves_what_was_there),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
