/* SPDX-License-Identifier: Apache-2.0 */
/* route.c - the table of the REST API and how a path is matched with it. Owns nothing. */
#include "route.h"

#include <string.h>

#include "api.h"

static const struct route routes[] = {
	{ "GET", "/health", api_health, 0 },
	{ "POST", "/build", api_submit, 1 },
	{ "GET", "/builds", api_list, 0 },
	{ "GET", "/build/{id}", api_show, 0 },
	{ "GET", "/build/{id}/log", api_log, 0 },
	{ "GET", "/build/{id}/artifacts", api_manifest, 0 },
	{ "GET", "/build/{id}/artifacts/{path*}", api_artifact, 0 },
	{ "GET", "/build/{id}/artifacts.tar", api_artifacts_tar, 0 },
	{ "POST", "/build/{id}/cancel", api_cancel, 0 },
};

#define ROUTE_COUNT (sizeof(routes) / sizeof(routes[0]))

static size_t segment(const char *p)
{
	return strcspn(p, "/");
}

static int match(const char *pattern, const char *path, struct route_match *m)
{
	unsigned count = 0;

	memset(m->params, 0, sizeof(m->params));
	while (*pattern == '/' && *path == '/') {
		size_t np = segment(++pattern), nt = segment(++path);

		if (*pattern == '{' && pattern[np - 2] == '*') {
			m->params[count].text = path;
			m->params[count].n = strlen(path);
			return *path != '\0';
		}
		if (*pattern == '{') {
			if (nt == 0 || count == ROUTE_PARAMS_MAX)
				return 0;
			m->params[count].text = path;
			m->params[count++].n = nt;
		} else if (np != nt || memcmp(pattern, path, np) != 0) {
			return 0;
		}
		pattern += np;
		path += nt;
	}
	return *pattern == '\0' && *path == '\0';
}

int route_find(const char *method, const char *path, struct route_match *m)
{
	const char *want = strcmp(method, "HEAD") == 0 ? "GET" : method;
	size_t used = 0;

	m->allow[0] = '\0';
	for (size_t i = 0; i < ROUTE_COUNT; i++) {
		if (!match(routes[i].pattern, path, m))
			continue;
		if (strcmp(routes[i].method, want) == 0) {
			m->route = &routes[i];
			return 0;
		}
		used += (size_t)snprintf(m->allow + used, sizeof(m->allow) - used, "%s%s%s",
					 used ? ", " : "", routes[i].method,
					 strcmp(routes[i].method, "GET") == 0 ? ", HEAD" : "");
	}
	return used ? 405 : 404;
}

static int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int route_decode(const char *in, size_t n, char *out, size_t cap)
{
	size_t len = 0;

	for (size_t i = 0; i < n; i++) {
		int c = (unsigned char)in[i];

		if (c == '%') {
			int hi = n - i > 2 ? hex(in[i + 1]) : -1;
			int lo = n - i > 2 ? hex(in[i + 2]) : -1;

			c = hi < 0 || lo < 0 ? 0 : hi << 4 | lo;
			i += 2;
		}
		if (c == 0 || len + 1 >= cap)
			return -1;
		out[len++] = (char)c;
	}
	out[len] = '\0';
	return 0;
}

void route_dump(FILE *f)
{
	for (size_t i = 0; i < ROUTE_COUNT; i++) {
		fprintf(f, "%s ", routes[i].method);
		for (const char *p = routes[i].pattern; *p; p++) {
			if (*p != '*')
				fputc(*p, f);
		}
		fputc('\n', f);
	}
}
