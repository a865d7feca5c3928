/* SPDX-License-Identifier: Apache-2.0 */
/* supjob_test.c - the supervisor document: what is taken, what is refused, and with which words. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "supjob.h"

static const char good[] =
	"{\"format\":1,\"build_id\":\"build_x\",\"attempt\":2,"
	"\"vmm\":{\"kind\":\"qemu\",\"accel\":\"tcg\",\"vsock\":\"user\",\"qemu\":\"/bin/q\","
	"\"kernel\":\"/k\",\"initramfs\":\"/i\",\"cache_dir\":\"/c\",\"cmdline_append\":\"debug\"},"
	"\"machine\":{\"image\":\"/img\",\"vcpus\":4,\"memory_mib\":512,\"disk_mib\":1024},"
	"\"uid_range\":[5000,10],\"uid_dir\":\"/u\","
	"\"deadlines_ms\":{\"boot\":1,\"clone\":2,\"steps\":3,\"upload\":4,\"job\":5,"
	"\"heartbeat\":6,\"grace\":7},\"emulation_factor\":20,"
	"\"limits\":{\"log_bytes\":0,\"artifact_bytes\":9,\"artifact_files\":8,"
	"\"console_bytes\":4096,\"events\":100},"
	"\"egress\":{\"mode\":\"audit\",\"allow\":[\"a\",\"b:443\"],\"deny\":[],"
	"\"private\":[\"10.0.0.0/8\"]},"
	"\"repo\":{\"scheme\":\"https\",\"host\":\"h\",\"port\":443},\"ca_file\":\"\","
	"\"spec\":{\"timeout_ms\":1000,\"steps\":[{\"name\":\"s\",\"run\":\"r\",\"timeout_s\":5}],"
	"\"env\":{\"SECRET\":\"xyzzy\"}}}";

/* The good document with one member (dotted path) set to JSON text, or removed with NULL. */
static int parse_with(const char *path, const char *value, struct supjob *job, struct err *e)
{
	json_t *doc = json_loads(good, 0, NULL), *at = doc;
	char part[64];
	char *text;
	int rc;

	while (strchr(path, '.')) {
		snprintf(part, sizeof(part), "%.*s", (int)strcspn(path, "."), path);
		at = json_object_get(at, part);
		path = strchr(path, '.') + 1;
	}
	if (value)
		json_object_set_new(at, path, json_loads(value, JSON_DECODE_ANY, NULL));
	else
		json_object_del(at, path);
	text = json_dumps(doc, 0);
	json_decref(doc);
	rc = supjob_parse(job, text, strlen(text), e);
	free(text);
	return rc;
}

static void test_takes_all_members(void **state)
{
	struct supjob j;
	struct err e;

	(void)state;
	assert_int_equal(supjob_parse(&j, good, strlen(good), &e), 0);
	assert_string_equal(j.build_id, "build_x");
	assert_int_equal(j.attempt, 2);
	assert_int_equal(j.vmm.accel, SUPJOB_ACCEL_TCG);
	assert_int_equal(j.vmm.vsock, SUPJOB_VSOCK_USER);
	assert_string_equal(j.vmm.qemu, "/bin/q");
	assert_string_equal(j.vmm.vhost_device_vsock, "");
	assert_string_equal(j.vmm.cmdline_append, "debug");
	assert_int_equal(j.machine.vcpus, 4);
	assert_int_equal(j.uid_first, 5000);
	assert_int_equal(j.uid_count, 10);
	assert_int_equal(j.deadlines_ms.boot, 1);
	assert_int_equal(j.deadlines_ms.grace, 7);
	assert_int_equal(j.egress.mode, SUPJOB_EGRESS_AUDIT);
	assert_int_equal(j.egress.allow.count, 2);
	assert_string_equal(j.egress.allow.item[1], "b:443");
	assert_int_equal(j.egress.deny.count, 0);
	assert_string_equal(j.egress.private_.item[0], "10.0.0.0/8");
	assert_string_equal(j.repo.host, "h");
	assert_int_equal(j.repo.port, 443);
	assert_non_null(strstr(j.spec, "xyzzy"));
	assert_int_equal(j.spec_bytes, strlen(j.spec));
	assert_int_equal(j.source_fd, -1);
	assert_int_equal(j.factor, 1);
	supjob_fini(&j);
}

static void test_optional_members(void **state)
{
	struct supjob j;
	struct err e;

	(void)state;
	assert_int_equal(parse_with("repo", NULL, &j, &e), 0);
	assert_null(j.repo.host);
	supjob_fini(&j);
	assert_int_equal(parse_with("uid_range", "null", &j, &e), 0);
	assert_int_equal(j.uid_count, 0);
	supjob_fini(&j);
}

