/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store.c - the database of builds: schema, connection settings, reads. Owns the reading
 * connection and its prepared statements. Must not write: the writer does, on its thread.
 *
 * Paging is by key (seq), never by offset. A class means exactly one final status, so a filter
 * is at most repository, branch and one of status or class; each index below holds every column
 * that a filter on it can still ask for, so that the worst query walks one index and no table.
 */
#include "store.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define COLUMNS "seq, id, status, attempt, vcpus, memory_mib, disk_mib, queued_ms, starting_ms, " \
	"cloning_ms, running_ms, collecting_ms, ended_ms, updated_ms, repo_url, branch, " \
	"commit_id, class, message, artifacts_count, exit_code"

static const char schema[] =
	"CREATE TABLE builds ("
	" seq INTEGER PRIMARY KEY AUTOINCREMENT,"
	" id TEXT NOT NULL UNIQUE,"
	" status TEXT NOT NULL,"
	" attempt INTEGER NOT NULL,"
	" vcpus INTEGER NOT NULL, memory_mib INTEGER NOT NULL, disk_mib INTEGER NOT NULL,"
	" queued_ms INTEGER NOT NULL, starting_ms INTEGER NOT NULL DEFAULT 0,"
	" cloning_ms INTEGER NOT NULL DEFAULT 0, running_ms INTEGER NOT NULL DEFAULT 0,"
	" collecting_ms INTEGER NOT NULL DEFAULT 0, ended_ms INTEGER NOT NULL DEFAULT 0,"
	" updated_ms INTEGER NOT NULL,"
	" repo_url TEXT NOT NULL, branch TEXT NOT NULL, commit_id TEXT NOT NULL,"
	" class TEXT, message TEXT,"
	" artifacts_count INTEGER NOT NULL DEFAULT 0,"
	" exit_code INTEGER,"
	" job TEXT NOT NULL,"
	" result TEXT);"
	"CREATE INDEX builds_status ON builds (status, seq);"
	"CREATE INDEX builds_class ON builds (class, seq, status);"
	"CREATE INDEX builds_repo ON builds (repo_url, seq, status, class);"
	"CREATE INDEX builds_repo_branch ON builds (repo_url, branch, seq, status, class);"
	"CREATE INDEX builds_branch ON builds (branch, seq, status, class);"
	"CREATE INDEX builds_unfinished ON builds (seq) WHERE ended_ms = 0;"
	"PRAGMA user_version = 1;";
_Static_assert(STORE_FORMAT == 1, "the schema text sets the user_version");

enum { BY_REPO = 1, BY_BRANCH = 2, BY_CLASS = 4, BY_STATUS = 8, BY_ALL = 16 };

struct store {
	sqlite3 *db;
	sqlite3_stmt *get, *seq;
	sqlite3_stmt *list[BY_ALL]; /* by the set of filters, prepared at first use */
};

static int store_err(sqlite3 *db, struct err *e, const char *what)
{
	return err_set(e, "store", "the database: %s: %s", what, sqlite3_errmsg(db));
}

static int read_version(sqlite3 *db, int *version, struct err *e)
{
	sqlite3_stmt *st = NULL;

	if (sqlite3_prepare_v2(db, "PRAGMA user_version", -1, &st, NULL) != SQLITE_OK ||
	    sqlite3_step(st) != SQLITE_ROW) {
		sqlite3_finalize(st);
		return store_err(db, e, "cannot read its format");
	}
	*version = sqlite3_column_int(st, 0);
	sqlite3_finalize(st);
	return 0;
}

static int make_schema(sqlite3 *db, const char *path, struct err *e)
{
	int version = 0;

	if (read_version(db, &version, e) < 0)
		return -1;
	if (version > STORE_FORMAT)
		return err_set(e, "store_newer", "%s has format %d, this kilnd knows up to %d: start the "
			       "newer kilnd that wrote it, or choose another directory", path, version,
			       STORE_FORMAT);
	if (version == STORE_FORMAT)
		return 0;
	if (sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL) != SQLITE_OK ||
	    sqlite3_exec(db, schema, NULL, NULL, NULL) != SQLITE_OK ||
	    sqlite3_exec(db, "COMMIT", NULL, NULL, NULL) != SQLITE_OK)
		return store_err(db, e, "cannot make the tables");
	return 0;
}

