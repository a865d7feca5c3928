/* SPDX-License-Identifier: Apache-2.0 */
/*
 * api_builds.c - submitting, showing, listing and cancelling builds. Owns nothing: rows come
 * from the store, live builds from the registry, changes go to the writer.
 */
#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api.h"
#include "builds.h"
#include "clock.h"
#include "http.h"
#include "job.h"
#include "jsonx.h"
#include "log.h"
#include "run.h"
#include "scheduler.h"
#include "store.h"
#include "view.h"
#include "writer.h"

#define LIST_DEFAULT 50

/* ---- POST /build ---- */

static void on_submitted(void *arg, const struct record *rec, const struct err *e)
{
	struct request *r = arg;
	struct kilnd *k = r->k;
	struct build *b;

	if (e) {
		log_line(LOG_LEVEL_ERROR, rec->id, "%s", e->text);
		reply_error(r, 503, "store", NULL, "the build could not be stored: %s", e->text);
		return;
	}
	b = builds_add(k->builds, rec);
	if (!b) {
		/* It is stored and will be found at the next start; saying "queued" is true. */
		log_line(LOG_LEVEL_ERROR, rec->id, "no memory to schedule it before a restart");
	} else {
		log_line(LOG_LEVEL_INFO, rec->id, "queued: %s", rec->repo_url);
		scheduler_enqueue(k->scheduler, b);
	}
	reply_json(r, 200, json_pack("{ss, ss}", "build_id", rec->id, "status", "queued"));
	scheduler_kick(k->scheduler);
}

static const char *text_of(const json_t *job, const char *key)
{
	const char *s = json_string_value(json_object_get(job, key));

	return s ? s : "";
}

static struct record *record_of_job(const json_t *job, struct err *e)
{
	struct record *rec = record_new();

	if (!rec || job_new_id(rec->id, e) < 0) {
		record_free(rec);
		return NULL;
	}
	rec->state = STATE_QUEUED;
	rec->attempt = 1;
	rec->vcpus = json_integer_value(json_object_get(job, "vcpus"));
	rec->memory_mib = json_integer_value(json_object_get(job, "memory_mib"));
	rec->disk_mib = json_integer_value(json_object_get(job, "disk_mib"));
	rec->updated_ms = rec->at_ms[STATE_QUEUED] = clock_wall_ms();
	rec->job = json_dumps(job, JSON_COMPACT);
	if (!rec->job || record_text(&rec->repo_url, text_of(job, "repo_url")) < 0 ||
	    record_text(&rec->branch, text_of(job, "branch")) < 0 ||
	    record_text(&rec->commit, text_of(job, "commit")) < 0) {
		err_set(e, "io", "no memory");
		record_free(rec);
		return NULL;
	}
	return rec;
}

void api_submit(struct request *r)
{
	struct kilnd *k = r->k;
	struct err e = { 0 };
	json_t *body = NULL, *job = NULL;
	struct record *rec = NULL;

	if (jsonx_parse_object(r->body ? r->body : "", r->body_len,
			       (size_t)config_int(k->cfg, CONFIG_LIMITS_BODY_BYTES), &body, &e) == 0 &&
	    job_from_request(body, k->cfg, &job, &e) == 0 &&
	    scheduler_admit(k->scheduler, json_integer_value(json_object_get(job, "vcpus")),
			    json_integer_value(json_object_get(job, "memory_mib")), &e) == 0)
		rec = record_of_job(job, &e);
	json_decref(job);
	json_decref(body);
	if (!rec) {
		reply_err(r, &e);
		return;
	}
	request_hold(r);
	writer_put(k->writer, WRITER_INSERT, rec, on_submitted, r);
}

/* ---- GET /build/{id} ---- */

static int get_record(struct request *r, struct record **rec)
{
	struct err e = { 0 };

	if (!job_id_ok(r->params[0]))
		err_set(&e, "not_found", "there is no build %.80s", r->params[0]);
	else if (store_get(r->k->store, r->params[0], rec, &e) == 0)
		return 0;
	reply_err(r, &e);
	return -1;
}

void api_show(struct request *r)
{
	struct record *rec = NULL;

	if (get_record(r, &rec) < 0)
		return;
	reply_json(r, 200, view_build(rec, builds_find(r->k->builds, rec->id)));
	record_free(rec);
}

/* ---- GET /builds ---- */

struct page {
	json_t *rows;
	char last[JOB_ID_BYTES];
};

static int add_row(void *arg, const struct record *rec)
{
	struct page *p = arg;

	memcpy(p->last, rec->id, sizeof(p->last));
	return json_array_append_new(p->rows, view_summary(rec)) < 0;
}

struct list_query {
	char status[32], klass[32], repo_url[HTTP_QUERY_MAX], branch[HTTP_QUERY_MAX];
	char limit[16], before[64];
};

static const char *asked(const char *text)
{
	return *text ? text : NULL;
}

/* Read one parameter; a wrong one is answered. */
static int take_query(struct request *r, const char *name, char *buf, size_t cap)
{
	if (request_query(r, name, buf, cap) >= 0)
		return 0;
	reply_error(r, 400, "bad_value", name, "%s is not properly encoded, or too long", name);
	return -1;
}

