/* SPDX-License-Identifier: Apache-2.0 */
/* config_test.c - where a value comes from, what a wrong file says, and secrets. */
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

#include "config.h"
#include "fileio.h"

static char dir[] = "/tmp/kiln-config-test-XXXXXX";

static const char *write_file(const char *name, const char *text, mode_t mode)
{
	static char path[256];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
	return path;
}

/* Load a file with this text; the error's text when it fails. */
static const char *load(const char *yaml, struct config **c)
{
	static struct err e;
	struct config_flags f = { .file = write_file("kiln.yaml", yaml, 0644) };

	memset(&e, 0, sizeof(e));
	*c = NULL;
	return config_load(&f, c, &e) < 0 ? e.text : NULL;
}

static int clean_environment(void **state)
{
	(void)state;
	for (int k = 0; k < CONFIG_KEY_COUNT; k++)
		for (size_t i = 0; i < 4 && config_settings[k].env[i]; i++)
			unsetenv(config_settings[k].env[i]);
	unsetenv("KILN_CONFIG");
	return 0;
}

static void every_default_is_valid_and_says_so(void **state)
{
	struct config *c;

	(void)state;
	assert_null(load("", &c));
	for (int k = 0; k < CONFIG_KEY_COUNT; k++) {
		char *text = config_text(c, (enum config_key)k);

		assert_non_null(text);
		assert_string_equal(config_origin(c, (enum config_key)k), "default");
		assert_false(config_is_set(c, (enum config_key)k));
		free(text);
	}
	assert_int_equal(config_int(c, CONFIG_EMULATION_FACTOR), 20);
	assert_int_equal(config_int(c, CONFIG_LIMITS_LOG_BYTES), 64 << 20);
	assert_int_equal(json_array_size(config_list(c, CONFIG_BUILD_SYSTEMS)), 6);
	config_free(c);
}

static void names_of_settings_are_unique(void **state)
{
	(void)state;
	for (int i = 0; i < CONFIG_KEY_COUNT; i++) {
		assert_non_null(config_settings[i].name);
		assert_non_null(config_settings[i].help);
		for (int k = 0; k < i; k++)
			assert_string_not_equal(config_settings[i].name, config_settings[k].name);
	}
}

static void flag_beats_environment_beats_file_beats_default(void **state)
{
	const char *path = write_file("kiln.yaml", "# a comment\n\nport: 1001\n", 0644);
	struct config_flags f = { .file = path };
	char origin[300];
	struct config *c;
	struct err e;

	(void)state;
	assert_int_equal(config_load(&f, &c, &e), 0);
	assert_int_equal(config_int(c, CONFIG_PORT), 1001);
	snprintf(origin, sizeof(origin), "%s:3", path);
	assert_string_equal(config_origin(c, CONFIG_PORT), origin);
	config_free(c);

	setenv("PORT", "1002", 1);
	assert_int_equal(config_load(&f, &c, &e), 0);
	assert_int_equal(config_int(c, CONFIG_PORT), 1002);
	assert_string_equal(config_origin(c, CONFIG_PORT), "environment PORT");
	config_free(c);

	setenv("KILN_PORT", "1003", 1);
	assert_int_equal(config_load(&f, &c, &e), 0);
	assert_int_equal(config_int(c, CONFIG_PORT), 1003);
	assert_string_equal(config_origin(c, CONFIG_PORT), "environment KILN_PORT");
	config_free(c);

	f.set[f.count].key = CONFIG_PORT;
	f.set[f.count++].value = "1004";
	assert_int_equal(config_load(&f, &c, &e), 0);
	assert_int_equal(config_int(c, CONFIG_PORT), 1004);
	assert_string_equal(config_origin(c, CONFIG_PORT), "flag --port");
	config_free(c);
}

static void an_empty_variable_is_none(void **state)
{
	struct config *c;

	(void)state;
	setenv("KILN_PORT", "", 1);
	setenv("PORT", "81", 1);
	assert_null(load("", &c));
	assert_int_equal(config_int(c, CONFIG_PORT), 81);
	config_free(c);
}

static void other_paths_follow_dir(void **state)
{
	struct config *c;
	char path[64];

	(void)state;
	setenv("ORCHESTRATOR_DIR", "/srv/old", 1);
	assert_null(load("", &c));
	assert_string_equal(config_str(c, CONFIG_SOCKET), "/srv/old/kiln.sock");
	assert_int_equal(config_below(c, path, sizeof(path), "builds/%d", 7), 0);
	assert_string_equal(path, "/srv/old/builds/7");
	assert_int_equal(config_below(c, path, 10, "builds"), -1);
	config_free(c);
}

