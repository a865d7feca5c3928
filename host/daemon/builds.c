/* SPDX-License-Identifier: Apache-2.0 */
/*
 * builds.c - the live builds: a table by id, the state changes, the verdict. Owns struct build.
 * Must not know how a build is run; it tells the scheduler and the followers what happened.
 *
 * A verdict that cannot be stored (a full disk) is kept and tried again: result.json is on
 * disk, so a restart finds it too.
 */
#include "builds.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "follow.h"
#include "http.h"
#include "log.h"
#include "scheduler.h"
#include "store.h"
#include "writer.h"

#define BUCKETS 1024
#define RETRY_MS 5000

struct builds {
	struct kilnd *k;
	struct build *table[BUCKETS];
	unsigned count[STATE_COUNT];
	uv_timer_t retry; /* while a verdict could not be stored */
};

static unsigned bucket(const char *id)
{
	uint32_t h = 2166136261u; /* FNV-1a */

	for (; *id; id++)
		h = (h ^ (unsigned char)*id) * 16777619u;
	return h % BUCKETS;
}

static struct build **slot_of(struct builds *bs, const char *id)
{
	struct build **p = &bs->table[bucket(id)];

	while (*p && strcmp((*p)->id, id) != 0)
		p = &(*p)->hash_next;
	return p;
}

struct builds *builds_new(struct kilnd *k)
{
	struct builds *bs = calloc(1, sizeof(*bs));

	if (!bs)
		return NULL;
	bs->k = k;
	uv_timer_init(k->loop, &bs->retry);
	bs->retry.data = bs;
	return bs;
}

static void build_free(struct build *b)
{
	json_decref(b->facts);
	json_decref(b->verdict);
	free(b);
}

static void on_closed(uv_handle_t *h)
{
	free(h->data);
}

void builds_free(struct builds *bs)
{
	if (!bs)
		return;
	for (unsigned i = 0; i < BUCKETS; i++) {
		while (bs->table[i]) {
			struct build *b = bs->table[i];

			bs->table[i] = b->hash_next;
			if (b->waiting)
				reply_error(b->waiting, 503, "stopping", NULL, "kilnd is stopping");
			build_free(b);
		}
	}
	uv_close((uv_handle_t *)&bs->retry, on_closed);
}

struct build *builds_add(struct builds *bs, const struct record *r)
{
	struct build *b = calloc(1, sizeof(*b));

	if (!b)
		return NULL;
	memcpy(b->id, r->id, sizeof(b->id));
	b->seq = r->seq;
	b->state = r->state;
	b->attempt = r->attempt;
	b->vcpus = r->vcpus;
	b->memory_mib = r->memory_mib;
	b->disk_mib = r->disk_mib;
	memcpy(b->at_ms, r->at_ms, sizeof(b->at_ms));
	b->updated_ms = r->updated_ms;
	*slot_of(bs, b->id) = b;
	bs->count[b->state]++;
	return b;
}

struct build *builds_find(struct builds *bs, const char *id)
{
	return *slot_of(bs, id);
}

unsigned builds_count(const struct builds *bs, enum build_state s)
{
	return bs->count[s];
}

static struct record *row_of(const struct build *b)
{
	struct record *r = record_new();
	const char *commit = json_string_value(json_object_get(b->facts, "commit"));

	if (!r)
		abort(); /* see writer_put: a change must not get lost */
	memcpy(r->id, b->id, sizeof(r->id));
	r->state = b->state;
	r->attempt = b->attempt;
	memcpy(r->at_ms, b->at_ms, sizeof(r->at_ms));
	r->updated_ms = b->updated_ms;
	if (commit)
		record_text(&r->commit, commit);
	return r;
}

static void on_stored(void *arg, const struct record *r, const struct err *e)
{
	(void)arg;
	if (e)
		log_line(LOG_LEVEL_ERROR, r->id, "state %s is not stored: %s", state_word(r->state),
			 e->text);
}

/* Count, stamp and log; the caller stores. */
static void enter(struct builds *bs, struct build *b, enum build_state to, uint64_t at_ms)
{
	uint64_t now = clock_wall_ms();

	log_line(LOG_LEVEL_INFO, b->id, "%s -> %s", state_word(b->state), state_word(to));
	bs->count[b->state]--;
	bs->count[to]++;
	if (to == STATE_QUEUED)
		memset(b->at_ms + STATE_STARTING_VM, 0, sizeof(b->at_ms) - sizeof(b->at_ms[0]));
	else
		b->at_ms[to] = at_ms ? at_ms : now;
	b->state = to;
	b->updated_ms = now;
}

