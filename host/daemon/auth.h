/* SPDX-License-Identifier: Apache-2.0 */
/* auth.h - who may ask: names of this server, web origins, the bearer token. */
#ifndef KILN_AUTH_H
#define KILN_AUTH_H

#include <jansson.h>

/* Strip the port (and the brackets of IPv6) off a Host header. -1: malformed or too long. */
int auth_host_name(const char *header, char *name, size_t cap);
/*
 * Nonzero when a Host header names this server: localhost, local (the address the connection came
 * in on, as text), the configured host, or one of allowed (array of strings).
 */
int auth_host_ok(const char *header, const char *local, const char *configured,
		 const json_t *allowed);
/* Nonzero when origin is this server as the request names it: http(s)://<host header>. */
int auth_origin_ok(const char *origin, const char *host_header);
/* Nonzero when an Authorization header carries the token; in constant time. */
int auth_token_ok(const char *authorization, const char *token);

#endif
