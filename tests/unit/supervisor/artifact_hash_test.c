/* SPDX-License-Identifier: Apache-2.0 */
/* artifact_hash_test.c - the hashing thread sums what is queued, in order, and marks hold. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <fcntl.h>
#include <openssl/sha.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "artifact_hash.h"

/* In a child, as the thread locks its process down. 0: as it should be. */
static int play(void)
{
	static uint8_t data[1 << 20], two[2][4096];
	uint8_t sum[32], want[32];
	struct hasher *h = NULL;
	uint64_t mark[2] = { 0, 0 };
	struct err e;

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 31 + i / 257);
	SHA256(data, sizeof(data), want);
	if (hasher_new(&h, open("/tmp", O_RDONLY | O_DIRECTORY), &e) < 0)
		return 1;
	/* Far more views than the ring has room for. */
	if (hasher_begin(h) < 0)
		return 2;
	for (size_t at = 0, n = 1; at < sizeof(data); at += n, n = 1 + (n * 7) % 90) {
		n = sizeof(data) - at < n ? sizeof(data) - at : n;
		hasher_add(h, data + at, n);
	}
	if (hasher_end(h, sum) < 0 || memcmp(sum, want, 32) != 0)
		return 3;
	/* Two buffers that take turns: a mark is waited for before one is written again. */
	hasher_begin(h);
	for (size_t at = 0, turn = 0; at < sizeof(data); at += 4096, turn ^= 1) {
		hasher_wait(h, mark[turn]);
		memcpy(two[turn], data + at, 4096);
		hasher_add(h, two[turn], 4096);
		mark[turn] = hasher_mark(h);
	}
	return hasher_end(h, sum) < 0 || memcmp(sum, want, 32) != 0 ? 4 : 0;
}

static void the_sum_is_that_of_all_views_in_order(void **state)
{
	int status;
	pid_t pid = fork();

	(void)state;
	if (pid == 0)
		_exit(play());
	waitpid(pid, &status, 0);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_sum_is_that_of_all_views_in_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
