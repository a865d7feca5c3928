/* SPDX-License-Identifier: Apache-2.0 */
/* egress_rule.c - syntax and order of egress rules. Pure; owns nothing. */
#include "egress_rule.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME_MAX_BYTES 253u

#define PORT_WEB (-1) /* 80 and 443 */
#define PORT_ANY (-2)

struct rule {
	char name[NAME_MAX_BYTES + 3]; /* lower case, without "*." */
	int wildcard;
	int port;
};

static int name_ok(const char *s, size_t n)
{
	size_t label = 0;

	if (n == 0 || n > NAME_MAX_BYTES)
		return 0;
	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)s[i];

		if (c == '.') {
			if (label == 0)
				return 0;
			label = 0;
		} else if (isalnum(c) || c == '_' || (c == '-' && label > 0)) {
			if (++label > 63)
				return 0;
		} else {
			return 0;
		}
	}
	return 1;
}

static int v6_ok(const char *s, size_t n)
{
	char text[INET6_ADDRSTRLEN];
	unsigned char addr[16];

	if (n >= sizeof(text))
		return 0;
	memcpy(text, s, n);
	text[n] = '\0';
	return inet_pton(AF_INET6, text, addr) == 1;
}

/* The number in digits, at most five of them, or -1. */
static int number(const char *s)
{
	size_t n = strlen(s);

	if (n == 0 || n > 5 || strspn(s, "0123456789") != n)
		return -1;
	return (int)strtol(s, NULL, 10);
}

/* Splits host from ":port". *host may be in brackets. Returns the port, or -3 when wrong. */
static int split(const char *text, const char **host, size_t *n)
{
	const char *end;
	int port;

	if (text[0] == '[') {
		end = strchr(text, ']');
		if (!end)
			return -3;
		*host = text + 1;
		*n = (size_t)(end - text - 1);
		end++;
	} else {
		*host = text;
		*n = strcspn(text, ":");
		end = text + *n;
	}
	if (*end == '\0')
		return PORT_WEB;
	if (*end != ':')
		return -3;
	if (strcmp(end + 1, "*") == 0)
		return PORT_ANY;
	port = number(end + 1);
	return port >= 1 && port <= 65535 ? port : -3;
}

static int parse(const char *text, struct rule *r)
{
	const char *host;
	size_t n;

	memset(r, 0, sizeof(*r));
	r->port = split(text, &host, &n);
	if (r->port == -3)
		return -1;
	if (text[0] == '[') {
		if (!v6_ok(host, n))
			return -1;
	} else if (n == 1 && *host == '*') {
		r->wildcard = 1;
		n = 0;
	} else {
		if (n > 2 && strncmp(host, "*.", 2) == 0) {
			r->wildcard = 1;
			host += 2;
			n -= 2;
		}
		if (n > 1 && host[n - 1] == '.')
			n--;
		if (!name_ok(host, n))
			return -1;
	}
	for (size_t i = 0; i < n; i++)
		r->name[i] = (char)tolower((unsigned char)host[i]);
	return 0;
}

int egress_rule_check(const char *text, struct err *e)
{
	struct rule r;

	if (parse(text, &r) < 0)
		return err_set(e, "bad_value", "'%.100s' is not an egress rule: host, host:port, "
			       "*.domain, *.domain:port or host:*", text);
	return 0;
}

int egress_rule_check_private(const char *text, struct err *e)
{
	char host[64];
	const char *at, *slash;
	unsigned char addr[16];
	int port, bits, family;
	size_t n;

	/* A bare IPv6 range has colons of its own: with a port it needs brackets. */
	if (text[0] != '[' && strchr(text, ':') != strrchr(text, ':')) {
		at = text;
		n = strlen(text);
		port = PORT_ANY;
	} else {
		port = split(text, &at, &n);
	}
	if (port == -3 || n == 0 || n >= sizeof(host))
		goto bad;
	memcpy(host, at, n);
	host[n] = '\0';
	slash = strchr(host, '/');
	bits = slash ? number(slash + 1) : 0;
	if (slash)
		host[slash - host] = '\0';
	family = strchr(host, ':') ? AF_INET6 : AF_INET;
	if (inet_pton(family, host, addr) == 1 && bits >= 0 && bits <= (family == AF_INET ? 32 : 128))
		return 0;
bad:
	return err_set(e, "bad_value", "'%.100s' is not an address or range: 10.0.0.0/8, "
		       "127.0.0.1:8080 or [::1]:3000", text);
}

static int port_covers(int outer, int inner)
{
	if (outer == PORT_ANY || outer == inner)
		return 1;
	return outer == PORT_WEB && (inner == 80 || inner == 443);
}

int egress_rule_covers(const char *outer, const char *inner)
{
	struct rule o, i;
	size_t no, ni;

	if (parse(outer, &o) < 0 || parse(inner, &i) < 0 || !port_covers(o.port, i.port))
		return 0;
	no = strlen(o.name);
	ni = strlen(i.name);
	if (!o.wildcard)
		return !i.wildcard && strcmp(o.name, i.name) == 0;
	if (no == 0)
		return 1;
	if (i.wildcard && ni == no)
		return strcmp(o.name, i.name) == 0;
	return ni > no && i.name[ni - no - 1] == '.' && strcmp(i.name + ni - no, o.name) == 0;
}