static int parse_limit(struct request *r, const char *text, size_t *limit)
{
	char *end;
	unsigned long n;

	*limit = LIST_DEFAULT;
	if (!*text)
		return 0;
	n = strtoul(text, &end, 10);
	if (*end || strspn(text, "0123456789") == 0 || n < 1 || n > STORE_PAGE_MAX) {
		reply_error(r, 400, "out_of_range", "limit", "limit must be a number from 1 to %d",
			    STORE_PAGE_MAX);
		return -1;
	}
	*limit = n;
	return 0;
}

static int parse_list(struct request *r, struct list_query *q, struct store_filter *f)
{
	static const char *const known[] = { "status", "class", "repo_url", "branch", "limit", "before",
		NULL };
	const char *unknown = request_query_unknown(r, known);
	enum build_state s;
	struct err e = { 0 };

	if (unknown) {
		reply_error(r, 400, "unknown_field", unknown, "unknown parameter '%.80s'", unknown);
		return -1;
	}
	if (take_query(r, "status", q->status, sizeof(q->status)) < 0 ||
	    take_query(r, "class", q->klass, sizeof(q->klass)) < 0 ||
	    take_query(r, "repo_url", q->repo_url, sizeof(q->repo_url)) < 0 ||
	    take_query(r, "branch", q->branch, sizeof(q->branch)) < 0 ||
	    take_query(r, "limit", q->limit, sizeof(q->limit)) < 0 ||
	    take_query(r, "before", q->before, sizeof(q->before)) < 0 ||
	    parse_limit(r, q->limit, &f->limit) < 0)
		return -1;
	if (*q->status && state_parse(q->status, &s) < 0) {
		reply_error(r, 400, "bad_value", "status", "there is no status '%s'", q->status);
		return -1;
	}
	if (*q->before && store_seq(r->k->store, q->before, &f->before_seq, &e) < 0) {
		reply_error(r, 400, "bad_value", "before", "%s", e.text);
		return -1;
	}
	f->status = asked(q->status);
	f->klass = asked(q->klass);
	f->repo_url = asked(q->repo_url);
	f->branch = asked(q->branch);
	return 0;
}

/* Percent-encode what is not plain; returns how many bytes went to out. */
static size_t encode(const char *in, char *out, size_t cap)
{
	static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~";
	size_t n = 0;

	for (; *in && n + 4 < cap; in++) {
		if (strchr(plain, *in))
			out[n++] = *in;
		else
			n += (size_t)snprintf(out + n, cap - n, "%%%02X", (unsigned char)*in);
	}
	out[n] = '\0';
	return n;
}

/* RFC 8288: the next page has the same filters and goes on behind the last row. */
static void add_next_link(struct MHD_Response *resp, const struct list_query *q,
			  const struct store_filter *f, const char *last)
{
	const struct { const char *name, *value; } parts[] = { { "status", q->status },
		{ "class", q->klass }, { "repo_url", q->repo_url }, { "branch", q->branch } };
	char text[4 * HTTP_QUERY_MAX];
	char value[3 * HTTP_QUERY_MAX];
	size_t n = (size_t)snprintf(text, sizeof(text), "</builds?limit=%zu&before=%s", f->limit, last);

	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		if (*parts[i].value && encode(parts[i].value, value, sizeof(value)) + n + 64 < sizeof(text))
			n += (size_t)snprintf(text + n, sizeof(text) - n, "&%s=%s", parts[i].name, value);
	}
	snprintf(text + n, sizeof(text) - n, ">; rel=\"next\"");
	MHD_add_response_header(resp, MHD_HTTP_HEADER_LINK, text);
}

void api_list(struct request *r)
{
	struct list_query q = { 0 };
	struct store_filter f = { 0 };
	struct page page = { 0 };
	struct MHD_Response *resp;
	struct err e = { 0 };
	size_t rows;

	if (parse_list(r, &q, &f) < 0)
		return;
	page.rows = json_array();
	if (store_list(r->k->store, &f, add_row, &page, &e) < 0) {
		json_decref(page.rows);
		reply_err(r, &e);
		return;
	}
	rows = json_array_size(page.rows);
	resp = reply_make_json(page.rows);
	if (resp && rows == f.limit)
		add_next_link(resp, &q, &f, page.last);
	reply_response(r, 200, resp);
}

/* ---- POST /build/{id}/cancel ---- */

void api_cancel(struct request *r)
{
	struct record *rec = NULL;
	struct build *b;

	if (get_record(r, &rec) < 0)
		return;
	b = builds_find(r->k->builds, rec->id);
	if (!b || state_final(b->state)) {
		reply_error(r, 409, "final", NULL, "the build is %s already, there is nothing to cancel",
			    state_word(b ? b->state : rec->state));
	} else if (b->state == STATE_QUEUED) {
		request_hold(r);
		b->waiting = r;
		builds_finish_with(r->k->builds, b, "cancelled", "cancelled before it started");
	} else {
		b->cancel_asked = 1;
		run_cancel(r->k->runs, b);
		reply_json(r, 202, json_pack("{ss, ss, sb}", "build_id", b->id, "status",
					     state_word(b->state), "cancelling", 1));
	}
	record_free(rec);
}
