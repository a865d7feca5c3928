/* SPDX-License-Identifier: Apache-2.0 */
/* tarout_test.c - a tar pulled in small pieces; names that must not get into one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fileio.h"
#include "../../../host/daemon/manifest.h"
#include "../../../host/daemon/tarout.h"

struct place {
	char dir[64];
	int fd;
};

static int open_place(void **state)
{
	struct place *p = calloc(1, sizeof(*p));
	int fd;

	snprintf(p->dir, sizeof(p->dir), "/tmp/kiln-tar-XXXXXX");
	assert_non_null(mkdtemp(p->dir));
	p->fd = open(p->dir, O_RDONLY | O_DIRECTORY);
	assert_int_equal(mkdirat(p->fd, "artifacts", 0700), 0);
	fd = openat(p->fd, "artifacts/0", O_WRONLY | O_CREAT, 0600);
	for (int i = 0; i < 10000; i++)
		assert_int_equal(write(fd, "0123456789", 10), 10);
	close(fd);
	*state = p;
	return 0;
}

static int close_place(void **state)
{
	struct place *p = *state;

	assert_int_equal(fileio_remove_tree(AT_FDCWD, p->dir, NULL), 0);
	close(p->fd);
	free(p);
	return 0;
}

static void write_manifest(struct place *p, const char *files)
{
	char text[2048];
	int n = snprintf(text, sizeof(text), "{\"format\": 1, \"files\": %s, \"total_bytes\": 1}", files);

	assert_int_equal(fileio_replace(p->fd, "manifest.json", text, (size_t)n, 0600, NULL), 0);
}

/* Pull everything, piece bytes at a time. -1: it could not be completed. */
static ssize_t pull(struct place *p, const char *files, size_t piece, char **out)
{
	struct tarout *t = NULL;
	struct err e = { 0 };
	size_t len = 0, cap = 1 << 20;
	char *buf = malloc(cap);
	ssize_t n;

	write_manifest(p, files);
	assert_int_equal(tarout_new(p->fd, &t, &e), 0);
	while ((n = tarout_read(t, buf + len, piece, &e)) > 0) {
		assert_true((size_t)n <= piece);
		len += (size_t)n;
		assert_true(len + piece < cap);
	}
	tarout_free(t);
	*out = buf;
	return n < 0 ? -1 : (ssize_t)len;
}

#define FILE0 "{\"index\":0,\"path\":\"a\",\"type\":\"file\",\"size\":100000,\"mode\":\"0644\",\"mtime\":1}"

static void test_same_in_any_pieces(void **state)
{
	static const size_t pieces[] = { 1000, 3333, 65536 };
	char *whole = NULL, *other = NULL;
	ssize_t n = pull(*state, "[" FILE0 "]", 512, &whole);
	struct archive *a = archive_read_new();
	struct archive_entry *ae;

	assert_true(n > 100000);
	for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
		assert_int_equal(pull(*state, "[" FILE0 "]", pieces[i], &other), n);
		assert_memory_equal(whole, other, (size_t)n);
		free(other);
	}
	archive_read_support_format_tar(a);
	assert_int_equal(archive_read_open_memory(a, whole, (size_t)n), ARCHIVE_OK);
	assert_int_equal(archive_read_next_header(a, &ae), ARCHIVE_OK);
	assert_string_equal(archive_entry_pathname(ae), "a");
	assert_int_equal(archive_entry_size(ae), 100000);
	assert_int_equal(archive_read_next_header(a, &ae), ARCHIVE_EOF);
	archive_read_free(a);
	free(whole);
}

static void test_refused(void **state)
{
	static const char *const bad[] = {
		"[{\"index\":0,\"path\":\"/a\",\"type\":\"file\",\"size\":100000}]",
		"[{\"index\":0,\"path\":\"../a\",\"type\":\"file\",\"size\":100000}]",
		"[{\"index\":0,\"path\":\"\",\"type\":\"file\",\"size\":100000}]",
		"[{\"index\":0,\"path\":\"a/./b\",\"type\":\"dir\"}]",
		"[{\"path\":\"l\",\"type\":\"symlink\",\"target\":\"/etc\"},{\"path\":\"l/x\",\"type\":\"dir\"}]",
		"[{\"index\":0,\"path\":\"h\",\"type\":\"hardlink\",\"target\":\"/etc/passwd\"}]",
		"[{\"index\":0,\"path\":\"a\",\"type\":\"file\",\"size\":99999}]",
		"[{\"index\":7,\"path\":\"a\",\"type\":\"file\",\"size\":1}]",
		"[{\"index\":-1,\"path\":\"a\",\"type\":\"file\",\"size\":1}]",
		"[{\"path\":\"a\",\"type\":\"file\",\"size\":1}]",
		"[{\"index\":0,\"path\":\"a\",\"type\":\"device\",\"size\":100000}]",
		"[5]",
	};
	char *out;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(pull(*state, bad[i], 4096, &out), -1);
		free(out);
	}
}

static void test_names(void **state)
{
	(void)state;
	assert_true(manifest_name_ok("a"));
	assert_true(manifest_name_ok("a/b/..c/.d/e.."));
	assert_true(manifest_name_ok("..."));
	assert_false(manifest_name_ok(""));
	assert_false(manifest_name_ok("/"));
	assert_false(manifest_name_ok("a/"));
	assert_false(manifest_name_ok("a//b"));
	assert_false(manifest_name_ok("."));
	assert_false(manifest_name_ok("a/.."));
	assert_false(manifest_name_ok("../a"));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, open_place, close_place)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_same_in_any_pieces), TEST(test_refused), cmocka_unit_test(test_names),
	};

	return cmocka_run_group_tests_name("daemon/tarout", tests, NULL, NULL);
}
