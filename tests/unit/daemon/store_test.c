/* SPDX-License-Identifier: Apache-2.0 */
/* store_test.c - writing through the writer, reading through the store. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../../host/daemon/store.h"
#include "../../../host/daemon/writer.h"

struct bench {
	char dir[64], path[128];
	uv_loop_t loop;
	struct writer *writer;
	struct store *store;
	unsigned stored, failed;
	char code[32];
};

static int open_bench(void **state)
{
	struct bench *t = calloc(1, sizeof(*t));
	struct err e = { 0 };

	snprintf(t->dir, sizeof(t->dir), "/tmp/kiln-store-XXXXXX");
	assert_non_null(mkdtemp(t->dir));
	snprintf(t->path, sizeof(t->path), "%s/kiln.db", t->dir);
	uv_loop_init(&t->loop);
	assert_int_equal(writer_start(&t->loop, t->path, &t->writer, &e), 0);
	assert_int_equal(store_open(t->path, &t->store, &e), 0);
	*state = t;
	return 0;
}

static int close_bench(void **state)
{
	struct bench *t = *state;
	char path[256];

	writer_stop(t->writer);
	store_close(t->store);
	uv_run(&t->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&t->loop), 0);
	for (int i = 0; i < 3; i++) {
		snprintf(path, sizeof(path), "%s%s", t->path, i == 0 ? "" : i == 1 ? "-wal" : "-shm");
		unlink(path);
	}
	assert_int_equal(rmdir(t->dir), 0);
	free(t);
	return 0;
}

static void on_done(void *arg, const struct record *r, const struct err *e)
{
	struct bench *t = arg;

	(void)r;
	if (e) {
		t->failed++;
		snprintf(t->code, sizeof(t->code), "%s", e->code);
	} else {
		t->stored++;
	}
}

static void wait_for(struct bench *t, unsigned answers)
{
	while (t->stored + t->failed < answers)
		uv_run(&t->loop, UV_RUN_ONCE);
}

static struct record *sample(unsigned n)
{
	struct record *r = record_new();

	snprintf(r->id, sizeof(r->id), "build_%08x-0000-4000-8000-000000000000", n);
	r->attempt = 1;
	r->vcpus = 2;
	r->memory_mib = 1024;
	r->disk_mib = 4096;
	r->at_ms[STATE_QUEUED] = r->updated_ms = 1000 + n;
	record_text(&r->repo_url, n % 2 ? "https://e.org/odd" : "https://e.org/even");
	record_text(&r->branch, "main");
	record_text(&r->job, "{\"secrets\":{\"A\":\"x\"}}");
	return r;
}

static void test_round_trip(void **state)
{
	struct bench *t = *state;
	struct record *r = sample(1), *got = NULL;
	struct err e = { 0 };

	writer_put(t->writer, WRITER_INSERT, r, on_done, t);
	wait_for(t, 1);
	assert_int_equal(t->stored, 1);
	assert_int_equal(store_get(t->store, "build_00000001-0000-4000-8000-000000000000", &got, &e), 0);
	assert_int_equal(got->state, STATE_QUEUED);
	assert_int_equal(got->memory_mib, 1024);
	assert_int_equal(got->at_ms[STATE_QUEUED], 1001);
	assert_int_equal(got->exit_code, -1);
	assert_string_equal(got->repo_url, "https://e.org/odd");
	assert_string_equal(got->job, "{\"secrets\":{\"A\":\"x\"}}");
	assert_null(got->result);
	record_free(got);
	assert_int_equal(store_get(t->store, "build_x", &got, &e), -1);
	assert_string_equal(e.code, "not_found");
}

static void test_verdict_is_final(void **state)
{
	struct bench *t = *state;
	struct record *r, *got = NULL;
	struct err e = { 0 };

	writer_put(t->writer, WRITER_INSERT, sample(1), on_done, t);
	r = sample(1);
	r->state = STATE_FAILED;
	r->at_ms[STATE_FAILED] = 2000;
	r->exit_code = 3;
	record_text(&r->klass, "user");
	record_text(&r->job, "{}");
	record_text(&r->result, "{\"a\":1}");
	writer_put(t->writer, WRITER_UPDATE, r, on_done, t);
	r = sample(1);
	r->state = STATE_RUNNING_BUILD;
	writer_put(t->writer, WRITER_UPDATE, r, on_done, t);
	wait_for(t, 3);
	assert_int_equal(t->stored, 2);
	assert_int_equal(t->failed, 1);
	assert_string_equal(t->code, "final");
	assert_int_equal(store_get(t->store, "build_00000001-0000-4000-8000-000000000000", &got, &e), 0);
	assert_int_equal(got->state, STATE_FAILED);
	assert_int_equal(got->at_ms[STATE_FAILED], 2000);
	assert_int_equal(got->exit_code, 3);
	assert_string_equal(got->job, "{}");
	assert_string_equal(got->result, "{\"a\":1}");
	record_free(got);
}

/* A change that fails takes none of its batch with it. */
static void test_failure_is_alone(void **state)
{
	struct bench *t = *state;
	struct err e = { 0 };
	int64_t seq;

	for (unsigned n = 0; n < 50; n++)
		writer_put(t->writer, WRITER_INSERT, sample(n % 40), on_done, t);
	wait_for(t, 50);
	assert_int_equal(t->stored, 40);
	assert_int_equal(t->failed, 10);
	assert_string_equal(t->code, "store");
	assert_int_equal(store_seq(t->store, "build_00000027-0000-4000-8000-000000000000", &seq, &e), 0);
	assert_int_equal(store_seq(t->store, "build_00000028-0000-4000-8000-000000000000", &seq, &e), -1);
}

