/* SPDX-License-Identifier: Apache-2.0 */
/* linkio_test.c - packets of a conduit that was taken over: sizes, numbers, texts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "linkio.h"

static int ends[2];

static int setup(void **state)
{
	(void)state;
	return socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends);
}

static int teardown(void **state)
{
	(void)state;
	close(ends[0]);
	return close(ends[1]);
}

static enum linkio_got pass(const void *p, size_t n, struct link_msg *out)
{
	assert_int_equal(send(ends[1], p, n, 0), n);
	return linkio_recv(ends[0], out);
}

static void test_takes_good_ones(void **state)
{
	struct link_msg m = { .kind = LINK_RESULT, .result = { .class_ = 6, .signal = 64 },
			      .commit = "0123abcd", .text = "caf\xc3\xa9" }, got;

	(void)state;
	assert_int_equal(linkio_recv(ends[0], &got), LINKIO_NONE);
	assert_int_equal(pass(&m, sizeof(m), &got), LINKIO_MESSAGE);
	assert_string_equal(got.text, "caf\xc3\xa9");
	assert_string_equal(got.commit, "0123abcd");
	close(ends[1]);
	assert_int_equal(linkio_recv(ends[0], &got), LINKIO_CLOSED);
	ends[1] = dup(ends[0]);
}

static void test_refuses_rubbish(void **state)
{
	struct link_msg m = { .kind = LINK_STATE, .number = 1 }, got;
	char big[sizeof(m) + 1] = { LINK_READY };

	(void)state;
	assert_int_equal(pass(&m, sizeof(m), &got), LINKIO_MESSAGE);
	assert_int_equal(pass(&m, sizeof(m) - 1, &got), LINKIO_RUBBISH);
	assert_int_equal(pass(big, sizeof(big), &got), LINKIO_RUBBISH);
	m.number = 4;
	assert_int_equal(pass(&m, sizeof(m), &got), LINKIO_RUBBISH);
	m.number = 0;
	assert_int_equal(pass(&m, sizeof(m), &got), LINKIO_RUBBISH);
	m = (struct link_msg){ .kind = LINK_FINISH };
	assert_int_equal(pass(&m, sizeof(m), &got), LINKIO_RUBBISH);
	m.kind = 0;
	assert_int_equal(pass(&m, sizeof(m), &got), LINKIO_RUBBISH);
	m = (struct link_msg){ .kind = LINK_RESULT, .result.class_ = 7 };
	assert_int_equal(pass(&m, sizeof(m), &got), LINKIO_RUBBISH);
	m.result = (struct link_result){ .signal = 65 };
	assert_int_equal(pass(&m, sizeof(m), &got), LINKIO_RUBBISH);
}

static void test_cleans_texts(void **state)
{
	struct link_msg m = { .kind = LINK_RESULT, .commit = "../../x" }, got;

	(void)state;
	memset(m.text, 0xff, sizeof(m.text));
	memset(m.step_name, 'n', sizeof(m.step_name));
	assert_int_equal(pass(&m, sizeof(m), &got), LINKIO_MESSAGE);
	assert_int_equal(strlen(got.text), sizeof(got.text) - 1);
	assert_int_equal(strspn(got.text, "?"), sizeof(got.text) - 1);
	assert_int_equal(strlen(got.step_name), sizeof(got.step_name) - 1);
	assert_string_equal(got.commit, "");
}

static void test_send_never_blocks(void **state)
{
	struct link_msg m = { .kind = LINK_LINE };
	struct err e;
	int i = 0;

	(void)state;
	while (i < 100000 && linkio_send(ends[0], &m, &e) == 0)
		i++;
	assert_in_range(i, 1, 99999);
	assert_string_equal(e.code, "host");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_takes_good_ones, setup, teardown),
		cmocka_unit_test_setup_teardown(test_refuses_rubbish, setup, teardown),
		cmocka_unit_test_setup_teardown(test_cleans_texts, setup, teardown),
		cmocka_unit_test_setup_teardown(test_send_never_blocks, setup, teardown),
	};

	return cmocka_run_group_tests_name("supervisor/linkio", tests, NULL, NULL);
}
