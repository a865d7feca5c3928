/* SPDX-License-Identifier: Apache-2.0 */
/* job_test.c - requests become jobs: defaults, ceilings, what is refused; and what comes of a job. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "fileio.h"
#include "image.h"
#include "job.h"

static char dir[] = "/tmp/kiln-job-test-XXXXXX";
static struct config *plain, *tight;

#define URL "\"repo_url\": \"https://example.org/r.git\""
#define SHA "0123456789abcdef0123456789abcdef01234567"

static struct config *load(const char *yaml)
{
	struct config_flags f = { 0 };
	struct config *c = NULL;
	char path[256], text[4096];
	struct err e = { 0 };

	snprintf(path, sizeof(path), "%s/kiln.yaml", dir);
	snprintf(text, sizeof(text), "dir: %s\nimages_dir: %s/images\n%s", dir, dir, yaml);
	assert_int_equal(fileio_replace(AT_FDCWD, path, text, strlen(text), 0600, &e), 0);
	f.file = path;
	if (config_load(&f, &c, &e) < 0)
		fail_msg("%s", e.text);
	return c;
}

static int setup(void **state)
{
	static const char magic[] = "\xe2\xe1\xf5\xe0";
	char image[4096] = { 0 }, path[256];

	(void)state;
	unsetenv("KILN_IMAGE");
	unsetenv("FIRECRACKER_ROOTFS");
	unsetenv("KILN_DIR");
	unsetenv("KILN_IMAGES_DIR");
	if (!mkdtemp(dir))
		return -1;
	memcpy(image + 1024, magic, 4);
	snprintf(path, sizeof(path), "%s/images", dir);
	fileio_mkdirs(path, 0755, NULL);
	snprintf(path, sizeof(path), "%s/images/builder.erofs", dir);
	fileio_replace(AT_FDCWD, path, image, sizeof(image), 0644, NULL);
	snprintf(path, sizeof(path), "%s/images/c.erofs", dir);
	fileio_replace(AT_FDCWD, path, image, sizeof(image), 0644, NULL);
	plain = load("");
	tight = load("ceilings:\n  vcpus: 1\n  memory_mib: 1024\n  disk_mib: 4096\n  timeout_s: 60\n"
		     "  egress: allow\n  egress_allow: [\"*.debian.org:*\"]\n  users: [build]\n  images: [c]\n"
		     "defaults:\n  egress: all\nimage: c\n");
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	config_free(plain);
	config_free(tight);
	return fileio_remove_tree(AT_FDCWD, dir, NULL);
}

static int make(const struct config *cfg, const char *text, json_t **job, struct err *e)
{
	json_error_t je;
	json_t *body = json_loads(text, 0, &je);
	int rc;

	if (!body)
		fail_msg("%s: %s", text, je.text);
	memset(e, 0, sizeof(*e));
	rc = job_from_request(body, cfg, job, e);
	json_decref(body);
	return rc;
}

static void defaults_are_filled_in(void **state)
{
	json_t *job = NULL;
	struct err e;

	(void)state;
	assert_int_equal(make(plain, "{" URL "}", &job, &e), 0);
	assert_int_equal(json_integer_value(json_object_get(job, "vcpus")), 2);
	assert_int_equal(json_integer_value(json_object_get(job, "memory_mib")), 2048);
	assert_int_equal(json_integer_value(json_object_get(job, "disk_mib")), 8192);
	assert_int_equal(json_integer_value(json_object_get(job, "timeout_s")), 600);
	assert_int_equal(json_integer_value(json_object_get(job, "depth")), 1);
	assert_string_equal(json_string_value(json_object_get(job, "workspace")), "/workspace");
	assert_string_equal(json_string_value(json_object_get(job, "user")), "build");
	assert_string_equal(json_string_value(json_object_get(job, "image")), "builder");
	assert_string_equal(json_string_value(json_object_get(job, "source")), "git");
	assert_string_equal(json_string_value(json_object_get(job, "submodules")), "recursive");
	assert_true(json_is_null(json_object_get(job, "steps")));
	assert_string_equal(json_string_value(json_object_get(json_object_get(job, "egress"), "mode")),
			    "allow");
	json_decref(job);
}

static void a_default_above_the_ceiling_is_cut_silently(void **state)
{
	json_t *job = NULL;
	struct err e;

	(void)state;
	assert_int_equal(make(tight, "{" URL "}", &job, &e), 0);
	assert_int_equal(json_integer_value(json_object_get(job, "vcpus")), 1);
	assert_int_equal(json_integer_value(json_object_get(job, "memory_mib")), 1024);
	assert_string_equal(json_string_value(json_object_get(json_object_get(job, "egress"), "mode")),
			    "allow");
	json_decref(job);
}

static void a_wish_above_a_ceiling_is_refused_with_field_and_ceiling(void **state)
{
	static const struct { const char *member, *field, *ceiling; } cases[] = {
		{ "\"vcpus\": 2", "vcpus", "ceilings.vcpus" },
		{ "\"memory_mib\": 1025", "memory_mib", "1024" },
		{ "\"disk_mib\": 8192", "disk_mib", "ceilings.disk_mib" },
		{ "\"timeout_s\": 61", "timeout_s", "60" },
		{ "\"user\": \"root\"", "user", "ceilings.users" },
		{ "\"image\": \"builder\"", "image", "ceilings.images" },
		{ "\"egress\": \"all\"", "egress.mode", "ceilings.egress" },
		{ "\"egress\": {\"mode\": \"audit\"}", "egress.mode", "allow is the widest" },
		{ "\"egress\": {\"allow\": [\"pypi.org\"]}", "egress.allow", "ceilings.egress_allow" },
		{ "\"egress\": {\"allow\": [\"*.org\"]}", "egress.allow", "ceilings.egress_allow" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char text[512];
		json_t *job = NULL;
		struct err e;

		snprintf(text, sizeof(text), "{" URL ", %s}", cases[i].member);
		if (make(tight, text, &job, &e) == 0)
			fail_msg("%s passed", cases[i].member);
		assert_string_equal(e.code, "over_ceiling");
		assert_string_equal(e.field, cases[i].field);
		if (!*e.ceiling)
			fail_msg("'%s' comes without the ceiling", e.text);
		if (!strstr(e.text, cases[i].ceiling))
			fail_msg("'%s' does not name %s", e.text, cases[i].ceiling);
	}
}

static void what_is_below_the_ceiling_passes(void **state)
{
	json_t *job = NULL;
	struct err e;

	(void)state;
	if (make(tight, "{" URL ", \"vcpus\": 1, \"memory_mib\": 512, \"timeout_s\": 60, \"egress\": "
		 "{\"mode\": \"none\", \"allow\": [\"deb.debian.org:80\", \"*.ftp.debian.org\"]}}", &job, &e) < 0)
		fail_msg("%s", e.text);
	json_decref(job);
}

static void what_is_wrong_is_refused_with_code_and_field(void **state)
{
	static const struct { const char *body, *code, *field; } cases[] = {
		{ "{}", "missing_field", "repo_url" },
		{ "{\"repo_url\": 1}", "bad_type", "repo_url" },
		{ "{\"repo_url\": \"ssh://a/b\"}", "unsupported_scheme", "repo_url" },
		{ "{" URL ", \"vcpu\": 1}", "unknown_field", "vcpu" },
		{ "{" URL ", \"vcpus\": \"2\"}", "bad_type", "vcpus" },
		{ "{" URL ", \"vcpus\": 0}", "out_of_range", "vcpus" },
		{ "{" URL ", \"vcpus\": 1.5}", "bad_type", "vcpus" },
		{ "{" URL ", \"memory_mib\": 99999999999}", "out_of_range", "memory_mib" },
		{ "{" URL ", \"memory_mib\": 1}", "out_of_range", "memory_mib" },
		{ "{" URL ", \"timeout_s\": -1}", "out_of_range", "timeout_s" },
		{ "{" URL ", \"commit\": \"abc\"}", "bad_value", "commit" },
		{ "{" URL ", \"commit\": \"" SHA "0\"}", "bad_value", "commit" },
		{ "{" URL ", \"commit\": \"z123456789abcdef0123456789abcdef01234567\"}", "bad_value", "commit" },
		{ "{" URL ", \"branch\": \"\"}", "bad_value", "branch" },
		{ "{" URL ", \"branch\": \"-x\"}", "bad_value", "branch" },
		{ "{" URL ", \"branch\": \"a..b\"}", "bad_value", "branch" },
		{ "{" URL ", \"branch\": \"a\\nb\"}", "bad_value", "branch" },
		{ "{" URL ", \"branch\": \"a b\"}", "bad_value", "branch" },
		{ "{" URL ", \"branch\": \"x.lock\"}", "bad_value", "branch" },
		{ "{" URL ", \"branch\": \"a\", \"tag\": \"b\"}", "bad_value", "tag" },
		{ "{" URL ", \"depth\": -1}", "out_of_range", "depth" },
		{ "{" URL ", \"submodules\": \"all\"}", "bad_value", "submodules" },
		{ "{" URL ", \"submodules\": true}", "bad_type", "submodules" },
		{ "{" URL ", \"source\": \"hg\"}", "bad_value", "source" },
		{ "{\"source\": \"tar\"}", "bad_value", "source" },
		{ "{\"source\": \"none\", \"command\": \"ls\", " URL "}", "bad_value", "repo_url" },
		{ "{\"source\": \"none\"}", "missing_field", "command" },
		{ "{" URL ", \"command\": \" \"}", "bad_value", "command" },
		{ "{" URL ", \"command\": [\"make\"]}", "bad_type", "command" },
		{ "{" URL ", \"command\": \"a\", \"steps\": [\"b\"]}", "bad_value", "command" },
		{ "{" URL ", \"steps\": []}", "out_of_range", "steps" },
		{ "{" URL ", \"steps\": \"make\"}", "bad_type", "steps" },
		{ "{" URL ", \"steps\": [\"ok\", 3]}", "bad_type", "steps[1]" },
		{ "{" URL ", \"steps\": [\"ok\", {\"name\": \"x\"}]}", "missing_field", "steps[1].run" },
		{ "{" URL ", \"steps\": [{\"run\": \"x\", \"user\": \"root\"}]}", "unknown_field", "steps[0].user" },
		{ "{" URL ", \"steps\": [{\"run\": \"x\", \"name\": \"a\\nb\"}]}", "bad_value", "steps[0].name" },
		{ "{" URL ", \"workspace\": \"rel\"}", "bad_value", "workspace" },
		{ "{" URL ", \"workspace\": \"/\"}", "bad_value", "workspace" },
		{ "{" URL ", \"workspace\": \"/a/../b\"}", "bad_value", "workspace" },
		{ "{" URL ", \"workspace\": \"/proc/x\"}", "bad_value", "workspace" },
		{ "{" URL ", \"workspace\": \"//x\"}", "bad_value", "workspace" },
		{ "{" URL ", \"user\": \"joe\"}", "bad_value", "user" },
		{ "{" URL ", \"image\": \"../x\"}", "bad_value", "image" },
		{ "{" URL ", \"image\": \"/etc/passwd\"}", "bad_value", "image" },
		{ "{" URL ", \"image\": \"nope\"}", "unknown_image", "image" },
		{ "{" URL ", \"env\": {\"1A\": \"x\"}}", "bad_value", "env" },
		{ "{" URL ", \"env\": {\"A=B\": \"x\"}}", "bad_value", "env" },
		{ "{" URL ", \"env\": {\"A\": 1}}", "bad_type", "env.A" },
		{ "{" URL ", \"env\": {\"A\": null}}", "bad_type", "env" },
		{ "{" URL ", \"env\": [\"A=1\"]}", "bad_type", "env" },
		{ "{" URL ", \"artifacts\": [\"a\"]}", "bad_type", "artifacts" },
		{ "{" URL ", \"artifacts\": {\"path\": []}}", "unknown_field", "artifacts.path" },
		{ "{" URL ", \"artifacts\": {\"paths\": [\"/etc\"]}}", "bad_value", "artifacts.paths" },
		{ "{" URL ", \"artifacts\": {\"paths\": [\"a/../../b\"]}}", "bad_value", "artifacts.paths" },
		{ "{" URL ", \"artifacts\": {\"paths\": [\"..\"]}}", "bad_value", "artifacts.paths" },
		{ "{" URL ", \"artifacts\": {\"paths\": [\"\"]}}", "bad_value", "artifacts.paths" },
		{ "{" URL ", \"artifacts\": {\"exclude\": [\"a/..\"]}}", "bad_value", "artifacts.exclude" },
		{ "{" URL ", \"egress\": \"some\"}", "bad_value", "egress.mode" },
		{ "{" URL ", \"egress\": []}", "bad_type", "egress" },
		{ "{" URL ", \"egress\": {\"deny\": []}}", "unknown_field", "egress.deny" },
		{ "{" URL ", \"egress\": {\"private\": [\"10.0.0.0/8\"]}}", "unknown_field", "egress.private" },
		{ "{" URL ", \"egress\": {\"allow\": [\"http://x\"]}}", "bad_value", "egress.allow" },
		{ "{" URL ", \"tags\": [\"\"]}", "bad_value", "tags" },
		{ "{" URL ", \"tags\": \"x\"}", "bad_type", "tags" },
		{ "{" URL ", \"credentials\": {\"username\": \"a\"}}", "bad_value", "credentials" },
		{ "{" URL ", \"credentials\": {\"token\": \"a\"}}", "unknown_field", "credentials.token" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		json_t *job = NULL;
		struct err e;

		if (make(plain, cases[i].body, &job, &e) == 0)
			fail_msg("%s passed", cases[i].body);
		if (strcmp(e.code, cases[i].code) != 0 || strcmp(e.field, cases[i].field) != 0)
			fail_msg("%s: %s %s: %s", cases[i].body, e.code, e.field, e.text);
		assert_true(strlen(e.text) > 0);
		assert_null(job);
	}
}

static void null_is_as_if_absent(void **state)
{
	json_t *job = NULL;
	struct err e;

	(void)state;
	if (make(plain, "{" URL ", \"branch\": null, \"steps\": null, \"egress\": null, \"env\": null, "
		 "\"artifacts\": null, \"vcpus\": null}", &job, &e) < 0)
		fail_msg("%s", e.text);
	json_decref(job);
}

static void a_huge_job_is_refused(void **state)
{
	json_t *body = json_object(), *steps = json_array(), *job = NULL;
	char *run = malloc(60001);
	struct err e;

	(void)state;
	memset(run, 'x', 60000);
	run[60000] = '\0';
	for (int i = 0; i < 5; i++)
		json_array_append_new(steps, json_string(run));
	json_object_set_new(body, "repo_url", json_string("https://h/x"));
	json_object_set_new(body, "steps", steps);
	assert_int_equal(job_from_request(body, plain, &job, &e), -1);
	assert_string_equal(e.code, "out_of_range");
	json_array_clear(steps);
	json_array_append_new(steps, json_string(run));
	assert_int_equal(job_from_request(body, plain, &job, &e), 0);
	json_decref(job);
	json_decref(body);
	free(run);
}

static void steps_get_names_and_the_local_interface_takes_a_tar(void **state)
{
	json_t *body = json_pack("{s:s, s:[s, {s:s, s:s, s:i}]}", "source", "tar", "steps",
				 "  make -j2\nmake install", "name", "Tests", "run", "make test", "timeout_s", 9);
	json_t *job = NULL, *steps;
	struct err e;

	(void)state;
	assert_int_equal(job_from_local(body, plain, &job, &e), 0);
	steps = json_object_get(job, "steps");
	assert_string_equal(json_string_value(json_object_get(json_array_get(steps, 0), "name")), "make -j2");
	assert_string_equal(json_string_value(json_object_get(json_array_get(steps, 1), "name")), "Tests");
	assert_int_equal(json_integer_value(json_object_get(json_array_get(steps, 1), "timeout_s")), 9);
	json_decref(job);
	json_decref(body);
}

static void secrets_are_masked_for_people_and_whole_for_the_supervisor(void **state)
{
	json_t *job = NULL, *shown = NULL, *doc = NULL, *spec;
	struct err e;
	char *text;

	(void)state;
	if (make(plain, "{" URL ", \"secrets\": {\"TOKEN\": \"hunter2\"}, \"credentials\": {\"username\": \"bob\", "
		 "\"password\": \"hunter3\"}, \"env\": {\"A\": \"1\"}, \"commit\": \"" SHA "\"}", &job, &e) < 0)
		fail_msg("%s", e.text);
	assert_int_equal(job_public(job, &shown), 0);
	text = json_dumps(shown, 0);
	assert_null(strstr(text, "hunter"));
	assert_null(strstr(text, "bob"));
	assert_non_null(strstr(text, "\"TOKEN\": \"***\""));
	free(text);
	assert_int_equal(job_supervisor_doc(job, plain, "build_x", 3, &doc, &e), 0);
	spec = json_object_get(doc, "spec");
	assert_string_equal(json_string_value(json_object_get(json_object_get(spec, "env"), "TOKEN")), "hunter2");
	assert_string_equal(json_string_value(json_object_get(json_object_get(spec, "env"), "A")), "1");
	assert_int_equal(json_integer_value(json_object_get(doc, "attempt")), 3);
	assert_string_equal(json_string_value(json_object_get(json_object_get(doc, "repo"), "host")),
			    "example.org");
	assert_int_equal(json_integer_value(json_object_get(json_object_get(doc, "deadlines_ms"), "steps")),
			 600000);
	assert_null(json_object_get(spec, "steps"));
	assert_null(json_object_get(json_object_get(spec, "artifacts"), "paths"));
	assert_string_equal(json_string_value(json_object_get(spec, "commit")), SHA);
	/* The job itself is not changed by showing or by using it. */
	assert_string_equal(json_string_value(json_object_get(json_object_get(job, "secrets"), "TOKEN")),
			    "hunter2");
	json_decref(doc);
	json_decref(shown);
	json_decref(job);
}

