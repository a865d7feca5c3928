/* SPDX-License-Identifier: Apache-2.0 */
/* range_test.c - the Range header. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "../../../host/daemon/range.h"

static void test_ranges(void **state)
{
	static const struct {
		const char *header;
		uint64_t size;
		enum range_kind kind;
		uint64_t first, count;
	} cases[] = {
		{ NULL, 10, RANGE_ALL, 0, 0 },
		{ "", 10, RANGE_ALL, 0, 0 },
		{ "bytes", 10, RANGE_ALL, 0, 0 },
		{ "bytes=", 10, RANGE_ALL, 0, 0 },
		{ "bytes=-", 10, RANGE_ALL, 0, 0 },
		{ "bytes=x-", 10, RANGE_ALL, 0, 0 },
		{ "bytes=1", 10, RANGE_ALL, 0, 0 },
		{ "bytes=5-4", 10, RANGE_ALL, 0, 0 },
		{ "bytes=1-2,4-5", 10, RANGE_ALL, 0, 0 },
		{ "bytes=1-2x", 10, RANGE_ALL, 0, 0 },
		{ "bytes=-3x", 10, RANGE_ALL, 0, 0 },
		{ "items=1-2", 10, RANGE_ALL, 0, 0 },
		{ "bytes=9999999999999999999-", 10, RANGE_ALL, 0, 0 },
		{ "bytes=0-0", 10, RANGE_PART, 0, 1 },
		{ "BYTES=0-0", 10, RANGE_PART, 0, 1 },
		{ "bytes= 2-4 ", 10, RANGE_PART, 2, 3 },
		{ "bytes=0-9", 10, RANGE_PART, 0, 10 },
		{ "bytes=0-10", 10, RANGE_PART, 0, 10 },
		{ "bytes=9-999999999999999999", 10, RANGE_PART, 9, 1 },
		{ "bytes=3-", 10, RANGE_PART, 3, 7 },
		{ "bytes=-3", 10, RANGE_PART, 7, 3 },
		{ "bytes=-30", 10, RANGE_PART, 0, 10 },
		{ "bytes=10-", 10, RANGE_UNSATISFIABLE, 0, 0 },
		{ "bytes=10-12", 10, RANGE_UNSATISFIABLE, 0, 0 },
		{ "bytes=-0", 10, RANGE_UNSATISFIABLE, 0, 0 },
		{ "bytes=0-", 0, RANGE_UNSATISFIABLE, 0, 0 },
		{ "bytes=-1", 0, RANGE_UNSATISFIABLE, 0, 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint64_t first = 0, count = 0;

		assert_int_equal(range_parse(cases[i].header, cases[i].size, &first, &count),
				 cases[i].kind);
		assert_int_equal(first, cases[i].first);
		assert_int_equal(count, cases[i].count);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_ranges) };

	return cmocka_run_group_tests_name("daemon/range", tests, NULL, NULL);
}
