/* SPDX-License-Identifier: Apache-2.0 */
/* egress_test.c - rules, hosts, addresses, and the order of judgement. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>

#include "egress.h"

#define LIST(...) { (char *[]){ __VA_ARGS__ }, sizeof((char *[]){ __VA_ARGS__ }) / sizeof(char *) }

static struct egress *rules(const struct supjob_egress *r, const struct supjob_repo *repo)
{
	const struct supjob_repo none = { 0 };
	struct egress *g = NULL;
	struct err e;

	if (egress_new(&g, r, repo ? repo : &none, &e) < 0)
		fail_msg("%s", e.text);
	return g;
}

static void refuse_rules(const struct supjob_egress *r, const char *words)
{
	const struct supjob_repo none = { 0 };
	struct egress *g = NULL;
	struct err e = { 0 };

	assert_int_equal(egress_new(&g, r, &none, &e), -1);
	assert_string_equal(e.code, "bad_value");
	if (!strstr(e.text, words))
		fail_msg("'%s' does not say '%s'", e.text, words);
}

static int asks(const struct egress *g, const char *host, uint16_t port)
{
	struct egress_judgement j;
	int ok = egress_judge_name(g, host, port, 0, &j);

	assert_true(j.rule[0]);
	assert_int_equal(ok, j.text[0] == '\0');
	return ok;
}

static int address(const struct egress *g, const char *text, uint16_t port)
{
	struct egress_judgement j = { 0 };
	struct in6_addr a;

	assert_int_equal(egress_addr_parse(text, &a), 0);
	return egress_judge_address(g, "name", &a, port, &j);
}

static void hosts_have_one_form(void **state)
{
	static const char *const good[][2] = {
		{ "example.org", "example.org" }, { "Example.ORG.", "example.org" },
		{ "a-b_c.d1", "a-b_c.d1" },	  { "1.2.3.4", "1.2.3.4" },
		{ "::1", "::1" },		  { "0:0:0:0:0:0:0:1", "::1" },
		{ "::ffff:1.2.3.4", "1.2.3.4" },  { "2001:DB8::A", "2001:db8::a" },
		{ "localhost", "localhost" },	  { "xn--bcher-kva.example", "xn--bcher-kva.example" },
		{ "1a.b2", "1a.b2" },
	};
	static const char *const bad[] = { "", ".", "..", "a..b", ".a", "-a", "a b", "a\tb", "a/b", "a:80",
		"[::1]", "user@host", "b\xc3\xbc.de", "127.1", "1.2.3", "2130706433", "0x7f000001",
		"0x7f.1", "a.0x1", "a.1", "1.2.3.4.", "01.2.3.4", "a%00b", "a\x1b[1m", "a..", "::1%lo" };
	char out[EGRESS_HOST_BYTES], longest[300];

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_int_equal(egress_host(good[i][0], out), 0);
		assert_string_equal(out, good[i][1]);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (egress_host(bad[i], out) == 0)
			fail_msg("'%s' was taken for '%s'", bad[i], out);
	memset(longest, 'a', sizeof(longest));
	longest[253] = '\0';
	assert_int_equal(egress_host(longest, out), 0);
	longest[253] = 'a';
	longest[254] = '\0';
	assert_int_equal(egress_host(longest, out), -1);
}

static void special_addresses_are_known(void **state)
{
	static const char *const special[] = {
		"0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.127.255.255",
		"127.0.0.1", "127.255.0.3", "169.254.0.1", "169.254.169.254", "172.16.0.1",
		"172.31.255.255", "192.0.0.1", "192.0.2.9", "192.88.99.1", "192.168.1.1", "198.18.0.1",
		"198.19.255.255", "198.51.100.1", "203.0.113.200", "224.0.0.1", "239.1.1.1",
		"240.0.0.1", "255.255.255.255", "::", "::1", "::2", "::7f00:1", "::8.8.8.8",
		"::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a00:1",
		"64:ff9b:1::1", "100::1", "2001::1", "2001:10::1", "2001:db8::1", "2002:7f00:1::",
		"2002:a00:1::1", "2002:c0a8:101::1", "3fff::1", "fc00::1", "fd12::1", "fd00:ec2::254",
		"fe80::1", "febf::1", "fec0::1", "ff02::1", "4000::1", "8000::1", "1::1", "5f00::1",
	};
	static const char *const public[] = {
		"1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0",
		"126.255.255.255", "128.0.0.0", "169.253.255.255", "169.255.0.0", "172.15.255.255",
		"172.32.0.0", "192.0.1.1", "192.167.255.255", "192.169.0.0", "198.17.255.255",
		"198.20.0.0", "223.255.255.255", "::ffff:8.8.8.8", "64:ff9b::808:808",
		"2002:808:808::1", "2606:4700::1", "2a00::1", "2001:4860:4860::8888", "2001:200::1",
	};
	struct in6_addr a;

	(void)state;
	for (size_t i = 0; i < sizeof(special) / sizeof(special[0]); i++) {
		assert_int_equal(egress_addr_parse(special[i], &a), 0);
		if (!egress_addr_special(&a))
			fail_msg("%s is taken for public", special[i]);
	}
	for (size_t i = 0; i < sizeof(public) / sizeof(public[0]); i++) {
		assert_int_equal(egress_addr_parse(public[i], &a), 0);
		if (egress_addr_special(&a))
			fail_msg("%s is taken for %s", public[i], egress_addr_special(&a));
	}
	egress_addr_parse("169.254.169.254", &a);
	assert_string_equal(egress_addr_special(&a), "the address of cloud metadata");
}

static void allow_rules_match_names_and_ports(void **state)
{
	struct supjob_egress r = { .mode = SUPJOB_EGRESS_ALLOW,
		.allow = LIST("pypi.org", "*.Example.org:8443", "any.net:*", "one.net:22", "[2606:4700::1]:80",
			      "1.1.1.1:53") };
	struct egress *g = rules(&r, NULL);

	(void)state;
	assert_true(asks(g, "pypi.org", 443) && asks(g, "pypi.org", 80));
	assert_false(asks(g, "pypi.org", 22) || asks(g, "x.pypi.org", 443) || asks(g, "pypi.org.x", 443));
	assert_true(asks(g, "a.example.org", 8443) && asks(g, "a.b.example.org", 8443));
	assert_false(asks(g, "example.org", 8443) || asks(g, "a.example.org", 443) ||
		     asks(g, "aexample.org", 8443) || asks(g, ".example.org", 8443));
	assert_true(asks(g, "any.net", 1) && asks(g, "any.net", 65535));
	assert_true(asks(g, "one.net", 22));
	assert_false(asks(g, "one.net", 23) || asks(g, "one.net", 80));
	assert_true(asks(g, "2606:4700::1", 80) && asks(g, "1.1.1.1", 53));
	assert_false(asks(g, "2606:4700::2", 80) || asks(g, "1.1.1.2", 53));
	egress_free(g);
}

static void modes_differ_in_what_no_rule_names(void **state)
{
	struct supjob_egress r = { .allow = LIST("pypi.org") };
	struct egress_judgement j;
	struct egress *g;

	(void)state;
	r.mode = SUPJOB_EGRESS_NONE;
	g = rules(&r, NULL);
	assert_false(asks(g, "pypi.org", 443));
	egress_free(g);
	r.mode = SUPJOB_EGRESS_AUDIT;
	g = rules(&r, NULL);
	assert_int_equal(egress_judge_name(g, "x.net", 22, 0, &j), 1);
	assert_true(j.audited);
	assert_int_equal(egress_judge_name(g, "pypi.org", 443, 0, &j), 1);
	assert_false(j.audited);
	assert_false(address(g, "10.0.0.1", 443));
	egress_free(g);
	r.mode = SUPJOB_EGRESS_ALL;
	g = rules(&r, NULL);
	assert_int_equal(egress_judge_name(g, "x.net", 22, 0, &j), 1);
	assert_false(j.audited);
	assert_false(address(g, "127.0.0.1", 443));
	egress_free(g);
}

static void deny_beats_allow_and_the_repository(void **state)
{
	struct supjob_egress r = { .mode = SUPJOB_EGRESS_ALL, .allow = LIST("bad.net", "*.bad.net"),
				   .deny = LIST("bad.net:*", "*.bad.net:*", "9.9.9.9:*") };
	struct supjob_repo repo = { NULL, (char *)"bad.net", 443 };
	struct egress *g = rules(&r, &repo);
	struct egress_judgement j;

	(void)state;
	assert_int_equal(egress_judge_name(g, "bad.net", 443, 1, &j), 0);
	assert_string_equal(j.rule, "deny bad.net:*");
	assert_false(asks(g, "x.bad.net", 1));
	assert_true(asks(g, "good.net", 1));
	assert_false(asks(g, "9.9.9.9", 80));
	assert_false(address(g, "9.9.9.9", 80)); /* whatever name led there */
	egress_free(g);
}

