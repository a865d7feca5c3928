/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gitwords.c - what libgit2 and the proxy say, in words for the person whose build failed.
 *
 * Owns nothing. libgit2 tells apart only by text what matters here (HTTP statuses, the result
 * of certificate verification), so its sentences are looked into; what is not recognised is
 * passed on as it is.
 */
#include "gitwords.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <git2.h>
#include <mbedtls/x509.h>

#include "gitstream.h"
#include "wire_msg.h"

static const char *last_message(void)
{
	const git_error *e = git_error_last();

	return e && e->message ? e->message : "no reason given";
}

/* Full disk and lack of memory are not the repository's fault. 1 when f is filled. */
static int fill_resources(struct fail *f, const char *what)
{
	const git_error *e = git_error_last();

	if (e && e->klass == GIT_ERROR_NOMEMORY) {
		fail_set(f, WIRE_CLASS_OOM, "%s: no memory left", what);
		return 1;
	}
	if (strstr(last_message(), "No space left on device")) {
		fail_set(f, WIRE_CLASS_DISK_FULL, "%s: no space left on the scratch disk", what);
		return 1;
	}
	return 0;
}

int gitwords_fail_local(struct fail *f, const char *what)
{
	if (!fill_resources(f, what))
		fail_set(f, WIRE_CLASS_AGENT, "%s: %s", what, last_message());
	return -1;
}

static int http_status(const char *message)
{
	const char *p = strstr(message, "unexpected http status code: ");

	return p ? (int)strtol(p + strlen("unexpected http status code: "), NULL, 10) : 0;
}

/* The bits of mbedtls_ssl_get_verify_result(), which libgit2 prints in one of two places. */
static unsigned long certificate_bits(const char *message)
{
	static const char invalid[] = "the SSL certificate is invalid: ";
	const char *bracket = strchr(message, '[');

	if (strncmp(message, invalid, sizeof(invalid) - 1) == 0)
		return strtoul(message + sizeof(invalid) - 1, NULL, 16);
	return bracket ? strtoul(bracket + 1, NULL, 16) : 0;
}

static const char *certificate_words(const char *message)
{
	unsigned long bits = certificate_bits(message);

	if (bits & MBEDTLS_X509_BADCERT_EXPIRED)
		return "the server's certificate has expired";
	if (bits & MBEDTLS_X509_BADCERT_FUTURE)
		return "the server's certificate is not valid yet";
	if (bits & MBEDTLS_X509_BADCERT_CN_MISMATCH)
		return "the server's certificate is for another host name";
	if (bits & MBEDTLS_X509_BADCERT_NOT_TRUSTED)
		return "no authority that kiln trusts has signed the server's certificate "
		       "(ca_file names the authorities)";
	return NULL;
}

static int fail_tls(struct fail *f, const char *what, const char *url, const char *message)
{
	const char *words = certificate_words(message);

	if (words)
		return fail_set(f, WIRE_CLASS_USER, "%s %s: TLS: %s", what, url, words);
	return fail_set(f, WIRE_CLASS_USER, "%s %s: TLS: %s", what, url, message);
}

static int fail_http(struct fail *f, const char *what, const char *url, int status)
{
	if (status == 404 || status == 410)
		return fail_set(f, WIRE_CLASS_USER,
				"%s %s: the repository was not found or needs credentials (HTTP %d)",
				what, url, status);
	if (status == 401 || status == 403)
		return fail_set(f, WIRE_CLASS_USER,
				"%s %s: the server demands credentials or forbids the access (HTTP %d)",
				what, url, status);
	if (status >= 500)
		return fail_set(f, WIRE_CLASS_USER, "%s %s: the server failed (HTTP %d)", what, url,
				status);
	return fail_set(f, WIRE_CLASS_USER, "%s %s: the server answered HTTP %d", what, url, status);
}

int gitwords_fail(struct fail *f, const char *what, const char *url)
{
	const git_error *e = git_error_last();
	const char *message = last_message();
	int status = http_status(message);

	if (fill_resources(f, what))
		return -1;
	if (gitstream_refusal()->status)
		return fail_set(f, WIRE_CLASS_USER, "%s %s: %s", what, url,
				gitstream_refusal()->text);
	if (status)
		return fail_http(f, what, url, status);
	if (strstr(message, "redirect"))
		return fail_set(f, WIRE_CLASS_USER, "%s %s: the server redirects without end or "
				"without saying where to (%s)", what, url, message);
	if (strstr(message, "authentication"))
		return fail_http(f, what, url, 401);
	if (e && e->klass == GIT_ERROR_SSL)
		return fail_tls(f, what, url, message);
	if (strstr(message, "invalid content-type") || strstr(message, "no content-type"))
		return fail_set(f, WIRE_CLASS_USER,
				"%s %s: what answers there is not a git server over smart HTTP (%s)",
				what, url, message);
	if (strcmp(message, "unexpected EOF") == 0)
		message = "the server closed the connection without an answer";
	return fail_set(f, WIRE_CLASS_USER, "%s %s: %s", what, url, message);
}
