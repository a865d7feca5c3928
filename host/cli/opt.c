/* SPDX-License-Identifier: Apache-2.0 */
/* opt.c - parses options by a table. Keeps views only; prints nothing but help. */
#include "opt.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "jsonx.h"

static int add(struct opt_set *s, const struct opt *o, const char *value, struct err *e)
{
	if (s->count >= OPT_MAX)
		return err_set(e, "usage", "more than %d options", OPT_MAX);
	s->given[s->count].opt = o;
	s->given[s->count].value = value;
	s->count++;
	return 0;
}

static int unknown(const struct opt *table, const char *word, size_t n, struct err *e)
{
	const char *names[64], *near;
	char given[64];
	size_t count = 0;

	for (const struct opt *o = table; o->name && count < 64; o++)
		names[count++] = o->name;
	snprintf(given, sizeof(given), "%.*s", (int)n, word);
	near = jsonx_nearest(given, names, count);
	return err_set(e, "usage", "unknown option '%s'%s%s%s", given, near ? ", did you mean '" : "",
		       near ? near : "", near ? "'?" : "");
}

/* "--x", "--x v" or "--x=v". Returns how many words were used, or -1. */
static int take_long(struct opt_set *s, int left, char **argv, struct err *e)
{
	size_t n = strcspn(argv[0], "=");
	const char *value = argv[0][n] ? argv[0] + n + 1 : NULL;

	for (const struct opt *o = s->table; o->name; o++) {
		if (strlen(o->name) != n || strncmp(o->name, argv[0], n) != 0)
			continue;
		if (!o->arg && value)
			return err_set(e, "usage", "%s takes no value", o->name);
		if (!o->arg || value)
			return add(s, o, value ? value : "", e) < 0 ? -1 : 1;
		if (left < 2 || strcmp(argv[1], "--") == 0)
			return err_set(e, "usage", "%s needs a value: %s %s", o->name, o->name, o->arg);
		return add(s, o, argv[1], e) < 0 ? -1 : 2;
	}
	return unknown(s->table, argv[0], n, e);
}

/* "-x", "-xy", "-x v" or "-xv". Returns how many words were used, or -1. */
static int take_short(struct opt_set *s, int left, char **argv, int *help, struct err *e)
{
	for (const char *p = argv[0] + 1; *p; p++) {
		const struct opt *o = s->table;

		if (*p == 'h') {
			*help = 1;
			continue;
		}
		while (o->name && o->letter != *p)
			o++;
		if (!o->name)
			return err_set(e, "usage", "unknown option '-%c'", *p);
		if (!o->arg) {
			if (add(s, o, "", e) < 0)
				return -1;
			continue;
		}
		if (p[1])
			return add(s, o, p + 1, e) < 0 ? -1 : 1;
		if (left < 2)
			return err_set(e, "usage", "-%c needs a value: %s", *p, o->arg);
		return add(s, o, argv[1], e) < 0 ? -1 : 2;
	}
	return 1;
}

int opt_parse(struct opt_set *s, const struct opt *table, int argc, char **argv, int *help,
	      struct err *e)
{
	int i = 0, used;

	memset(s, 0, sizeof(*s));
	s->table = table;
	s->args = argv;
	*help = 0;
	while (i < argc) {
		if (strcmp(argv[i], "--") == 0) {
			s->rest = argv + i + 1;
			s->rest_count = argc - i - 1;
			return 0;
		}
		if (strcmp(argv[i], "--help") == 0) {
			*help = 1;
			used = 1;
		} else if (strncmp(argv[i], "--", 2) == 0) {
			used = take_long(s, argc - i, argv + i, e);
		} else if (argv[i][0] == '-' && argv[i][1]) {
			used = take_short(s, argc - i, argv + i, help, e);
		} else {
			s->args[s->args_count++] = argv[i];
			used = 1;
		}
		if (used < 0)
			return -1;
		i += used;
	}
	return 0;
}

const char *opt_nth(const struct opt_set *s, const char *name, size_t i)
{
	for (size_t k = 0; k < s->count; k++)
		if (strcmp(s->given[k].opt->name, name) == 0 && i-- == 0)
			return s->given[k].value;
	return NULL;
}

const char *opt_get(const struct opt_set *s, const char *name)
{
	const char *last = NULL, *value;

	for (size_t i = 0; (value = opt_nth(s, name, i)); i++)
		last = value;
	return last;
}

int opt_number(const struct opt_set *s, const char *name, long min, long max, long *out,
	       struct err *e)
{
	const char *text = opt_get(s, name);
	char *end;
	long n;

	if (!text)
		return 0;
	errno = 0;
	n = strtol(text, &end, 10);
	if (end == text || *end || errno || n < min || n > max)
		return err_set(e, "usage", "%s must be a number from %ld to %ld, not '%.60s'", name, min,
			       max, text);
	*out = n;
	return 0;
}

void opt_help(const struct opt *table, FILE *f)
{
	for (const struct opt *o = table; o->name; o++) {
		char left[64];

		snprintf(left, sizeof(left), "%s%c%s%s%s%s", o->letter ? "-" : "  ",
			 o->letter ? o->letter : ' ', o->letter ? ", " : "  ", o->name,
			 o->arg ? " " : "", o->arg ? o->arg : "");
		fprintf(f, "  %-30s %s\n", left, o->help);
	}
}
