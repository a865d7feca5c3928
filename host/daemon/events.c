/* SPDX-License-Identifier: Apache-2.0 */
/*
 * events.c - events to facts (docs/build-directory.md has the list). Owns the line buffer and
 * the facts. Does no I/O. What grows with the number of events is capped.
 */
#include "events.h"

#include <stdlib.h>
#include <string.h>

#define NOTES_MAX 64

int events_init(struct events *ev, events_state_fn on_state, void *arg)
{
	memset(ev, 0, sizeof(*ev));
	ev->on_state = on_state;
	ev->arg = arg;
	ev->facts = json_object();
	return ev->facts ? 0 : -1;
}

void events_fini(struct events *ev)
{
	free(ev->line);
	json_decref(ev->facts);
	memset(ev, 0, sizeof(*ev));
}

static void copy_members(json_t *to, json_t *from, const char *const *names)
{
	for (; *names; names++) {
		json_t *v = json_object_get(from, *names);

		if (v)
			json_object_set(to, *names, v);
	}
}

static json_t *member_of(json_t *facts, const char *name, json_t *fresh)
{
	json_t *v = json_object_get(facts, name);

	if (!v) {
		json_object_set_new(facts, name, fresh);
		return json_object_get(facts, name);
	}
	json_decref(fresh);
	return v;
}

static void on_vm(struct events *ev, json_t *o)
{
	static const char *const names[] = { "vmm", "version", "accel", "vsock", "emulated",
		"emulation_factor", "reason", NULL };
	json_t *vmm = json_object();

	copy_members(vmm, o, names);
	json_object_set_new(ev->facts, "vmm", vmm);
}

static void on_state(struct events *ev, json_t *o)
{
	const char *word = json_string_value(json_object_get(o, "state"));
	enum build_state s;

	if (word && state_parse(word, &s) == 0 && !state_final(s))
		ev->on_state(ev->arg, s, (uint64_t)json_integer_value(json_object_get(o, "at_ms")));
}

static void on_hello(struct events *ev, json_t *o)
{
	static const char *const names[] = { "agent", "kernel", "arch", "boot_ms", NULL };

	copy_members(ev->facts, o, names);
}

static void on_source(struct events *ev, json_t *o)
{
	static const char *const names[] = { "commit", "ref", "shallow", NULL };

	copy_members(ev->facts, o, names);
}

static json_t *step_of(struct events *ev, json_t *o, int fresh)
{
	json_t *steps = member_of(ev->facts, "steps", json_array());
	json_int_t index = json_integer_value(json_object_get(o, "index"));
	json_t *step;
	size_t i;

	json_array_foreach(steps, i, step) {
		if (json_integer_value(json_object_get(step, "index")) == index)
			return step;
	}
	if (!fresh || json_array_size(steps) >= EVENTS_STEPS_MAX)
		return NULL;
	step = json_object();
	json_array_append_new(steps, step);
	return step;
}

static void on_step_begin(struct events *ev, json_t *o)
{
	static const char *const names[] = { "index", "name", "command", "log_offset", NULL };
	json_t *step = step_of(ev, o, 1);

	if (step) {
		copy_members(step, o, names);
		json_object_set(step, "started_at_ms", json_object_get(o, "at_ms"));
	}
}

static void on_step_end(struct events *ev, json_t *o)
{
	static const char *const names[] = { "exit_code", "signal", "oom", "wall_ms", "cpu_ms",
		"peak_bytes", NULL };
	json_t *step = step_of(ev, o, 0);

	if (step) {
		copy_members(step, o, names);
		json_object_set(step, "log_end_offset", json_object_get(o, "log_offset"));
	}
}

static void on_note(struct events *ev, json_t *o)
{
	json_t *notes = member_of(ev->facts, "notes", json_object());
	const char *key = json_string_value(json_object_get(o, "key"));

	if (key && json_object_size(notes) < NOTES_MAX)
		json_object_set(notes, key, json_object_get(o, "value"));
}

static void add_to(json_t *o, const char *key, json_int_t more)
{
	json_object_set_new(o, key, json_integer(json_integer_value(json_object_get(o, key)) + more));
}

static void on_egress(struct events *ev, json_t *o)
{
	json_t *sum = member_of(ev->facts, "egress", json_object());

	add_to(sum, json_is_true(json_object_get(o, "allowed")) ? "allowed" : "refused", 1);
	add_to(sum, "bytes_up", json_integer_value(json_object_get(o, "bytes_up")));
	add_to(sum, "bytes_down", json_integer_value(json_object_get(o, "bytes_down")));
}

static void on_refused(struct events *ev, json_t *o)
{
	(void)o;
	add_to(ev->facts, "artifacts_refused", 1);
}

static void on_truncated(struct events *ev, json_t *o)
{
	json_object_set(ev->facts, "log_kept_bytes", json_object_get(o, "kept_bytes"));
}

static const struct {
	const char *type;
	void (*fn)(struct events *ev, json_t *o);
} kinds[] = {
	{ "vm", on_vm }, { "state", on_state }, { "hello", on_hello }, { "source", on_source },
	{ "step_begin", on_step_begin }, { "step_end", on_step_end }, { "note", on_note },
	{ "egress", on_egress }, { "artifact_refused", on_refused }, { "log_truncated", on_truncated },
};

static void take_line(struct events *ev, const char *line, size_t n)
{
	json_t *o = json_loadb(line, n, 0, NULL);
	const char *type = json_string_value(json_object_get(o, "type"));

	for (size_t i = 0; type && i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (strcmp(type, kinds[i].type) == 0)
			kinds[i].fn(ev, o);
	}
	json_decref(o);
}

static void keep(struct events *ev, const char *bytes, size_t n)
{
	char *grown;

	if (ev->skip || n == 0)
		return;
	grown = ev->len + n <= EVENTS_LINE_MAX ? realloc(ev->line, ev->len + n) : NULL;
	if (!grown) {
		ev->skip = 1;
		return;
	}
	memcpy(grown + ev->len, bytes, n);
	ev->line = grown;
	ev->len += n;
}

void events_feed(struct events *ev, const char *bytes, size_t n)
{
	while (n > 0) {
		const char *end = memchr(bytes, '\n', n);
		size_t part = end ? (size_t)(end - bytes) : n;

		keep(ev, bytes, part);
		if (!end)
			return;
		if (!ev->skip && ev->len > 0)
			take_line(ev, ev->line, ev->len);
		ev->len = 0;
		ev->skip = 0;
		bytes += part + 1;
		n -= part + 1;
	}
}