int store_connect(const char *path, int create, struct sqlite3 **db, struct err *e)
{
	/* The cache is in KiB when negative: small, the pages are in the page cache anyway. */
	static const char settings[] =
		"PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -1024;"
		"PRAGMA busy_timeout = 5000; PRAGMA foreign_keys = ON; PRAGMA temp_store = MEMORY;";
	int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | (create ? SQLITE_OPEN_CREATE : 0);
	mode_t was = umask(077); /* the jobs in it may hold secrets */
	sqlite3 *c = NULL;
	int rc = sqlite3_open_v2(path, &c, flags, NULL);

	if (rc == SQLITE_OK)
		rc = sqlite3_exec(c, settings, NULL, NULL, NULL);
	umask(was);
	if (rc != SQLITE_OK) {
		err_set(e, "store", "cannot open the database %s: %s", path,
			c ? sqlite3_errmsg(c) : "no memory");
		sqlite3_close(c);
		return -1;
	}
	if (create && make_schema(c, path, e) < 0) {
		sqlite3_close(c);
		return -1;
	}
	*db = c;
	return 0;
}

int store_open(const char *path, struct store **out, struct err *e)
{
	struct store *s = calloc(1, sizeof(*s));

	if (!s)
		return err_set(e, "store", "no memory");
	if (store_connect(path, 0, &s->db, e) < 0) {
		store_close(s);
		return -1;
	}
	if (sqlite3_prepare_v3(s->db, "SELECT " COLUMNS ", job, result FROM builds WHERE id = ?1", -1,
			       SQLITE_PREPARE_PERSISTENT, &s->get, NULL) != SQLITE_OK ||
	    sqlite3_prepare_v3(s->db, "SELECT seq FROM builds WHERE id = ?1", -1,
			       SQLITE_PREPARE_PERSISTENT, &s->seq, NULL) != SQLITE_OK) {
		store_err(s->db, e, "cannot prepare");
		store_close(s);
		return -1;
	}
	*out = s;
	return 0;
}

void store_close(struct store *s)
{
	if (!s)
		return;
	sqlite3_finalize(s->get);
	sqlite3_finalize(s->seq);
	for (int i = 0; i < BY_ALL; i++)
		sqlite3_finalize(s->list[i]);
	sqlite3_close(s->db);
	free(s);
}

static int take_text(sqlite3_stmt *st, int col, char **slot)
{
	return record_text(slot, (const char *)sqlite3_column_text(st, col));
}

static int take_row(sqlite3_stmt *st, int whole, struct record **out)
{
	struct record *r = record_new();
	const char *status = (const char *)sqlite3_column_text(st, 2);
	int bad = 0;

	if (!r)
		return -1;
	r->seq = sqlite3_column_int64(st, 0);
	snprintf(r->id, sizeof(r->id), "%s", (const char *)sqlite3_column_text(st, 1));
	bad |= state_parse(status ? status : "", &r->state);
	r->attempt = sqlite3_column_int(st, 3);
	r->vcpus = sqlite3_column_int64(st, 4);
	r->memory_mib = sqlite3_column_int64(st, 5);
	r->disk_mib = sqlite3_column_int64(st, 6);
	for (int i = 0; i <= STATE_COLLECTING_ARTIFACTS; i++)
		r->at_ms[i] = (uint64_t)sqlite3_column_int64(st, 7 + i);
	if (!bad && state_final(r->state))
		r->at_ms[r->state] = (uint64_t)sqlite3_column_int64(st, 12);
	r->updated_ms = (uint64_t)sqlite3_column_int64(st, 13);
	bad |= take_text(st, 14, &r->repo_url);
	bad |= take_text(st, 15, &r->branch);
	bad |= take_text(st, 16, &r->commit);
	bad |= take_text(st, 17, &r->klass);
	bad |= take_text(st, 18, &r->message);
	r->artifacts_count = sqlite3_column_int64(st, 19);
	if (sqlite3_column_type(st, 20) != SQLITE_NULL)
		r->exit_code = sqlite3_column_int64(st, 20);
	if (whole) {
		bad |= take_text(st, 21, &r->job);
		bad |= take_text(st, 22, &r->result);
	}
	if (bad) {
		record_free(r);
		return -1;
	}
	*out = r;
	return 0;
}

int store_get(struct store *s, const char *id, struct record **out, struct err *e)
{
	int rc, bad = 0;

	sqlite3_bind_text(s->get, 1, id, -1, SQLITE_STATIC);
	rc = sqlite3_step(s->get);
	if (rc == SQLITE_ROW)
		bad = take_row(s->get, 1, out);
	sqlite3_reset(s->get);
	if (rc == SQLITE_DONE)
		return err_set(e, "not_found", "there is no build %s", id);
	if (rc != SQLITE_ROW)
		return store_err(s->db, e, "cannot read a build");
	return bad < 0 ? err_set(e, "store", "the database: the row of %s is unreadable", id) : 0;
}

