/* SPDX-License-Identifier: Apache-2.0 */
/*
 * view.c - a build as the API shows it. Pure. Texts from the guest go out as JSON strings only;
 * in the status lines their control characters are blanked.
 */
#include "view.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

void view_time(uint64_t wall_ms, char out[VIEW_TIME_BYTES])
{
	time_t s = (time_t)(wall_ms / 1000);
	struct tm tm;
	size_t n;

	gmtime_r(&s, &tm);
	n = strftime(out, VIEW_TIME_BYTES, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(out + n, VIEW_TIME_BYTES - n, ".%03uZ", (unsigned)(wall_ms % 1000));
}

static void set_time(json_t *o, const char *key, uint64_t wall_ms)
{
	char text[VIEW_TIME_BYTES];

	if (wall_ms == 0) {
		json_object_set_new(o, key, json_null());
		return;
	}
	view_time(wall_ms, text);
	json_object_set_new(o, key, json_string_nocheck(text));
}

static void set_text(json_t *o, const char *key, const char *text)
{
	json_t *v = text && *text ? json_string(text) : NULL;

	json_object_set_new(o, key, v ? v : json_null());
}

static void add_status_line(json_t *log, enum build_state s, uint64_t at_ms, const char *message)
{
	time_t t = (time_t)(at_ms / 1000);
	char stamp[32], line[1024];
	struct tm tm;

	gmtime_r(&t, &tm);
	strftime(stamp, sizeof(stamp), "%Y-%m-%d %H:%M:%S", &tm);
	snprintf(line, sizeof(line), "[%s UTC] %s%s%.800s", stamp, state_sentence(s),
		 message && *message ? ": " : "", message ? message : "");
	for (char *p = line; *p; p++) {
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			*p = ' ';
	}
	/* A cut inside a character makes the string invalid: then without the message. */
	if (json_array_append_new(log, json_string(line)) < 0)
		add_status_line(log, s, at_ms, NULL);
}

static json_t *status_lines(enum build_state now, const uint64_t at_ms[STATE_COUNT],
			    const char *message)
{
	json_t *log = json_array();

	for (int i = 0; i <= STATE_COLLECTING_ARTIFACTS; i++) {
		if (at_ms[i])
			add_status_line(log, (enum build_state)i, at_ms[i], NULL);
	}
	if (state_final(now))
		add_status_line(log, now, at_ms[now], now == STATE_FAILED ? message : NULL);
	return log;
}

static void set_common(json_t *o, const struct record *r, enum build_state now,
		       const uint64_t at_ms[STATE_COUNT], uint64_t updated_ms, const char *commit)
{
	json_object_set_new(o, "id", json_string_nocheck(r->id));
	json_object_set_new(o, "status", json_string_nocheck(state_word(now)));
	set_text(o, "class", r->klass);
	set_text(o, "message", r->message);
	set_time(o, "created_at", at_ms[STATE_QUEUED]);
	set_time(o, "updated_at", updated_ms);
	set_time(o, "started_at", at_ms[STATE_STARTING_VM]);
	set_time(o, "ended_at", state_final(now) ? at_ms[now] : 0);
	set_text(o, "repo_url", r->repo_url);
	set_text(o, "branch", r->branch);
	set_text(o, "commit", commit && *commit ? commit : r->commit);
	json_object_set_new(o, "artifacts_count", json_integer(r->artifacts_count));
	json_object_set_new(o, "exit_code", r->exit_code >= 0 ? json_integer(r->exit_code) : json_null());
	json_object_set_new(o, "attempt", json_integer(r->attempt));
}

json_t *view_summary(const struct record *r)
{
	json_t *o = json_object();

	if (o)
		set_common(o, r, r->state, r->at_ms, r->updated_ms, NULL);
	return o;
}

/* Facts and verdict; what is not known yet is null, so that clients find every member. */
static void set_facts(json_t *o, json_t *facts)
{
	static const char *const names[] = { "signal", "step", "step_name", "state", "steps", "vmm", "used",
		"state_ms", "kernel", "arch", "agent", "boot_ms", "ref", "notes", "egress", "log_bytes",
		"log_kept_bytes", "artifacts_bytes", "artifacts_refused", "console_tail" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		json_t *v = json_object_get(facts, names[i]);

		json_object_set_new(o, names[i], v ? json_incref(v) : json_null());
	}
	if (json_is_null(json_object_get(o, "steps")))
		json_object_set_new(o, "steps", json_array());
}

json_t *view_build(const struct record *r, const struct build *live)
{
	json_t *o = json_object(), *facts = NULL, *job, *shown = NULL;
	const char *commit = NULL;

	if (!o)
		return NULL;
	if (state_final(r->state))
		live = NULL;
	if (r->result)
		facts = json_loads(r->result, 0, NULL);
	else if (live && live->facts)
		facts = json_incref(live->facts);
	if (live)
		commit = json_string_value(json_object_get(live->facts, "commit"));
	if (live && !state_final(live->state))
		set_common(o, r, live->state, live->at_ms, live->updated_ms, commit);
	else
		set_common(o, r, r->state, r->at_ms, r->updated_ms, commit);
	set_facts(o, facts);
	json_object_set_new(o, "log", live && !state_final(live->state) ?
			    status_lines(live->state, live->at_ms, NULL) :
			    status_lines(r->state, r->at_ms, r->message));
	json_decref(facts);
	job = r->job ? json_loads(r->job, 0, NULL) : NULL;
	if (job && job_public(job, &shown) == 0)
		json_object_set_new(o, "job", shown);
	json_decref(job);
	return o;
}

json_t *view_end(const struct record *r)
{
	json_t *o = json_object();

	if (!o)
		return NULL;
	json_object_set_new(o, "build_id", json_string_nocheck(r->id));
	json_object_set_new(o, "status", json_string_nocheck(state_word(r->state)));
	set_text(o, "class", r->klass);
	set_text(o, "message", r->message);
	json_object_set_new(o, "exit_code", r->exit_code >= 0 ? json_integer(r->exit_code) : json_null());
	return o;
}
