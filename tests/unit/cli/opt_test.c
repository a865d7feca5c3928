/* SPDX-License-Identifier: Apache-2.0 */
/* opt_test.c - options as people write them, and what they become in a request. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "jobopts.h"
#include "opt.h"

static const struct opt table[] = {
	JOBOPTS_ROWS,
	{ "--output", 'o', "DIR", "" },
	{ "--force", 'f', NULL, "" },
	{ 0 },
};

static int parse(struct opt_set *s, struct err *e, int *help, const char *a, const char *b, const char *c,
		 const char *d)
{
	static char *argv[5];
	const char *words[] = { a, b, c, d };
	int argc = 0;

	while (argc < 4 && words[argc]) {
		argv[argc] = (char *)words[argc];
		argc++;
	}
	memset(e, 0, sizeof(*e));
	return opt_parse(s, table, argc, argv, help, e);
}

static void forms_of_an_option(void **state)
{
	struct opt_set s;
	struct err e;
	int help;

	(void)state;
	assert_int_equal(parse(&s, &e, &help, "--output", "a", "repo", "-f"), 0);
	assert_string_equal(opt_get(&s, "--output"), "a");
	assert_non_null(opt_get(&s, "--force"));
	assert_int_equal(s.args_count, 1);
	assert_string_equal(s.args[0], "repo");
	assert_int_equal(parse(&s, &e, &help, "--output=b", "-oc", "-fod", NULL), 0);
	assert_string_equal(opt_get(&s, "--output"), "d");
	assert_string_equal(opt_nth(&s, "--output", 1), "c");
	assert_null(opt_nth(&s, "--output", 3));
	assert_int_equal(parse(&s, &e, &help, "-h", NULL, NULL, NULL), 0);
	assert_true(help);
}

static void what_follows_two_dashes_is_left_alone(void **state)
{
	struct opt_set s;
	struct err e;
	int help;

	(void)state;
	assert_int_equal(parse(&s, &e, &help, "repo", "--", "--output", "x"), 0);
	assert_null(opt_get(&s, "--output"));
	assert_int_equal(s.rest_count, 2);
	assert_string_equal(s.rest[0], "--output");
}

static void mistakes(void **state)
{
	struct opt_set s;
	struct err e;
	int help;

	(void)state;
	assert_int_equal(parse(&s, &e, &help, "--outptu", "x", NULL, NULL), -1);
	assert_string_equal(e.code, "usage");
	assert_non_null(strstr(e.text, "did you mean '--output'"));
	assert_int_equal(parse(&s, &e, &help, "--output", NULL, NULL, NULL), -1);
	assert_int_equal(parse(&s, &e, &help, "--output", "--", "x", NULL), -1);
	assert_int_equal(parse(&s, &e, &help, "--force=1", NULL, NULL, NULL), -1);
	assert_int_equal(parse(&s, &e, &help, "-z", NULL, NULL, NULL), -1);
}

/* The request that these words make, as JSON text. */
static char *request(const char *a, const char *b, const char *c, const char *d)
{
	struct opt_set s;
	struct err e;
	json_t *o = NULL;
	char *text;
	int help;

	assert_int_equal(parse(&s, &e, &help, a, b, c, d), 0);
	if (jobopts_request(&s, &o, &e) < 0)
		return strdup(e.text);
	text = json_dumps(o, JSON_COMPACT | JSON_SORT_KEYS);
	json_decref(o);
	return text;
}

static void check(char *got, const char *want)
{
	assert_string_equal(got, want);
	free(got);
}

static void requests(void **state)
{
	(void)state;
	setenv("KILN_OPT_TEST", "here", 1);
	check(request("--vcpus", "4", "--image=c", NULL), "{\"env\":{},\"image\":\"c\",\"secrets\":{},\"vcpus\":4}");
	check(request("-e", "A=1=2", "-e", "KILN_OPT_TEST"),
	      "{\"env\":{\"A\":\"1=2\",\"KILN_OPT_TEST\":\"here\"},\"secrets\":{}}");
	check(request("--allow", "a.org", "--egress", "audit"),
	      "{\"egress\":{\"allow\":[\"a.org\"],\"mode\":\"audit\"},\"env\":{},\"secrets\":{}}");
	check(request("--artifacts", "dist/**", "--exclude", "*.o"),
	      "{\"artifacts\":{\"exclude\":[\"*.o\"],\"paths\":[\"dist/**\"]},\"env\":{},\"secrets\":{}}");
	check(request("--", "make && make test", NULL, NULL),
	      "{\"command\":\"make && make test\",\"env\":{},\"secrets\":{}}");
	check(request("--", "echo", "a b", "it's"),
	      "{\"command\":\"echo 'a b' 'it'\\\\''s'\",\"env\":{},\"secrets\":{}}");
	check(request("-s", "make", "-s", "make test"),
	      "{\"env\":{},\"secrets\":{},\"steps\":[\"make\",\"make test\"]}");
	check(request("-s", "make", "--", "x"), "give --step or a command after --, not both");
	check(request("-e", "=x", NULL, NULL), "--env needs a name before '='");
	check(request("--vcpus", "two", NULL, NULL),
	      "--vcpus must be a number from 0 to 1000000000, not 'two'");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(forms_of_an_option),
		cmocka_unit_test(what_follows_two_dashes_is_left_alone),
		cmocka_unit_test(mistakes),
		cmocka_unit_test(requests),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
