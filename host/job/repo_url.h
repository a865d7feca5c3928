/* SPDX-License-Identifier: Apache-2.0 */
/*
 * repo_url.h - what a repository's URL must look like, and its scheme, host and port. Pure.
 */
#ifndef KILN_REPO_URL_H
#define KILN_REPO_URL_H

#include "err.h"

#define REPO_URL_MAX 2048u

struct repo_url {
	char scheme[8];  /* "http" or "https" */
	char host[256];  /* lower case; IPv6 without brackets */
	int port;        /* with the scheme's default filled in */
};

/*
 * Take an http or https URL apart (RFC 3986): no user info, no fragment, no control character or
 * space, a host that is a name, an IPv4 or a bracketed IPv6 address. The text of a user info is
 * never repeated in an error. Codes, with field "repo_url": "unsupported_scheme", "bad_value".
 */
int repo_url_parse(const char *text, struct repo_url *out, struct err *e);

#endif
