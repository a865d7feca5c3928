/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store.h - the database of builds: its schema, and reading it from the loop.
 *
 * Writing is the writer's alone (writer.h), on a connection of its own. Every read here is
 * short by construction: one row by key, or a page of an index.
 */
#ifndef KILN_STORE_H
#define KILN_STORE_H

#include <stddef.h>
#include <stdint.h>

#include "err.h"
#include "record.h"

#define STORE_FORMAT 1
#define STORE_PAGE_MAX 500

struct sqlite3;
struct store;

/* What GET /builds asks for; NULL or 0: not asked. Texts are the caller's. */
struct store_filter {
	const char *status, *repo_url, *branch, *klass;
	int64_t before_seq;   /* only builds that arrived before this one; 0: from the newest */
	size_t limit;         /* 1..STORE_PAGE_MAX */
};

typedef int (*store_row_fn)(void *arg, const struct record *r);

/*
 * Open a connection with the settings all of kilnd's connections have (WAL, synchronous=FULL).
 * create: make the file (0600) and the schema when they are missing. Codes: "store", and
 * "store_newer" for a schema of a newer kilnd.
 */
int store_connect(const char *path, int create, struct sqlite3 **db, struct err *e);

/* The reading side. Caller store_closes. */
int store_open(const char *path, struct store **out, struct err *e);
void store_close(struct store *s);

/* One build, whole. *out: record_free. Code "not_found" for an unknown id. */
int store_get(struct store *s, const char *id, struct record **out, struct err *e);
/* The place of a build in the order of arrival. Code "not_found". */
int store_seq(struct store *s, const char *id, int64_t *seq, struct err *e);
/* A page, newest first; rows come without job and result. fn ends it by returning nonzero. */
int store_list(struct store *s, const struct store_filter *f, store_row_fn fn, void *arg,
	       struct err *e);
/* Every build without a verdict, oldest first; without job and result. */
int store_unfinished(struct store *s, store_row_fn fn, void *arg, struct err *e);

#endif
