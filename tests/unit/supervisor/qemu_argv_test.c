/* SPDX-License-Identifier: Apache-2.0 */
/* qemu_argv_test.c - QEMU's command line for each acceleration, vsock, and the probe guest. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "qemu_argv.h"
#include "tsc.h"

static const struct qemu_config plain = { .program = "/usr/bin/qemu", .name = "build_x",
					  .cmdline_append = "", .port = 1024, .vcpus = 2,
					  .memory_mib = 512 };

static struct qemu_argv built;

static void build(const struct qemu_config *c)
{
	struct err e = { .text = "" };

	if (qemu_argv_build(c, &built, &e) < 0)
		fail_msg("%s", e.text);
	assert_null(built.arg[built.count]);
}

/* The word after option, or NULL; with an empty option any argument that holds text. */
static const char *find(const char *option, const char *text)
{
	for (size_t i = 0; i < built.count; i++) {
		if (*option && strcmp(built.arg[i], option) != 0)
			continue;
		if (strstr(built.arg[*option ? i + 1 : i], text))
			return built.arg[*option ? i + 1 : i];
	}
	return NULL;
}

static void test_emulated_with_user_vsock(void **state)
{
	(void)state;
	build(&plain);
	assert_string_equal(built.arg[0], "/usr/bin/qemu");
	assert_non_null(find("-M", "microvm,acpi=off,pit=on,pic=on,rtc=on,memory-backend=m0"));
	assert_non_null(find("-accel", "tcg,thread=multi"));
	assert_string_equal(find("-cpu", ""), "max");
	assert_string_equal(find("-smp", ""), "2");
	assert_string_equal(find("-m", ""), "512M");
	assert_non_null(find("-object", "memory-backend-memfd,id=m0,size=512M,share=on"));
	assert_non_null(find("-device", "vhost-user-vsock-device"));
	assert_non_null(find("-drive", "id=image,format=raw,readonly=on"));
	assert_non_null(find("-drive", "cache=unsafe"));
	assert_string_equal(find("-sandbox", ""),
			    "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
	assert_null(find("-append", "kiln.port"));
	for (const char *const *w = (const char *const[]){ "-nodefaults", "-no-user-config",
		     "-no-reboot", NULL }; *w; w++)
		assert_non_null(find("", *w));
}

static void test_kvm_with_kernel_vsock(void **state)
{
	struct qemu_config c = plain;

	(void)state;
	c.kvm = c.kernel_vsock = true;
	c.guest_cid = 4711;
	c.port = 50000;
	build(&c);
	assert_non_null(find("-M", "microvm,accel=kvm,acpi=off,pit=off,pic=off,rtc=off"));
	assert_null(find("-M", "memory-backend"));
	assert_null(find("-accel", "tcg"));
	assert_string_equal(find("-cpu", ""), "host");
	assert_null(find("-object", ""));
	assert_non_null(find("-device", "vhost-vsock-device,guest-cid=4711,vhostfd=7"));
	assert_null(find("", "vhost-user"));
	assert_non_null(find("-append", " kiln.port=50000"));
}

static void test_probe_has_no_disk_and_no_vsock(void **state)
{
	struct qemu_config c = plain;

	(void)state;
	c.probe = c.kvm = true;
	build(&c);
	assert_null(find("-drive", ""));
	assert_null(find("", "vsock"));
	assert_null(find("-object", ""));
}

static void test_kernel_command_line(void **state)
{
	char longest[QEMU_CMDLINE_BYTES + 1];
	struct qemu_config c = plain;
	struct err e;

	(void)state;
	c.cmdline_append = "init=/bin/false loglevel=7";
	build(&c);
	assert_non_null(find("-append", "console=ttyS0 quiet"));
	assert_non_null(find("-append", " init=/bin/false loglevel=7"));
	assert_non_null(find("-append", "reboot=t panic=-1"));
	memset(longest, 'x', sizeof(longest));
	longest[sizeof(longest) - 1] = '\0';
	c.cmdline_append = longest;
	assert_int_equal(qemu_argv_build(&c, &built, &e), -1);
	assert_string_equal(e.code, "vmm");
	assert_non_null(strstr(e.text, "shorten cmdline_append"));
	c.cmdline_append = "a\nb";
	assert_int_equal(qemu_argv_build(&c, &built, &e), -1);
	assert_non_null(strstr(e.text, "printable"));
}

static void test_the_counter_is_told_to_an_emulated_guest_only(void **state)
{
	struct qemu_config c = plain;
	struct tsc_mark m;
	struct timespec until;
	uint32_t khz;

	(void)state;
	build(&c);
	assert_null(find("-append", "tsc_early_khz"));
	c.tsc_khz = 2600000;
	build(&c);
	assert_non_null(find("-append", " tsc_early_khz=2600000"));
	c.kvm = true;
	build(&c);
	assert_null(find("-append", "tsc_early_khz"));

	tsc_mark(&m);
	assert_int_equal(tsc_khz(&m), 0); /* too early to tell */
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += (until.tv_nsec + 12000000) / 1000000000;
	until.tv_nsec = (until.tv_nsec + 12000000) % 1000000000;
	clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
	khz = tsc_khz(&m);
	assert_in_range(khz, 400000, 8000000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_emulated_with_user_vsock),
		cmocka_unit_test(test_kvm_with_kernel_vsock),
		cmocka_unit_test(test_probe_has_no_disk_and_no_vsock),
		cmocka_unit_test(test_kernel_command_line),
		cmocka_unit_test(test_the_counter_is_told_to_an_emulated_guest_only),
	};

	return cmocka_run_group_tests_name("supervisor/qemu_argv", tests, NULL, NULL);
}
