/* SPDX-License-Identifier: Apache-2.0 */
/* Disks told apart by their superblocks; the port on the kernel command line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "cmdline.h"
#include "disk.h"

static void test_superblocks(void **state)
{
	uint8_t head[DISK_HEAD_BYTES] = { 0 };

	(void)state;
	assert_int_equal(disk_kind_of(head, sizeof(head)), DISK_UNKNOWN);
	memcpy(head + 1024, "\xe2\xe1\xf5\xe0", 4);
	assert_int_equal(disk_kind_of(head, sizeof(head)), DISK_EROFS);
	assert_int_equal(disk_kind_of(head, 1027), DISK_UNKNOWN);
	memcpy(head, "hsqs", 4);
	assert_int_equal(disk_kind_of(head, sizeof(head)), DISK_SQUASHFS);
}

static void test_scratch_is_the_ext4_with_the_label(void **state)
{
	uint8_t head[DISK_HEAD_BYTES] = { 0 };

	(void)state;
	memcpy(head + 1024 + 56, "\x53\xef", 2);
	assert_int_equal(disk_kind_of(head, sizeof(head)), DISK_EXT4);
	memcpy(head + 1024 + 120, "kiln-scratch", 12);
	assert_int_equal(disk_kind_of(head, sizeof(head)), DISK_SCRATCH);
	head[1024 + 132] = '2';
	assert_int_equal(disk_kind_of(head, sizeof(head)), DISK_EXT4);
	memset(head + 1024 + 120, 'x', 16); /* a label without an end */
	assert_int_equal(disk_kind_of(head, sizeof(head)), DISK_EXT4);
	assert_int_equal(disk_kind_of(head, 1024 + 130), DISK_UNKNOWN);
}

static void test_every_kind_has_a_filesystem(void **state)
{
	(void)state;
	assert_null(disk_fstype(DISK_UNKNOWN));
	for (int k = DISK_UNKNOWN + 1; k < DISK_KIND_COUNT; k++)
		assert_non_null(disk_fstype((enum disk_kind)k));
}

static void test_port_of_the_command_line(void **state)
{
	(void)state;
	assert_int_equal(cmdline_port("console=ttyS0 kiln.port=20001 quiet\n", 1024), 20001);
	assert_int_equal(cmdline_port("kiln.port=7\n", 1024), 7);
	assert_int_equal(cmdline_port("quiet", 1024), 1024);
	assert_int_equal(cmdline_port("", 1024), 1024);
	assert_int_equal(cmdline_port("kiln.port=7x", 1024), 1024);
	assert_int_equal(cmdline_port("kiln.port=", 1024), 1024);
	assert_int_equal(cmdline_port("kiln.port=0", 1024), 1024);
	assert_int_equal(cmdline_port("xkiln.port=7", 1024), 1024);
	assert_int_equal(cmdline_port("kiln.port=99999999999", 1024), 1024);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_superblocks),
		cmocka_unit_test(test_scratch_is_the_ext4_with_the_label),
		cmocka_unit_test(test_every_kind_has_a_filesystem),
		cmocka_unit_test(test_port_of_the_command_line),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