struct wrong {
	const char *yaml, *says;
};

static void a_wrong_file_is_named_with_line_and_nearest_key(void **state)
{
	static const struct wrong wrongs[] = {
		{ "dir: /x\nprot: 1\n", "kiln.yaml:2: unknown setting 'prot', did you mean 'port'?" },
		{ "vmm:\n  acel: tcg\n", "kiln.yaml:2: unknown setting 'vmm.acel', did you mean 'vmm.accel'?" },
		{ "vm:\n  accel: tcg\n", "kiln.yaml:1: unknown setting 'vm', did you mean 'vmm'?" },
		{ "port: eighty\n", "kiln.yaml:1: port must be an integer, not 'eighty'" },
		{ "port: \"80\"\n", "kiln.yaml:1: port must be a number, not a text in quotes" },
		{ "port: 70000\n", "kiln.yaml:1: port is 70000, it must be between 0 and 65535" },
		{ "port: [80]\n", "kiln.yaml:1: port takes one value, not a list" },
		{ "port:\n  a: 1\n", "kiln.yaml:2: port takes a value" },
		{ "vmm: qemu\n", "kiln.yaml:1: 'vmm' is a section" },
		{ "vmm: [a]\n", "kiln.yaml:1: 'vmm' is a section" },
		{ "egress:\n  allow: pypi.org\n", "kiln.yaml:2: egress.allow must be a list" },
		{ "egress:\n  allow: [\"a b\"]\n", "kiln.yaml:2: egress.allow: 'a b' is not an egress rule" },
		{ "egress:\n  private: [example.org]\n", "kiln.yaml:2: egress.private: 'example.org'" },
		{ "vmm:\n  accel: fast\n", "kiln.yaml:2: vmm.accel must be one of auto|kvm|tcg" },
		{ "port: 80\nport: 81\n", "kiln.yaml:2: port stands here and on line 1" },
		{ "token: abc\n", "kiln.yaml:1: 'token' is a secret: put it into a file and give its path as "
				  "'token_file'" },
		{ "kernel: relative/path\n", "kiln.yaml:1: kernel must be an absolute path" },
		{ "limits:\n  log_bytes: 64MB\n", "kiln.yaml:2: limits.log_bytes must be a number of bytes" },
		{ "limits:\n  log_bytes: 9999999999GiB\n", "kiln.yaml:2: limits.log_bytes is" },
		/* Times 2^30 this wraps around to one that would be allowed. */
		{ "limits:\n  log_bytes: 17179869185GiB\n", "kiln.yaml:2: limits.log_bytes is" },
		{ "a: &x 1\nport: *x\n", "kiln.yaml:1: unknown setting" },
		{ "port: &x 1\nqueue:\n  max: *x\n", "kiln.yaml:3: aliases" },
		{ "- 1\n", "kiln.yaml:1: the file must hold settings" },
		{ "port: 1\n---\nport: 2\n", "more than one document" },
		{ "allowed_hosts: [1\n", "not valid YAML" },
		{ "ceilings:\n  users: [joe]\n", "kiln.yaml:2: ceilings.users: 'joe' is neither" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(wrongs) / sizeof(wrongs[0]); i++) {
		struct config *c;
		const char *says = load(wrongs[i].yaml, &c);

		if (!says || !strstr(says, wrongs[i].says))
			fail_msg("%s\nsays: %s\nnot: %s", wrongs[i].yaml, says ? says : "(nothing)",
				 wrongs[i].says);
		assert_null(c);
	}
}

static void a_good_file_is_read(void **state)
{
	struct config *c;
	const json_t *l;

	(void)state;
	assert_null(load("vmm:\n  accel: tcg\n  cmdline_append:\ndeadlines:\nlimits:\n  log_bytes: 2 GiB\n"
			 "egress:\n  allow:\n    - \"*.debian.org\"\n    - pypi.org:443\n", &c));
	assert_string_equal(config_str(c, CONFIG_VMM_ACCEL), "tcg");
	assert_int_equal(config_int(c, CONFIG_LIMITS_LOG_BYTES), (int64_t)2 << 30);
	l = config_list(c, CONFIG_EGRESS_ALLOW);
	assert_int_equal(json_array_size(l), 2);
	assert_string_equal(json_string_value(json_array_get(l, 1)), "pypi.org:443");
	config_free(c);
}

static void a_wrong_file_is_an_error_even_when_a_flag_wins(void **state)
{
	struct config_flags f = { .file = write_file("kiln.yaml", "port: x\n", 0644), .count = 1 };
	struct config *c = NULL;
	struct err e;

	(void)state;
	f.set[0].key = CONFIG_PORT;
	f.set[0].value = "80";
	assert_int_equal(config_load(&f, &c, &e), -1);
}

static void a_named_file_must_be_there(void **state)
{
	struct config_flags f = { .file = "/nowhere/kiln.yaml" };
	struct config *c = NULL;
	struct err e;

	(void)state;
	assert_int_equal(config_load(&f, &c, &e), -1);
	assert_non_null(strstr(e.text, "/nowhere/kiln.yaml"));
}

static void lists_and_names_come_from_the_environment(void **state)
{
	char *argv[] = { (char *)"x", (char *)"--set", (char *)"egress.deny=a.org, b.org:22", (char *)"run",
			 (char *)"--dir=/d", (char *)"--", (char *)"--port", (char *)"9", NULL };
	struct config_flags f = { .file = write_file("kiln.yaml", "", 0644) };
	struct config *c;
	int argc = 8;
	struct err e;

	(void)state;
	setenv("FIRECRACKER_ROOTFS", "/images/old.ext4", 1);
	assert_int_equal(config_take_flags(&f, &argc, argv, &e), 0);
	assert_int_equal(argc, 5); /* x run -- --port 9 */
	assert_string_equal(argv[1], "run");
	assert_string_equal(argv[3], "--port");
	assert_int_equal(config_load(&f, &c, &e), 0);
	assert_string_equal(config_str(c, CONFIG_DIR), "/d");
	assert_string_equal(config_str(c, CONFIG_IMAGE), "/images/old.ext4");
	assert_string_equal(json_string_value(json_array_get(config_list(c, CONFIG_EGRESS_DENY), 1)),
			    "b.org:22");
	assert_string_equal(config_origin(c, CONFIG_EGRESS_DENY), "flag --set");
	config_free(c);
}

static void wrong_flags_are_usage_errors(void **state)
{
	static const char *const words[][2] = {
		{ "--set", "prot=1" }, { "--set", "port" }, { "--port", NULL },
	};

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		char *argv[] = { (char *)"x", (char *)words[i][0], (char *)words[i][1], NULL };
		struct config_flags f = { 0 };
		int argc = words[i][1] ? 3 : 2;
		struct err e = { 0 };

		assert_int_equal(config_take_flags(&f, &argc, argv, &e), -1);
		assert_string_equal(e.code, "usage");
		if (i == 0)
			assert_non_null(strstr(e.text, "did you mean 'port'"));
	}
}

