/* SPDX-License-Identifier: Apache-2.0 */
/*
 * writer.c - the writing thread. Owns the writing connection and two lists under one mutex:
 * what waits, and what is done. The thread touches nothing else of kilnd.
 *
 * A change that fails alone (a constraint) is undone alone, by its savepoint; a commit that
 * fails (disk full) fails every change of its batch.
 */
#include "writer.h"

#include <pthread.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>

#include "store.h"

struct change {
	enum writer_kind kind;
	struct record *rec;
	writer_done done;
	void *arg;
	int failed;
	struct err err;
	struct change *next;
};

struct list {
	struct change *head, **tail;
};

struct writer {
	sqlite3 *db;
	sqlite3_stmt *insert, *update;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t more;
	struct list waiting, finished;
	int stop;
	uv_async_t wake;
};

static void list_init(struct list *l)
{
	l->head = NULL;
	l->tail = &l->head;
}

static void list_append(struct list *l, struct change *c)
{
	*l->tail = c;
	while (*l->tail)
		l->tail = &(*l->tail)->next;
}

static struct change *list_take(struct list *l)
{
	struct change *c = l->head;

	list_init(l);
	return c;
}

static const char insert_sql[] =
	"INSERT INTO builds (id, status, attempt, vcpus, memory_mib, disk_mib, queued_ms, starting_ms,"
	" cloning_ms, running_ms, collecting_ms, ended_ms, updated_ms, repo_url, branch, commit_id,"
	" class, message, artifacts_count, exit_code, job, result) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7,"
	" ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22)";
static const char update_sql[] =
	"UPDATE builds SET status = ?2, attempt = ?3, queued_ms = ?7, starting_ms = ?8,"
	" cloning_ms = ?9, running_ms = ?10, collecting_ms = ?11, ended_ms = ?12, updated_ms = ?13,"
	" commit_id = coalesce(?16, commit_id), class = ?17, message = ?18, artifacts_count = ?19,"
	" exit_code = ?20, job = coalesce(?21, job), result = ?22 WHERE id = ?1 AND ended_ms = 0";

static void bind_text(sqlite3_stmt *st, int at, const char *text)
{
	if (text)
		sqlite3_bind_text(st, at, text, -1, SQLITE_STATIC);
	else
		sqlite3_bind_null(st, at);
}

static void bind_record(sqlite3_stmt *st, const struct record *r, int insert)
{
	uint64_t ended = state_final(r->state) ? r->at_ms[r->state] : 0;

	sqlite3_bind_text(st, 1, r->id, -1, SQLITE_STATIC);
	sqlite3_bind_text(st, 2, state_word(r->state), -1, SQLITE_STATIC);
	sqlite3_bind_int(st, 3, r->attempt);
	if (insert) {
		sqlite3_bind_int64(st, 4, r->vcpus);
		sqlite3_bind_int64(st, 5, r->memory_mib);
		sqlite3_bind_int64(st, 6, r->disk_mib);
		sqlite3_bind_text(st, 14, r->repo_url ? r->repo_url : "", -1, SQLITE_STATIC);
		sqlite3_bind_text(st, 15, r->branch ? r->branch : "", -1, SQLITE_STATIC);
	}
	for (int i = 0; i <= STATE_COLLECTING_ARTIFACTS; i++)
		sqlite3_bind_int64(st, 7 + i, (int64_t)r->at_ms[i]);
	sqlite3_bind_int64(st, 12, (int64_t)ended);
	sqlite3_bind_int64(st, 13, (int64_t)r->updated_ms);
	bind_text(st, 16, insert && !r->commit ? "" : r->commit);
	bind_text(st, 17, r->klass);
	bind_text(st, 18, r->message);
	sqlite3_bind_int64(st, 19, r->artifacts_count);
	if (r->exit_code >= 0)
		sqlite3_bind_int64(st, 20, r->exit_code);
	else
		sqlite3_bind_null(st, 20);
	bind_text(st, 21, r->job);
	bind_text(st, 22, r->result);
}

static int run_sql(sqlite3 *db, const char *sql, struct err *e)
{
	if (sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK)
		return 0;
	return err_set(e, "store", "cannot write to the database: %s", sqlite3_errmsg(db));
}

static int apply(struct writer *w, struct change *c)
{
	sqlite3_stmt *st = c->kind == WRITER_INSERT ? w->insert : w->update;
	int rc;

	if (run_sql(w->db, "SAVEPOINT one", &c->err) < 0)
		return -1;
	bind_record(st, c->rec, c->kind == WRITER_INSERT);
	rc = sqlite3_step(st);
	if (rc != SQLITE_DONE)
		err_set(&c->err, "store", "cannot write to the database: %s", sqlite3_errmsg(w->db));
	sqlite3_reset(st);
	sqlite3_clear_bindings(st);
	if (rc == SQLITE_DONE && sqlite3_changes(w->db) != 1) {
		err_set(&c->err, "final", "build %s has its verdict already", c->rec->id);
		rc = SQLITE_ERROR;
	}
	if (rc != SQLITE_DONE) {
		c->failed = 1;
		return run_sql(w->db, "ROLLBACK TO one; RELEASE one", NULL);
	}
	if (c->kind == WRITER_INSERT)
		c->rec->seq = sqlite3_last_insert_rowid(w->db);
	return run_sql(w->db, "RELEASE one", &c->err);
}