static void the_repository_is_exact_and_only_while_cloning(void **state)
{
	struct supjob_egress r = { .mode = SUPJOB_EGRESS_NONE };
	struct supjob_repo repo = { NULL, (char *)"Git.Example.org", 8080 };
	struct egress *g = rules(&r, &repo);
	struct egress_judgement j;

	(void)state;
	assert_int_equal(egress_judge_name(g, "git.example.org", 8080, 1, &j), 1);
	assert_string_equal(j.rule, "repository");
	assert_int_equal(egress_judge_name(g, "git.example.org", 8080, 0, &j), 0);
	assert_int_equal(egress_judge_name(g, "git.example.org", 443, 1, &j), 0);
	assert_int_equal(egress_judge_name(g, "x.git.example.org", 8080, 1, &j), 0);
	assert_false(address(g, "127.0.0.1", 8080)); /* never lifts the address check */
	egress_free(g);
}

static void only_private_lifts_the_address_check(void **state)
{
	struct supjob_egress r = { .mode = SUPJOB_EGRESS_ALLOW, .allow = LIST("127.0.0.1:8080", "10.0.0.1"),
		.private_ = LIST("127.0.0.1:8080", "10.1.0.0/16", "[::1]:3000", "fd00::/8",
				 "192.168.7.0/24:443", "[fe80::1]") };
	struct egress *g = rules(&r, NULL);
	struct egress_judgement j;
	struct in6_addr a;

	(void)state;
	assert_true(address(g, "127.0.0.1", 8080) && address(g, "::ffff:127.0.0.1", 8080));
	assert_false(address(g, "127.0.0.1", 8081) || address(g, "127.0.0.2", 8080));
	assert_true(address(g, "10.1.255.255", 1));
	assert_false(address(g, "10.2.0.0", 1) || address(g, "10.0.0.1", 443));
	assert_true(address(g, "::1", 3000) && address(g, "fdff::1", 9) && address(g, "fe80::1", 9));
	assert_false(address(g, "::1", 3001) || address(g, "fe80::2", 9));
	assert_true(address(g, "192.168.7.9", 443));
	assert_false(address(g, "192.168.7.9", 80) || address(g, "192.168.8.1", 443));
	assert_true(address(g, "8.8.8.8", 25));
	assert_true(asks(g, "10.0.0.1", 443)); /* a name rule: the address is judged on its own */
	egress_addr_parse("10.0.0.1", &a);
	assert_int_equal(egress_judge_address(g, "10.0.0.1", &a, 443, &j), 0);
	assert_string_equal(j.text, "10.0.0.1:443 (10.0.0.1 is a private address); only the operator can "
			    "allow it, with egress.private: [\"10.0.0.1:443\"]");
	egress_free(g);
}