static void a_secret_is_one_line_that_others_cannot_read(void **state)
{
	struct config_flags f = { .count = 1 };
	char path[256], *token = NULL;
	struct config *c;
	struct err e;

	(void)state;
	snprintf(path, sizeof(path), "%s/token", dir);
	f.set[0].key = CONFIG_TOKEN_FILE;
	f.set[0].value = path;
	write_file("token", "s3cret\n", 0600);
	setenv("KILN_CONFIG", write_file("empty.yaml", "", 0644), 1);
	assert_int_equal(config_load(&f, &c, &e), 0);
	assert_int_equal(config_secret(c, CONFIG_TOKEN_FILE, &token, &e), 0);
	assert_string_equal(token, "s3cret");
	free(token);
	write_file("token", "s3cret\n", 0644);
	assert_int_equal(config_secret(c, CONFIG_TOKEN_FILE, &token, &e), -1);
	assert_non_null(strstr(e.text, "chmod 0600"));
	write_file("token", "two\nlines\n", 0600);
	assert_int_equal(config_secret(c, CONFIG_TOKEN_FILE, &token, &e), -1);
	write_file("token", "\n", 0600);
	assert_int_equal(config_secret(c, CONFIG_TOKEN_FILE, &token, &e), -1);
	config_free(c);
}

static int make_dir(void **state)
{
	(void)state;
	return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
	(void)state;
	return fileio_remove_tree(AT_FDCWD, dir, NULL);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup(f, clean_environment)
	const struct CMUnitTest tests[] = {
		T(every_default_is_valid_and_says_so),
		T(names_of_settings_are_unique),
		T(flag_beats_environment_beats_file_beats_default),
		T(an_empty_variable_is_none),
		T(other_paths_follow_dir),
		T(a_wrong_file_is_named_with_line_and_nearest_key),
		T(a_good_file_is_read),
		T(a_wrong_file_is_an_error_even_when_a_flag_wins),
		T(a_named_file_must_be_there),
		T(lists_and_names_come_from_the_environment),
		T(wrong_flags_are_usage_errors),
		T(a_secret_is_one_line_that_others_cannot_read),
	};

	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