static int count_row(void *arg, const struct record *r)
{
	unsigned *count = arg;

	assert_null(r->job);
	(*count)++;
	return 0;
}

static unsigned count_list(struct bench *t, struct store_filter f)
{
	struct err e = { 0 };
	unsigned count = 0;

	f.limit = f.limit ? f.limit : 100;
	assert_int_equal(store_list(t->store, &f, count_row, &count, &e), 0);
	return count;
}

static void test_list(void **state)
{
	struct bench *t = *state;
	struct record *r;
	struct err e = { 0 };
	unsigned unfinished = 0;

	for (unsigned n = 1; n <= 10; n++)
		writer_put(t->writer, WRITER_INSERT, sample(n), on_done, t);
	r = sample(4);
	r->state = STATE_FAILED;
	r->at_ms[STATE_FAILED] = 5;
	record_text(&r->klass, "oom");
	writer_put(t->writer, WRITER_UPDATE, r, on_done, t);
	wait_for(t, 11);
	assert_int_equal(count_list(t, (struct store_filter){ 0 }), 10);
	assert_int_equal(count_list(t, (struct store_filter){ .limit = 3 }), 3);
	assert_int_equal(count_list(t, (struct store_filter){ .before_seq = 4 }), 3);
	assert_int_equal(count_list(t, (struct store_filter){ .status = "failed" }), 1);
	assert_int_equal(count_list(t, (struct store_filter){ .klass = "oom", .branch = "main" }), 1);
	assert_int_equal(count_list(t, (struct store_filter){ .klass = "oom", .status = "queued" }), 0);
	assert_int_equal(count_list(t, (struct store_filter){ .repo_url = "https://e.org/even" }), 5);
	assert_int_equal(count_list(t, (struct store_filter){ .repo_url = "https://e.org/even",
				    .branch = "main", .status = "queued" }), 4);
	assert_int_equal(count_list(t, (struct store_filter){ .branch = "x" }), 0);
	assert_int_equal(store_unfinished(t->store, count_row, &unfinished, &e), 0);
	assert_int_equal(unfinished, 9);
}

/* No query may walk the table, nor sort more than a page. */
static void test_plans_use_the_indexes(void **state)
{
	static const char *const wheres[] = { "status = 'x'", "class = 'x'", "class = 'x' AND status = 'y'",
		"repo_url = 'x'", "branch = 'x'", "repo_url = 'x' AND branch = 'y' AND class = 'z'" };
	static const char *const indexes[] = { "builds_status", "builds_class", "builds_class",
		"builds_repo", "builds_branch", "builds_repo_branch" };
	struct bench *t = *state;
	struct err e = { 0 };
	sqlite3 *db = NULL;

	assert_int_equal(store_connect(t->path, 0, &db, &e), 0);
	for (size_t i = 0; i < sizeof(wheres) / sizeof(wheres[0]); i++) {
		sqlite3_stmt *st = NULL;
		char sql[512], plan[2048] = "";

		snprintf(sql, sizeof(sql), "EXPLAIN QUERY PLAN SELECT seq FROM builds INDEXED BY %s WHERE "
			 "seq < 5 AND %s ORDER BY seq DESC LIMIT 5", indexes[i], wheres[i]);
		assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &st, NULL), SQLITE_OK);
		while (sqlite3_step(st) == SQLITE_ROW)
			snprintf(plan + strlen(plan), sizeof(plan) - strlen(plan), "%s\n",
				 (const char *)sqlite3_column_text(st, 3));
		sqlite3_finalize(st);
		assert_non_null(strstr(plan, "SEARCH builds USING COVERING INDEX"));
		assert_null(strstr(plan, "SCAN"));
		assert_null(strstr(plan, "TEMP B-TREE"));
	}
	sqlite3_close(db);
}

static void test_settings_and_mode(void **state)
{
	struct bench *t = *state;
	struct stat st;

	assert_int_equal(stat(t->path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
}

static void test_newer_format_is_refused(void **state)
{
	struct bench *t = *state;
	struct err e = { 0 };
	sqlite3 *db = NULL;

	assert_int_equal(store_connect(t->path, 0, &db, &e), 0);
	assert_int_equal(sqlite3_exec(db, "PRAGMA user_version = 2", NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
	assert_int_equal(store_connect(t->path, 1, &db, &e), -1);
	assert_string_equal(e.code, "store_newer");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, open_bench, close_bench)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_round_trip), TEST(test_verdict_is_final), TEST(test_failure_is_alone),
		TEST(test_list), TEST(test_plans_use_the_indexes), TEST(test_settings_and_mode),
		TEST(test_newer_format_is_refused),
	};

	return cmocka_run_group_tests_name("daemon/store", tests, NULL, NULL);
}