static void a_long_timeout_is_not_cut_short_by_the_whole_jobs_deadline(void **state)
{
	static const struct { const char *timeout; int64_t job_ms; } cases[] = {
		{ "600", 7200000 }, { "10000", (10000 + 30 + 300 + 300) * (int64_t)1000 },
	};

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		json_t *job = NULL, *doc = NULL, *d;
		char text[256];
		struct err e;

		snprintf(text, sizeof(text), "{" URL ", \"timeout_s\": %s}", cases[i].timeout);
		assert_int_equal(make(plain, text, &job, &e), 0);
		assert_int_equal(job_supervisor_doc(job, plain, "build_x", 1, &doc, &e), 0);
		d = json_object_get(doc, "deadlines_ms");
		assert_int_equal(json_integer_value(json_object_get(d, "job")), cases[i].job_ms);
		json_decref(doc);
		json_decref(job);
	}
}

static void the_operators_rules_join_the_jobs(void **state)
{
	struct config *cfg = load("egress:\n  allow: [a.org]\n  deny: [b.org]\n  private: [10.0.0.0/8]\n");
	json_t *job = NULL, *doc = NULL, *eg;
	struct err e;

	(void)state;
	assert_int_equal(make(cfg, "{" URL ", \"egress\": {\"allow\": [\"c.org\"]}}", &job, &e), 0);
	assert_int_equal(job_supervisor_doc(job, cfg, "build_x", 1, &doc, &e), 0);
	eg = json_object_get(doc, "egress");
	assert_int_equal(json_array_size(json_object_get(eg, "allow")), 2);
	assert_int_equal(json_array_size(json_object_get(eg, "deny")), 1);
	assert_int_equal(json_array_size(json_object_get(eg, "private")), 1);
	/* The configuration's own list did not grow. */
	assert_int_equal(json_array_size(config_list(cfg, CONFIG_EGRESS_ALLOW)), 1);
	json_decref(doc);
	json_decref(job);
	config_free(cfg);
}

