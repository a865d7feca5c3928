/* SPDX-License-Identifier: Apache-2.0 */
/*
 * opt.h - options of a command, from a table that also prints its help.
 */
#ifndef KILN_OPT_H
#define KILN_OPT_H

#include <stddef.h>
#include <stdio.h>

#include "err.h"

#define OPT_MAX 128

struct opt {
	const char *name; /* "--output"; the table ends with a NULL name */
	char letter;      /* 'o', or 0 */
	const char *arg;  /* "DIR" when it takes a value, else NULL */
	const char *help;
};

/* What was given. Texts are views into argv. */
struct opt_set {
	const struct opt *table;
	struct { const struct opt *opt; const char *value; } given[OPT_MAX];
	size_t count;
	char **args;  /* words that are no option, before "--" */
	int args_count;
	char **rest;  /* words after "--"; NULL when there was none */
	int rest_count;
};

/*
 * Parse argv[0..argc): "--x v", "--x=v", "-x v", "-xv", "-xy". argv is reordered. "--help" and "-h"
 * are known without being in the table: *help becomes nonzero. Code "usage"; an unknown option
 * names the nearest.
 */
int opt_parse(struct opt_set *s, const struct opt *table, int argc, char **argv, int *help,
	      struct err *e);

/* The value given last ("" for one without a value), or NULL. */
const char *opt_get(const struct opt_set *s, const char *name);

/* The i-th value of an option that may be repeated, or NULL behind the last. */
const char *opt_nth(const struct opt_set *s, const char *name, size_t i);

/* The value as a number from min to max; *out is left alone when it was not given. Code "usage". */
int opt_number(const struct opt_set *s, const char *name, long min, long max, long *out,
	       struct err *e);

/* One line an option. */
void opt_help(const struct opt *table, FILE *f);

#endif