static void test_refuses(void **state)
{
	static const struct {
		const char *path, *value, *code, *word;
	} cases[] = {
		{ "format", "2", "bad_value", "format" },
		{ "build_id", "\"../../etc\"", "bad_value", "build_id" },
		{ "build_id", NULL, "bad_value", "build_id" },
		{ "vmm.kind", "\"xen\"", "bad_value", "xen" },
		{ "vmm.accel", "\"fast\"", "bad_value", "fast" },
		{ "vmm.kernl", "\"/k\"", "unknown_field", "did you mean 'kernel'" },
		{ "vmm", NULL, "bad_value", "vmm is missing" },
		{ "machine.image", NULL, "bad_value", "image is missing" },
		{ "machine.vcpus", "0", "out_of_range", "vcpus" },
		{ "machine.memory_mib", "\"1\"", "bad_type", "memory_mib" },
		{ "uid_range", "[0, 10]", "out_of_range", "uid_range" },
		{ "uid_range", "[1]", "bad_type", "uid_range" },
		{ "uid_range", "[2147483647, 2147483647]", "out_of_range", "uid_range" },
		{ "deadlines_ms.job", NULL, "bad_value", "job is missing" },
		{ "deadlines_ms.boot", "0", "out_of_range", "boot" },
		{ "limits.console_bytes", "10", "out_of_range", "console_bytes" },
		{ "egress.mode", "\"some\"", "bad_value", "some" },
		{ "egress.allow", "[1]", "bad_type", "allow" },
		{ "repo.port", "65536", "out_of_range", "port" },
		{ "spec", "[]", "bad_type", "spec" },
		{ "surprise", "1", "unknown_field", "surprise" },
	};
	struct supjob j;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct err e = { .code = "none" };

		if (parse_with(cases[i].path, cases[i].value, &j, &e) == 0)
			fail_msg("%s was taken", cases[i].path);
		assert_string_equal(e.code, cases[i].code);
		if (!strstr(e.text, cases[i].word))
			fail_msg("%s: '%s' does not say '%s'", cases[i].path, e.text, cases[i].word);
		supjob_fini(&j);
	}
}

static void test_refuses_a_huge_spec(void **state)
{
	char *value = malloc(SUPJOB_SPEC_BYTES + 64);
	struct supjob j;
	struct err e;

	(void)state;
	memset(value, 'a', SUPJOB_SPEC_BYTES + 63);
	memcpy(value, "{\"k\":\"", 6);
	memcpy(value + SUPJOB_SPEC_BYTES + 61, "\"}", 3);
	assert_int_equal(parse_with("spec", value, &j, &e), -1);
	assert_string_equal(e.code, "out_of_range");
	supjob_fini(&j);
	free(value);
}

static void test_scale(void **state)
{
	struct supjob j;
	json_t *spec;
	struct err e;

	(void)state;
	assert_int_equal(supjob_parse(&j, good, strlen(good), &e), 0);
	assert_int_equal(supjob_scale(&j, 20, &e), 0);
	assert_int_equal(j.factor, 20);
	assert_int_equal(j.deadlines_ms.boot, 20);
	assert_int_equal(j.deadlines_ms.heartbeat, 120);
	assert_int_equal(j.deadlines_ms.grace, 7);
	spec = json_loads(j.spec, 0, NULL);
	assert_int_equal(json_integer_value(json_object_get(spec, "timeout_ms")), 20000);
	assert_int_equal(json_integer_value(json_object_get(
		json_array_get(json_object_get(spec, "steps"), 0), "timeout_s")), 100);
	json_decref(spec);
	supjob_fini(&j);
}

static void test_wipe(void **state)
{
	struct supjob j;
	struct err e;

	(void)state;
	assert_int_equal(supjob_parse(&j, good, strlen(good), &e), 0);
	supjob_wipe(&j);
	assert_null(j.spec);
	assert_int_equal(j.spec_bytes, 0);
	supjob_fini(&j);
}

static void test_probe_document_may_name_the_uids_of_builds(void **state)
{
	static const char text[] = "{\"kind\": \"qemu\", \"uid_range\": [70000, 8]}";
	static const char odd[] = "{\"kind\": \"qemu\", \"uids\": [70000, 8]}";
	struct supjob job;
	struct err e;

	(void)state;
	assert_int_equal(supjob_parse_vmm(&job, text, sizeof(text) - 1, &e), 0);
	assert_int_equal(job.uid_first, 70000);
	assert_int_equal(job.uid_count, 8);
	supjob_fini(&job);
	assert_int_equal(supjob_parse_vmm(&job, odd, sizeof(odd) - 1, &e), -1);
	assert_string_equal(e.code, "unknown_field");
	supjob_fini(&job);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_takes_all_members), cmocka_unit_test(test_optional_members),
		cmocka_unit_test(test_refuses), cmocka_unit_test(test_refuses_a_huge_spec),
		cmocka_unit_test(test_scale), cmocka_unit_test(test_wipe),
		cmocka_unit_test(test_probe_document_may_name_the_uids_of_builds),
	};

	return cmocka_run_group_tests_name("supervisor/supjob", tests, NULL, NULL);
}