static void images_are_listed_and_the_unknown_one_names_them(void **state)
{
	json_t *names = image_names(plain);
	struct image image;
	struct err e = { 0 };

	(void)state;
	assert_int_equal(json_array_size(names), 2);
	json_decref(names);
	assert_int_equal(image_find(plain, "nope", &image, &e), -1);
	assert_non_null(strstr(e.text, "builder, c"));
	assert_int_equal(image_find(plain, "", &image, &e), 0);
	assert_string_equal(image.format, "erofs");
}

static void an_image_may_be_a_path_only_for_the_operator(void **state)
{
	char yaml[256];
	struct config *cfg;
	json_t *job = NULL;
	struct err e;

	(void)state;
	snprintf(yaml, sizeof(yaml), "image: %s/images/c.erofs\n", dir);
	cfg = load(yaml);
	assert_int_equal(make(cfg, "{" URL "}", &job, &e), 0);
	assert_string_equal(json_string_value(json_object_get(job, "image")), "c");
	json_decref(job);
	config_free(cfg);
}

static void ids_are_recognised(void **state)
{
	char id[JOB_ID_BYTES], other[JOB_ID_BYTES];
	struct err e;

	(void)state;
	assert_int_equal(job_new_id(id, &e), 0);
	assert_int_equal(job_new_id(other, &e), 0);
	assert_string_not_equal(id, other);
	assert_true(job_id_ok(id));
	assert_false(job_id_ok("build_"));
	assert_false(job_id_ok("../../../../etc/passwd"));
	id[10] = '/';
	assert_false(job_id_ok(id));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults_are_filled_in),
		cmocka_unit_test(a_default_above_the_ceiling_is_cut_silently),
		cmocka_unit_test(a_wish_above_a_ceiling_is_refused_with_field_and_ceiling),
		cmocka_unit_test(what_is_below_the_ceiling_passes),
		cmocka_unit_test(what_is_wrong_is_refused_with_code_and_field),
		cmocka_unit_test(null_is_as_if_absent),
		cmocka_unit_test(a_huge_job_is_refused),
		cmocka_unit_test(steps_get_names_and_the_local_interface_takes_a_tar),
		cmocka_unit_test(secrets_are_masked_for_people_and_whole_for_the_supervisor),
		cmocka_unit_test(a_long_timeout_is_not_cut_short_by_the_whole_jobs_deadline),
		cmocka_unit_test(the_operators_rules_join_the_jobs),
		cmocka_unit_test(images_are_listed_and_the_unknown_one_names_them),
		cmocka_unit_test(an_image_may_be_a_path_only_for_the_operator),
		cmocka_unit_test(ids_are_recognised),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
