/* SPDX-License-Identifier: Apache-2.0 */
/* repo_url_test.c - what passes as a repository's URL, and what comes out of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "repo_url.h"

static void good_urls(void **state)
{
	static const struct { const char *url, *scheme, *host; int port; } cases[] = {
		{ "https://github.com/a/b.git", "https", "github.com", 443 },
		{ "http://127.0.0.1:8080/x", "http", "127.0.0.1", 8080 },
		{ "HTTPS://GitHub.COM/a", "https", "github.com", 443 },
		{ "http://[::1]:3000/r", "http", "::1", 3000 },
		{ "http://[fe80::1]/r", "http", "fe80::1", 80 },
		{ "https://host", "https", "host", 443 },
		{ "https://host:/x", "https", "host", 443 },
		{ "https://host?x=1", "https", "host", 443 },
		{ "https://host/a@b:c", "https", "host", 443 },
		{ "https://host./x", "https", "host", 443 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct repo_url u;
		struct err e = { 0 };

		if (repo_url_parse(cases[i].url, &u, &e) < 0)
			fail_msg("%s: %s", cases[i].url, e.text);
		assert_string_equal(u.scheme, cases[i].scheme);
		assert_string_equal(u.host, cases[i].host);
		assert_int_equal(u.port, cases[i].port);
	}
}

static void bad_urls(void **state)
{
	static const struct { const char *url, *code; } cases[] = {
		{ "", "unsupported_scheme" },
		{ "ssh://git@host/x", "unsupported_scheme" },
		{ "git@github.com:a/b", "unsupported_scheme" },
		{ "file:///etc/passwd", "unsupported_scheme" },
		{ "/srv/git", "unsupported_scheme" },
		{ "https:/host", "unsupported_scheme" },
		{ "https:host", "unsupported_scheme" },
		{ "ext::sh -c x", "bad_value" },
		{ "https://", "bad_value" },
		{ "https:///x", "bad_value" },
		{ "https://:80/x", "bad_value" },
		{ "https://host:0/", "bad_value" },
		{ "https://host:65536/", "bad_value" },
		{ "https://host:8x/", "bad_value" },
		{ "https://host:80:80/", "bad_value" },
		{ "https://ho st/", "bad_value" },
		{ "https://host/a\nb", "bad_value" },
		{ "https://host\\@evil/", "bad_value" },
		{ "https://[::1/", "bad_value" },
		{ "https://[zz]/", "bad_value" },
		{ "https://[::1]x/", "bad_value" },
		{ "https://[]/", "bad_value" },
		{ "https://a..b/", "bad_value" },
		{ "https://host/x#frag", "bad_value" },
		{ "https://ho%73t/", "bad_value" },
		{ "https://user@host/", "bad_value" },
		{ "https://user:hunter2@host/", "bad_value" },
		{ "https://a@b@host/", "bad_value" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct repo_url u;
		struct err e = { 0 };

		if (repo_url_parse(cases[i].url, &u, &e) == 0)
			fail_msg("'%s' passed", cases[i].url);
		assert_string_equal(e.code, cases[i].code);
		assert_string_equal(e.field, "repo_url");
		assert_null(strstr(e.text, "hunter2"));
	}
}

static void user_info_names_the_field_to_use(void **state)
{
	struct repo_url u;
	struct err e = { 0 };

	(void)state;
	assert_int_equal(repo_url_parse("https://bob:hunter2@host/x", &u, &e), -1);
	assert_non_null(strstr(e.text, "credentials"));
}

static void a_long_url_is_refused(void **state)
{
	char *url = malloc(REPO_URL_MAX + 10);
	struct repo_url u;
	struct err e;

	(void)state;
	memset(url, 'a', REPO_URL_MAX + 9);
	memcpy(url, "https://h/", 10);
	url[REPO_URL_MAX + 1] = '\0';
	assert_int_equal(repo_url_parse(url, &u, &e), -1);
	url[REPO_URL_MAX] = '\0';
	assert_int_equal(repo_url_parse(url, &u, &e), 0);
	free(url);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good_urls),
		cmocka_unit_test(bad_urls),
		cmocka_unit_test(user_info_names_the_field_to_use),
		cmocka_unit_test(a_long_url_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