int store_seq(struct store *s, const char *id, int64_t *seq, struct err *e)
{
	int rc;

	sqlite3_bind_text(s->seq, 1, id, -1, SQLITE_STATIC);
	rc = sqlite3_step(s->seq);
	if (rc == SQLITE_ROW)
		*seq = sqlite3_column_int64(s->seq, 0);
	sqlite3_reset(s->seq);
	if (rc == SQLITE_DONE)
		return err_set(e, "not_found", "there is no build %s", id);
	return rc == SQLITE_ROW ? 0 : store_err(s->db, e, "cannot read a build");
}

static int each_row(sqlite3 *db, sqlite3_stmt *st, store_row_fn fn, void *arg, struct err *e)
{
	int rc, stop = 0;

	while (!stop && (rc = sqlite3_step(st)) == SQLITE_ROW) {
		struct record *r = NULL;

		if (take_row(st, 0, &r) < 0) {
			sqlite3_reset(st);
			return err_set(e, "store", "the database: a row is unreadable");
		}
		stop = fn(arg, r);
		record_free(r);
	}
	if (!stop && rc != SQLITE_DONE) {
		store_err(db, e, "cannot list builds");
		sqlite3_reset(st);
		return -1;
	}
	sqlite3_reset(st);
	return 0;
}

/* The index is named, so that the plan does not hang on statistics nobody collected. */
static int prepare_list(struct store *s, unsigned by, struct err *e)
{
	const char *index = by & BY_REPO && by & BY_BRANCH ? "builds_repo_branch" :
			    by & BY_REPO ? "builds_repo" :
			    by & BY_BRANCH ? "builds_branch" :
			    by & BY_CLASS ? "builds_class" :
			    by & BY_STATUS ? "builds_status" : NULL;
	char sql[1024];

	snprintf(sql, sizeof(sql),
		 "SELECT " COLUMNS " FROM builds WHERE seq IN (SELECT seq FROM builds %s%s WHERE seq < ?1"
		 "%s%s%s%s ORDER BY seq DESC LIMIT ?2) ORDER BY seq DESC",
		 index ? "INDEXED BY " : "NOT INDEXED", index ? index : "",
		 by & BY_REPO ? " AND repo_url = ?3" : "", by & BY_BRANCH ? " AND branch = ?4" : "",
		 by & BY_CLASS ? " AND class = ?5" : "", by & BY_STATUS ? " AND status = ?6" : "");
	if (sqlite3_prepare_v3(s->db, sql, -1, SQLITE_PREPARE_PERSISTENT, &s->list[by], NULL) !=
	    SQLITE_OK)
		return store_err(s->db, e, "cannot prepare a list");
	return 0;
}

int store_list(struct store *s, const struct store_filter *f, store_row_fn fn, void *arg,
	       struct err *e)
{
	unsigned by = (f->repo_url ? BY_REPO : 0) | (f->branch ? BY_BRANCH : 0) |
		      (f->klass ? BY_CLASS : 0) | (f->status ? BY_STATUS : 0);
	sqlite3_stmt *st;

	if (!s->list[by] && prepare_list(s, by, e) < 0)
		return -1;
	st = s->list[by];
	sqlite3_bind_int64(st, 1, f->before_seq > 0 ? f->before_seq : INT64_MAX);
	sqlite3_bind_int64(st, 2, (int64_t)f->limit);
	if (f->repo_url)
		sqlite3_bind_text(st, 3, f->repo_url, -1, SQLITE_STATIC);
	if (f->branch)
		sqlite3_bind_text(st, 4, f->branch, -1, SQLITE_STATIC);
	if (f->klass)
		sqlite3_bind_text(st, 5, f->klass, -1, SQLITE_STATIC);
	if (f->status)
		sqlite3_bind_text(st, 6, f->status, -1, SQLITE_STATIC);
	return each_row(s->db, st, fn, arg, e);
}

int store_unfinished(struct store *s, store_row_fn fn, void *arg, struct err *e)
{
	sqlite3_stmt *st = NULL;
	int rc;

	if (sqlite3_prepare_v2(s->db, "SELECT " COLUMNS " FROM builds WHERE ended_ms = 0 ORDER BY seq",
			       -1, &st, NULL) != SQLITE_OK)
		return store_err(s->db, e, "cannot list what is unfinished");
	rc = each_row(s->db, st, fn, arg, e);
	sqlite3_finalize(st);
	return rc;
}
