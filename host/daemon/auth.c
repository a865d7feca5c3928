/* SPDX-License-Identifier: Apache-2.0 */
/*
 * auth.c - who may ask. Pure. A web page anywhere must not be able to start builds on the
 * localhost of who looks at it: its Origin gives it away, and a name rebound to 127.0.0.1 does
 * by its Host. Tokens are compared as digests, so that neither content nor length shows in time.
 */
#include "auth.h"

#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <string.h>
#include <strings.h>

#define HOST_MAX 256

int auth_host_name(const char *header, char *name, size_t cap)
{
	const char *end;
	size_t n;

	if (*header == '[') {
		header++;
		end = strchr(header, ']');
		if (!end || (end[1] != '\0' && end[1] != ':'))
			return -1;
	} else {
		end = header + strcspn(header, ":");
	}
	if (*end == ':' && end[1 + strspn(end + 1, "0123456789")] != '\0')
		return -1;
	n = (size_t)(end - header);
	if (n == 0 || n >= cap)
		return -1;
	memcpy(name, header, n);
	name[n] = '\0';
	return 0;
}

int auth_host_ok(const char *header, const char *local, const char *configured,
		 const json_t *allowed)
{
	char name[HOST_MAX];
	const json_t *item;
	size_t i;

	if (auth_host_name(header, name, sizeof(name)) < 0)
		return 0;
	if (strcasecmp(name, "localhost") == 0 || strcasecmp(name, local) == 0 ||
	    (*configured && strcasecmp(name, configured) == 0))
		return 1;
	json_array_foreach(allowed, i, item) {
		if (strcasecmp(name, json_string_value(item)) == 0)
			return 1;
	}
	return 0;
}

int auth_origin_ok(const char *origin, const char *host_header)
{
	size_t skip = strncasecmp(origin, "http://", 7) == 0 ? 7 :
		      strncasecmp(origin, "https://", 8) == 0 ? 8 : 0;

	return skip && host_header && strcasecmp(origin + skip, host_header) == 0;
}

int auth_token_ok(const char *authorization, const char *token)
{
	unsigned char a[SHA256_DIGEST_LENGTH], b[SHA256_DIGEST_LENGTH];

	if (!authorization || strncasecmp(authorization, "Bearer ", 7) != 0)
		return 0;
	authorization += 7;
	SHA256((const unsigned char *)authorization, strlen(authorization), a);
	SHA256((const unsigned char *)token, strlen(token), b);
	return CRYPTO_memcmp(a, b, sizeof(a)) == 0;
}