static void fail_batch(struct change *batch, const struct err *why)
{
	for (struct change *c = batch; c; c = c->next) {
		if (!c->failed)
			c->err = *why;
		c->failed = 1;
	}
}

static void commit_batch(struct writer *w, struct change *batch)
{
	struct err e = { 0 };
	int ok = run_sql(w->db, "BEGIN IMMEDIATE", &e) == 0;

	for (struct change *c = batch; ok && c; c = c->next) {
		if (apply(w, c) < 0) {
			err_set(&e, "store", "%s", c->err.text);
			ok = 0;
		}
	}
	ok = ok && run_sql(w->db, "COMMIT", &e) == 0;
	if (ok)
		return;
	if (!sqlite3_get_autocommit(w->db))
		run_sql(w->db, "ROLLBACK", NULL);
	fail_batch(batch, &e);
}

static void *writer_main(void *arg)
{
	struct writer *w = arg;

	pthread_mutex_lock(&w->lock);
	for (;;) {
		struct change *batch;

		while (!w->waiting.head && !w->stop)
			pthread_cond_wait(&w->more, &w->lock);
		batch = list_take(&w->waiting);
		if (!batch)
			break;
		pthread_mutex_unlock(&w->lock);
		commit_batch(w, batch);
		pthread_mutex_lock(&w->lock);
		list_append(&w->finished, batch);
		uv_async_send(&w->wake);
	}
	pthread_mutex_unlock(&w->lock);
	return NULL;
}

static void deliver(struct writer *w)
{
	struct change *c, *next;

	pthread_mutex_lock(&w->lock);
	c = list_take(&w->finished);
	pthread_mutex_unlock(&w->lock);
	for (; c; c = next) {
		next = c->next;
		if (c->done)
			c->done(c->arg, c->rec, c->failed ? &c->err : NULL);
		record_free(c->rec);
		free(c);
	}
}

static void on_wake(uv_async_t *a)
{
	deliver(a->data);
}

void writer_put(struct writer *w, enum writer_kind kind, struct record *r, writer_done done,
		void *arg)
{
	struct change *c = calloc(1, sizeof(*c));

	if (!c)
		abort(); /* a change that is neither stored nor answered must not exist */
	c->kind = kind;
	c->rec = r;
	c->done = done;
	c->arg = arg;
	pthread_mutex_lock(&w->lock);
	list_append(&w->waiting, c);
	pthread_cond_signal(&w->more);
	pthread_mutex_unlock(&w->lock);
}

static void close_db(struct writer *w)
{
	sqlite3_finalize(w->insert);
	sqlite3_finalize(w->update);
	sqlite3_close(w->db);
}

int writer_start(uv_loop_t *loop, const char *path, struct writer **out, struct err *e)
{
	struct writer *w = calloc(1, sizeof(*w));
	pthread_attr_t attr;
	int rc;

	if (!w)
		return err_set(e, "store", "no memory");
	list_init(&w->waiting);
	list_init(&w->finished);
	if (store_connect(path, 1, &w->db, e) < 0)
		goto fail;
	if (sqlite3_prepare_v3(w->db, insert_sql, -1, SQLITE_PREPARE_PERSISTENT, &w->insert, NULL) ||
	    sqlite3_prepare_v3(w->db, update_sql, -1, SQLITE_PREPARE_PERSISTENT, &w->update, NULL)) {
		err_set(e, "store", "the database: %s", sqlite3_errmsg(w->db));
		goto fail;
	}
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->more, NULL);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 512 * 1024);
	rc = pthread_create(&w->thread, &attr, writer_main, w);
	pthread_attr_destroy(&attr);
	if (rc != 0) {
		err_set(e, "store", "cannot start the writing thread: %s", strerror(rc));
		goto fail;
	}
	uv_async_init(loop, &w->wake, on_wake);
	w->wake.data = w;
	*out = w;
	return 0;
fail:
	close_db(w);
	free(w);
	return -1;
}

static void on_closed(uv_handle_t *h)
{
	free(h->data);
}

void writer_stop(struct writer *w)
{
	if (!w)
		return;
	pthread_mutex_lock(&w->lock);
	w->stop = 1;
	pthread_cond_signal(&w->more);
	pthread_mutex_unlock(&w->lock);
	pthread_join(w->thread, NULL);
	deliver(w);
	close_db(w);
	pthread_mutex_destroy(&w->lock);
	pthread_cond_destroy(&w->more);
	uv_close((uv_handle_t *)&w->wake, on_closed);
}
