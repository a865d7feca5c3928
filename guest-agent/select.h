/* SPDX-License-Identifier: Apache-2.0 */
/*
 * select.h - which files of the workspace are artifacts. Pure: judges names and struct stat.
 */
#ifndef KILN_AGENT_SELECT_H
#define KILN_AGENT_SELECT_H

#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "fail.h"

struct select;

enum select_verdict { /* bits */
	SELECT_TAKE = 1,   /* an artifact; of a directory: so is everything below it */
	SELECT_DESCEND = 2 /* a directory below which something may be one */
};

/*
 * Compile the patterns (NULL-terminated lists). A pattern that begins with the workspace's
 * absolute path is taken relative to it. A pattern that cannot be compiled is a failure of
 * class user. *out belongs to the caller (select_free).
 */
int select_new(const char *const *paths, const char *const *exclude, const char *workspace,
	       struct select **out, struct fail *f);

/* Leave out more than the patterns of select_new do. */
int select_exclude(struct select *s, const char *const *exclude, const char *workspace,
		   struct fail *f);

/*
 * Of what the patterns match take only executables and libraries that changed since
 * since_ns (CLOCK_REALTIME; 0: whenever), as detect.h describes. A directory that matches
 * brings nothing then: the patterns must match the files.
 */
void select_products(struct select *s, uint64_t since_ns);

/*
 * Judge one entry: path relative to the workspace, its last component's st. inside: a
 * directory above it was taken. Whatever is called .git, and what lies below, is taken only
 * by a pattern that names .git. Bits of enum select_verdict.
 */
unsigned select_judge(struct select *s, const char *path, const struct stat *st, int inside);

/* The n-th pattern that has matched nothing so far, or NULL. */
const char *select_unmatched(const struct select *s, size_t n);

/* s may be NULL. */
void select_free(struct select *s);

#endif