void builds_set_state(struct builds *bs, struct build *b, enum build_state to, uint64_t at_ms,
		      void (*done)(void *k, const struct record *r, const struct err *e))
{
	if (!state_may(b->state, to))
		return;
	enter(bs, b, to, at_ms);
	writer_put(bs->k->writer, WRITER_UPDATE, row_of(b), done ? done : on_stored, bs->k);
}

static void drop(struct builds *bs, struct build *b)
{
	struct build **p = slot_of(bs, b->id);

	*p = b->hash_next;
	bs->count[b->state]--;
	build_free(b);
}

static void store_verdict(struct builds *bs, struct build *b);

static void on_retry(uv_timer_t *t)
{
	struct builds *bs = t->data;

	for (unsigned i = 0; i < BUCKETS; i++) {
		for (struct build *b = bs->table[i]; b; b = b->hash_next) {
			if (b->verdict)
				store_verdict(bs, b);
		}
	}
}

static void on_verdict_stored(void *arg, const struct record *r, const struct err *e)
{
	struct kilnd *k = arg;
	struct build *b = builds_find(k->builds, r->id);
	struct request *waiting;

	if (!b)
		return;
	if (e && strcmp(e->code, "final") != 0) {
		log_line(LOG_LEVEL_ERROR, r->id, "the verdict is not stored: %s; trying again in %d s",
			 e->text, RETRY_MS / 1000);
		if (!k->stopping)
			uv_timer_start(&k->builds->retry, on_retry, RETRY_MS, 0);
		return;
	}
	waiting = b->waiting;
	b->waiting = NULL;
	follow_finished(k->follows, r);
	drop(k->builds, b);
	if (waiting)
		reply_json(waiting, 200, json_pack("{ss, ss}", "build_id", r->id, "status",
						   state_word(r->state)));
}

/* The job without its secrets replaces the one with them: nobody needs those any more. */
static void hide_secrets(struct builds *bs, struct record *r)
{
	struct record *stored = NULL;
	json_t *job = NULL, *shown = NULL;

	if (store_get(bs->k->store, r->id, &stored, NULL) < 0)
		return;
	job = json_loads(stored->job, 0, NULL);
	if (job && job_public(job, &shown) == 0)
		r->job = json_dumps(shown, JSON_COMPACT);
	json_decref(shown);
	json_decref(job);
	record_free(stored);
}

static void store_verdict(struct builds *bs, struct build *b)
{
	struct record *r = row_of(b);
	json_t *v = b->verdict, *code = json_object_get(v, "exit_code");
	const char *commit = json_string_value(json_object_get(v, "commit"));
	json_t *whole = b->facts ? json_copy(b->facts) : json_object();

	json_object_update(whole, v);
	r->result = json_dumps(whole, JSON_COMPACT);
	json_decref(whole);
	record_text(&r->klass, json_string_value(json_object_get(v, "class")));
	record_text(&r->message, json_string_value(json_object_get(v, "message")));
	if (commit && *commit)
		record_text(&r->commit, commit);
	r->artifacts_count = json_integer_value(json_object_get(v, "artifacts_count"));
	/* A verdict names the exit code of the step to blame; with none to blame all were 0. */
	r->exit_code = json_is_integer(code) ? json_integer_value(code) :
		       r->klass && strcmp(r->klass, "ok") == 0 ? 0 : -1;
	hide_secrets(bs, r);
	writer_put(bs->k->writer, WRITER_UPDATE, r, on_verdict_stored, bs->k);
}

void builds_finish(struct builds *bs, struct build *b, json_t *verdict)
{
	const char *klass = json_string_value(json_object_get(verdict, "class"));
	const char *message = json_string_value(json_object_get(verdict, "message"));
	json_t *ended = json_object_get(verdict, "ended_at_ms");

	if (!klass || state_final(b->state))
		return;
	b->verdict = json_incref(verdict);
	scheduler_leave(bs->k->scheduler, b);
	enter(bs, b, state_of_class(klass), (uint64_t)json_integer_value(ended));
	log_line(LOG_LEVEL_INFO, b->id, "verdict %s: %s", klass, message ? message : "");
	store_verdict(bs, b);
	scheduler_kick(bs->k->scheduler);
}

void builds_finish_with(struct builds *bs, struct build *b, const char *klass, const char *message)
{
	json_t *v = json_pack("{si, ss, si, ss, ss, ss}", "format", 1, "build_id", b->id, "attempt",
			      b->attempt, "class", klass, "message", message, "state",
			      state_word(b->state));

	if (!v)
		abort();
	builds_finish(bs, b, v);
	json_decref(v);
}