static void a_refusal_says_what_would_allow_it(void **state)
{
	struct supjob_egress r = { .mode = SUPJOB_EGRESS_ALLOW };
	struct egress *g = rules(&r, NULL);
	struct egress_judgement j;
	char longest[254];

	(void)state;
	egress_judge_name(g, "pypi.org", 443, 0, &j);
	assert_string_equal(j.text, "pypi.org:443 (not in the allow list); allow it with egress.allow: "
			    "[\"pypi.org:443\"]");
	egress_judge_name(g, "2606:4700::1", 443, 0, &j);
	assert_non_null(strstr(j.text, "[\"[2606:4700::1]:443\"]"));
	memset(longest, 'a', 253);
	longest[253] = '\0';
	egress_judge_name(g, longest, 65535, 0, &j);
	assert_non_null(memchr(j.text, 0, sizeof(j.text)));
	egress_free(g);
}

static void bad_rules_are_refused_by_name(void **state)
{
	static char *const bad[] = { "", "*", "*.", "a:0", "a:65536", "a:x", "a:", "a:443:80", "http://a",
				     "a b", "[::1", "[::1]x", "127.1", "*.*.a", "a:-1", "a: 80" };
	static char *const bad_private[] = { "", "name", "10.0.0.0/33", "10.0.0.0/x", "10.0.0.0/", "fd00::/129",
					     "10.0.0.0:0", "[::1]:99999", "10.0.0.0/8/8", "*", "10.0.0.0/-1" };

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct supjob_egress allow = { .allow = { (char **)&bad[i], 1 } };
		struct supjob_egress deny = { .deny = { (char **)&bad[i], 1 } };

		refuse_rules(&allow, "egress.allow");
		refuse_rules(&deny, bad[i]);
	}
	for (size_t i = 0; i < sizeof(bad_private) / sizeof(bad_private[0]); i++) {
		struct supjob_egress r = { .private_ = { (char **)&bad_private[i], 1 } };

		refuse_rules(&r, "egress.private");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hosts_have_one_form),
		cmocka_unit_test(special_addresses_are_known),
		cmocka_unit_test(allow_rules_match_names_and_ports),
		cmocka_unit_test(modes_differ_in_what_no_rule_names),
		cmocka_unit_test(deny_beats_allow_and_the_repository),
		cmocka_unit_test(the_repository_is_exact_and_only_while_cloning),
		cmocka_unit_test(only_private_lifts_the_address_check),
		cmocka_unit_test(a_refusal_says_what_would_allow_it),
		cmocka_unit_test(bad_rules_are_refused_by_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
