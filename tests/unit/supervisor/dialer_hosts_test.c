/* SPDX-License-Identifier: Apache-2.0 */
/* dialer_hosts_test.c - the hosts file: names, comments, several addresses, localhost. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>

#include "dialer_hosts.h"
#include "egress_addr.h"

static struct hosts *hosts;

static void expect(const char *name, const char *want)
{
	struct in6_addr list[4];
	char got[4 * EGRESS_ADDR_TEXT] = "", one[EGRESS_ADDR_TEXT];
	unsigned n = hosts_find(hosts, name, list, 4);

	for (unsigned i = 0; i < n; i++) {
		egress_addr_text(&list[i], one);
		strncat(got, one, sizeof(got) - strlen(got) - 1);
		strncat(got, " ", sizeof(got) - strlen(got) - 1);
	}
	assert_string_equal(got, want);
}

static void names_are_found_as_the_file_says(void **state)
{
	(void)state;
	hosts = hosts_parse(strdup("# comment with name1\n"
				   "10.0.0.1 name1 Alias1\tname1.example # name9\n"
				   "  10.0.0.2\talias1\r\n"
				   "::1 localhost ip6\n\n"
				   "nonsense name1\n"
				   "10.0.0.3\n"
				   "10.0.0.4 last"));
	expect("name1", "10.0.0.1 ");
	expect("alias1", "10.0.0.1 10.0.0.2 ");
	expect("name1.example", "10.0.0.1 ");
	expect("localhost", "::1 ");
	expect("last", "10.0.0.4 ");
	expect("name9", "");
	expect("name", "");
	expect("comment", "");
	expect("10.0.0.3", "");
	expect("las", "");
	hosts_free(hosts);
}

static void localhost_is_loopback_without_a_file(void **state)
{
	struct err e;

	(void)state;
	assert_int_equal(hosts_load(&hosts, "/nonexistent/hosts", &e), 0);
	expect("localhost", "127.0.0.1 ");
	expect("a.b.localhost", "127.0.0.1 ");
	expect("notlocalhost", "");
	hosts_free(hosts);
	hosts_free(NULL);
}

static void as_many_as_there_is_room_for(void **state)
{
	struct in6_addr list[2];

	(void)state;
	hosts = hosts_parse(strdup("1.1.1.1 a\n1.1.1.2 a\n1.1.1.3 a\n"));
	assert_int_equal(hosts_find(hosts, "a", list, 2), 2);
	hosts_free(hosts);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_are_found_as_the_file_says),
		cmocka_unit_test(localhost_is_loopback_without_a_file),
		cmocka_unit_test(as_many_as_there_is_room_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
