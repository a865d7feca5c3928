/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gitcred.c - compares addresses, so that no other server hears the credentials. Owns nothing.
 */
#include "gitcred.h"

#include <string.h>
#include <strings.h>

/* The bytes of "scheme://host:port" at the start of an address; 0 when there is no such thing. */
static size_t origin_bytes(const char *url)
{
	const char *host = strstr(url, "://");

	return host ? (size_t)(host - url) + 3 + strcspn(host + 3, "/?#") : 0;
}

int gitcred_fits(const struct gitcred *c, const char *url)
{
	size_t n;

	if (!c || !c->password || !*c->password)
		return 0;
	n = origin_bytes(c->url);
	return n > 0 && n == origin_bytes(url) && strncasecmp(c->url, url, n) == 0;
}
