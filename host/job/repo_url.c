/* SPDX-License-Identifier: Apache-2.0 */
/* repo_url.c - takes a repository's URL apart. Pure; knows no network. */
#include "repo_url.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define FIELD "repo_url"

static int bad(struct err *e, const char *why)
{
	return err_field(e, "bad_value", FIELD, "repo_url %s", why);
}

static int parse_scheme(const char *text, struct repo_url *out, const char **rest, struct err *e)
{
	static const struct { const char *scheme; int port; } known[] = { { "http", 80 },
									  { "https", 443 } };
	size_t n = strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-.");
	const char *colon = text + n;

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		if (strlen(known[i].scheme) != n || strncasecmp(text, known[i].scheme, n) != 0 ||
		    strncmp(colon, "://", 3) != 0)
			continue;
		memcpy(out->scheme, known[i].scheme, n + 1);
		out->port = known[i].port;
		*rest = colon + 3;
		return 0;
	}
	if (n > 0 && n < 16 && strncmp(colon, "://", 3) == 0)
		return err_field(e, "unsupported_scheme", FIELD, "repo_url has the scheme '%.*s', only "
				 "http and https are supported", (int)n, text);
	return err_field(e, "unsupported_scheme", FIELD, "repo_url must begin with http:// or https://"
			 "%s", strchr(text, '@') ? " (ssh addresses such as git@host:path are not "
			 "supported)" : "");
}

static int parse_port(const char *text, size_t n, struct repo_url *out, struct err *e)
{
	int port = 0;

	if (n == 0)
		return 0; /* RFC 3986: an empty port is the default one */
	if (n > 5)
		return bad(e, "has a port that is no port");
	for (size_t i = 0; i < n; i++) {
		if (!isdigit((unsigned char)text[i]))
			return bad(e, "has a port that is no number");
		port = port * 10 + (text[i] - '0');
	}
	if (port < 1 || port > 65535)
		return bad(e, "has a port outside 1 to 65535");
	out->port = port;
	return 0;
}

static int parse_name(const char *text, size_t n, struct repo_url *out, struct err *e)
{
	size_t label = 0;

	if (n == 0 || n > 253)
		return bad(e, n ? "has a host name that is too long" : "has no host");
	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)text[i];

		if (c == '.' ? label == 0 : !isalnum(c) && c != '-' && c != '_')
			return bad(e, "has a host name with characters that no host name has");
		label = c == '.' ? 0 : label + 1;
		out->host[i] = (char)tolower(c);
	}
	if (n > 1 && text[n - 1] == '.')
		n--; /* the root's dot */
	out->host[n] = '\0';
	return 0;
}

static int parse_authority(const char *text, size_t n, struct repo_url *out, struct err *e)
{
	unsigned char addr[16];
	const char *end;
	size_t host_bytes;

	if (memchr(text, '@', n))
		return bad(e, "must hold no user name or password: give them in the field "
			   "'credentials' {\"username\", \"password\"}");
	if (n > 0 && text[0] == '[') {
		end = memchr(text, ']', n);
		host_bytes = end ? (size_t)(end - text - 1) : 0;
		if (!end || host_bytes >= INET6_ADDRSTRLEN)
			return bad(e, "has brackets without an IPv6 address");
		memcpy(out->host, text + 1, host_bytes);
		out->host[host_bytes] = '\0';
		if (inet_pton(AF_INET6, out->host, addr) != 1)
			return bad(e, "has brackets without an IPv6 address");
		end++;
	} else {
		end = memchr(text, ':', n);
		if (!end)
			end = text + n;
		if (parse_name(text, (size_t)(end - text), out, e) < 0)
			return -1;
	}
	if (end == text + n)
		return 0;
	if (*end != ':')
		return bad(e, "has something between its host and its path");
	return parse_port(end + 1, (size_t)(text + n - end - 1), out, e);
}

int repo_url_parse(const char *text, struct repo_url *out, struct err *e)
{
	const char *rest = text;
	size_t n = strlen(text);

	memset(out, 0, sizeof(*out));
	if (n > REPO_URL_MAX)
		return bad(e, "is too long");
	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)text[i];

		if (c <= 0x20 || c == 0x7f || c == '\\')
			return bad(e, "holds a space, a backslash or a control character");
	}
	if (parse_scheme(text, out, &rest, e) < 0)
		return -1;
	if (strchr(rest, '#'))
		return bad(e, "holds a fragment (#…): name a branch, tag or commit in its own field");
	return parse_authority(rest, strcspn(rest, "/?"), out, e);
}
