/* SPDX-License-Identifier: Apache-2.0 */
/*
 * route.h - the table of the REST API: method and path to handler. docs/openapi.yaml describes
 * the same calls; a test compares both through `kilnd --dump-routes`.
 */
#ifndef KILN_ROUTE_H
#define KILN_ROUTE_H

#include <stddef.h>
#include <stdio.h>

#define ROUTE_PARAMS_MAX 2

struct request;

struct route {
	const char *method;
	const char *pattern;  /* "{x}" is one segment, "{x*}" at the end is all that is left */
	void (*handle)(struct request *r);
	int body;             /* needs a JSON body */
};

/* Views into the path, not yet decoded. */
struct route_match {
	const struct route *route;
	struct { const char *text; size_t n; } params[ROUTE_PARAMS_MAX];
	char allow[64];       /* the methods of the path, for 405 */
};

/*
 * Find method and path (as sent, percent-encoded). Return: 0 found, 404 no such path, 405 the
 * path has other methods (m->allow). HEAD is served by GET.
 */
int route_find(const char *method, const char *path, struct route_match *m);
/* Decode n bytes of a path or query into out (NUL-terminated). -1: bad escape, NUL, too long. */
int route_decode(const char *in, size_t n, char *out, size_t cap);
/* One "METHOD /path/{x}" a line. */
void route_dump(FILE *f);

#endif
