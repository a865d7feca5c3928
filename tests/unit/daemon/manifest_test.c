/* SPDX-License-Identifier: Apache-2.0 */
/* manifest_test.c - a manifest read entry by entry, however long it is and whoever encoded it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fileio.h"
#include "../../../host/daemon/manifest.h"

static char dir[] = "/tmp/kiln-manifest-XXXXXX";
static int dirfd;

static int set_up(void **state)
{
	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/kiln-manifest-XXXXXX");
	assert_non_null(mkdtemp(dir));
	dirfd = open(dir, O_RDONLY | O_DIRECTORY);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	close(dirfd);
	return fileio_remove_tree(AT_FDCWD, dir, NULL);
}

static void put(const char *text)
{
	assert_int_equal(fileio_replace(dirfd, "manifest.json", text, strlen(text), 0600, NULL), 0);
}

/* How many entries there are, -1 when it is not readable. */
static int count(void)
{
	struct manifest *m = NULL;
	json_t *entry = NULL;
	struct err e;
	int rc, n = 0;

	if (manifest_begin(dirfd, &m, &e) < 0)
		return -1;
	while ((rc = manifest_next(m, &entry, &e)) > 0) {
		json_decref(entry);
		n++;
	}
	manifest_end(m);
	return rc < 0 ? -1 : n;
}

static json_int_t index_of(const char *path)
{
	json_t *entry = NULL;
	json_int_t index = -1;
	struct err e;

	assert_int_equal(manifest_find(dirfd, path, &entry, &e), 0);
	if (entry)
		index = json_integer_value(json_object_get(entry, "index"));
	json_decref(entry);
	return index;
}

static void test_forms(void **state)
{
	static const struct { const char *text; int n; } forms[] = {
		{ "{\"files\":[]}", 0 }, { "{\"a\":{},\"files\" : [ ] }", 0 },
		{ "{\"files\":[\n{\"path\":\"a\"},\n{\"path\":\"}]\\\"{\",\"x\":{\"y\":[]}}],\n\"sha256\":\"\"}", 2 },
		{ "{\"files\":[{\"path\":\"\\\\\"},{}]}", 2 },
		{ "", -1 }, { "{}", -1 }, { "{\"files\":5}", -1 }, { "{\"files\":[5]}", -1 },
		{ "{\"files\":[{}", -1 }, { "{\"files\":[{", -1 }, { "{\"files\":[{\"a", -1 },
		{ "{\"files\":[{\"a\":}]}", -1 }, { "{\"files\"", -1 }, { "{\"files\":[{\"a\\", -1 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		put(forms[i].text);
		if (count() != forms[i].n)
			fail_msg("%s: %d entries", forms[i].text, count());
	}
}

static void test_find(void **state)
{
	(void)state;
	put("{\"files\":[{\"index\":0,\"path\":\"x\",\"target\":\"a/b\"},{\"index\":1,\"path\":\"a/b\"},"
	    "{\"index\":2,\"path\":\"gr\\u00fc\\u00df\"},{\"index\":3,\"path\":\"q\\\"\\\\\"},"
	    "{\"index\":4,\"path\":\"gr\xc3\xbc\"},{\"index\":5,\"path\":\"a/b\"}]}");
	assert_int_equal(index_of("a/b"), 1);
	assert_int_equal(index_of("gr\xc3\xbc\xc3\x9f"), 2);
	assert_int_equal(index_of("q\"\\"), 3);
	assert_int_equal(index_of("gr\xc3\xbc"), 4);
	assert_int_equal(index_of("a"), -1);
	assert_int_equal(index_of("path"), -1);
	assert_int_equal(index_of("index"), -1);
}

static char *long_name(int i, char name[4096])
{
	int n = snprintf(name, 16, "%d/", i), len = n + i * 7919 % 4000;

	for (; n < len; n++)
		name[n] = (char)('a' + n % 26);
	name[n] = '\0';
	return name;
}

/* Longer than any window on it, with entries of all lengths. */
static void test_long(void **state)
{
	FILE *f;
	char path[PATH_MAX], name[4096];

	(void)state;
	snprintf(path, sizeof(path), "%s/manifest.json", dir);
	f = fopen(path, "w");
	assert_non_null(f);
	fputs("{\"format\":1,\"files\":[", f);
	for (int i = 0; i < 3000; i++)
		fprintf(f, "%s{\"index\":%d,\"path\":\"%s\"}", i ? ",\n" : "\n", i, long_name(i, name));
	fputs("],\n\"sha256\":\"\"}\n", f);
	fclose(f);
	assert_int_equal(count(), 3000);
	assert_int_equal(index_of("0/"), 0);
	assert_int_equal(index_of(long_name(2999, name)), 2999);
	assert_int_equal(index_of("2999/"), -1);
}

static void test_too_long(void **state)
{
	char *text = malloc(MANIFEST_ENTRY_MAX * 5);
	int n = snprintf(text, 64, "{\"files\":[{\"path\":\"");

	(void)state;
	memset(text + n, 'x', MANIFEST_ENTRY_MAX * 5 - (size_t)n - 1);
	text[MANIFEST_ENTRY_MAX * 5 - 1] = '\0';
	put(text);
	free(text);
	assert_int_equal(count(), -1);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = { TEST(test_forms), TEST(test_find), TEST(test_long), TEST(test_too_long) };

	return cmocka_run_group_tests_name("daemon/manifest", tests, NULL, NULL);
}
