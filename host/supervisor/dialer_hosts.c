/* SPDX-License-Identifier: Apache-2.0 */
/* dialer_hosts.c - the hosts file in memory. Owns its text; looks names up line by line. */
#include "dialer_hosts.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "egress_addr.h"
#include "fileio.h"

#define BLANKS " \t\r"

struct hosts {
	char *text; /* lines, as in the file */
};

struct hosts *hosts_parse(char *text)
{
	struct hosts *h = calloc(1, sizeof(*h));

	if (h)
		h->text = text;
	else
		free(text);
	return h;
}

int hosts_load(struct hosts **out, const char *path, struct err *e)
{
	char *text = NULL;

	/* Often a link (to a volume, to /run): resolved by the kernel, read as what it is. */
	char *real = realpath(path, NULL);
	int rc = real ? fileio_read(AT_FDCWD, real, HOSTS_BYTES_MAX, &text, NULL, e) : 0;

	free(real);
	if (rc < 0 && strcmp(e->code, "not_found") != 0)
		return -1;
	*out = hosts_parse(text);
	return *out ? 0 : err_set(e, "io", "no memory for %s", path);
}

void hosts_free(struct hosts *h)
{
	if (!h)
		return;
	free(h->text);
	free(h);
}

/* Whether a line's words after the first hold the name. n: without comment. */
static int line_names(const char *p, size_t n, const char *name)
{
	size_t len = strlen(name);
	const char *end = p + n;

	while (p < end) {
		size_t skip = strspn(p, BLANKS);
		size_t word;

		p += skip;
		if (p >= end)
			return 0;
		word = strcspn(p, BLANKS "#\n");
		if (word == len && strncasecmp(p, name, len) == 0)
			return 1;
		p += word ? word : 1;
	}
	return 0;
}

static int is_localhost(const char *name)
{
	size_t n = strlen(name);

	return strcmp(name, "localhost") == 0 ||
	       (n > 10 && strcmp(name + n - 10, ".localhost") == 0);
}

unsigned hosts_find(const struct hosts *h, const char *name, struct in6_addr *out, unsigned max)
{
	unsigned found = 0;

	for (const char *p = h->text; p && *p && found < max;) {
		size_t n = strcspn(p, "\n"), used = strcspn(p, "#\n");
		size_t lead = strspn(p, BLANKS), word = strcspn(p + lead, BLANKS "#\n");
		char address[EGRESS_ADDR_TEXT];

		if (lead + word < used && word < sizeof(address)) {
			memcpy(address, p + lead, word);
			address[word] = '\0';
			if (line_names(p + lead + word, used - lead - word, name) &&
			    egress_addr_parse(address, &out[found]) == 0)
				found++;
		}
		p += n + (p[n] == '\n');
	}
	if (found == 0 && is_localhost(name)) {
		egress_addr_parse("127.0.0.1", &out[0]);
		found = 1;
	}
	return found;
}
