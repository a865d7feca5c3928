/* SPDX-License-Identifier: Apache-2.0 */
/*
 * logview.c - merges log and events. Keeps events back until the log has come to where they
 * belong. Everything it is fed is hostile: texts go through term.c, numbers are only shown.
 */
#include "logview.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "clock.h"
#include "events_text.h"

#define JSON_LINE_MAX 65536u

void logview_init(struct logview *v, struct term *term)
{
	memset(v, 0, sizeof(*v));
	v->term = term;
	v->queue = json_array();
}

void logview_fini(struct logview *v)
{
	json_decref(v->queue);
	free(v->line);
	memset(v, 0, sizeof(*v));
}

/* Bytes that are no UTF-8 become '?': JSON has no other way. */
static json_t *json_text(const char *data, size_t n)
{
	json_t *t = json_stringn(data, n);
	char *copy, *clean;
	struct filter f = { 0 };
	size_t w;

	if (t)
		return t;
	copy = malloc(n + FILTER_SEQ_MAX);
	clean = copy;
	if (!copy)
		return json_string("");
	w = filter_push(&f, data, n, clean);
	t = json_stringn(clean, w);
	free(copy);
	return t ? t : json_string("");
}

static void flush_json_line(struct logview *v)
{
	json_t *o;

	if (v->line_len == 0)
		return;
	o = json_pack("{s:s, s:I, s:o}", "type", "log", "offset", (json_int_t)v->line_at, "text",
		      json_text(v->line, v->line_len));
	term_json(v->term, o, JSON_COMPACT);
	json_decref(o);
	v->line_at += v->line_len;
	v->line_len = 0;
}

static void put_json_log(struct logview *v, const char *data, size_t n)
{
	if (!v->line)
		v->line = malloc(JSON_LINE_MAX);
	for (size_t i = 0; v->line && i < n; i++) {
		if (v->line_len == 0)
			v->line_at = v->at + i;
		v->line[v->line_len++] = data[i];
		if (data[i] == '\n' || v->line_len == JSON_LINE_MAX)
			flush_json_line(v);
	}
}

static void put_stamp(struct logview *v)
{
	uint64_t ms = v->live ? clock_wall_ms() : v->time_ms;
	time_t s = (time_t)(ms / 1000);
	char text[48];
	struct tm tm;
	size_t n;

	gmtime_r(&s, &tm);
	n = strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
	n += (size_t)snprintf(text + n, sizeof(text) - n, ".%03dZ ", (int)(ms % 1000));
	term_output(v->term, text, n);
}

static void put_stamped(struct logview *v, const char *data, size_t n)
{
	while (n > 0) {
		const char *nl = memchr(data, '\n', n);
		size_t piece = nl ? (size_t)(nl - data) + 1 : n;

		if (!v->line_open)
			put_stamp(v);
		term_output(v->term, data, piece);
		v->line_open = !nl;
		data += piece;
		n -= piece;
	}
}

/* Log bytes between two events. */
static void put_log(struct logview *v, const char *data, size_t n)
{
	if (n > 0 && (v->only_step == 0 || v->step == v->only_step)) {
		if (v->json)
			put_json_log(v, data, n);
		else if (v->timestamps)
			put_stamped(v, data, n);
		else
			term_output(v->term, data, n);
	}
	v->at += n;
}

static void show(struct logview *v, const json_t *event)
{
	const char *type = json_string_value(json_object_get(event, "type"));
	int begin = type && strcmp(type, "step_begin") == 0;
	int end = type && strcmp(type, "step_end") == 0;
	int mine;

	if (json_is_integer(json_object_get(event, "at_ms")))
		v->time_ms = (uint64_t)json_integer_value(json_object_get(event, "at_ms"));
	if (begin)
		v->step = (long)json_integer_value(json_object_get(event, "index")) + 1;
	mine = v->only_step == 0 || ((begin || end) && v->step == v->only_step);
	if (v->json) {
		flush_json_line(v);
		if (mine)
			term_json(v->term, event, JSON_COMPACT);
	} else if (begin || end) {
		events_text_step(event, v->step_name, sizeof(v->step_name), mine ? v->term : NULL);
	} else if (mine && !v->quiet) {
		events_text_progress(event, v->term);
	}
	if (end)
		v->step = 0;
}

static uint64_t queued_at(const json_t *entry)
{
	return (uint64_t)json_integer_value(json_array_get(entry, 0));
}

/* Show what the log has reached. */
static void drain(struct logview *v, uint64_t reached)
{
	size_t n = 0;

	while (n < json_array_size(v->queue)) {
		json_t *entry = json_array_get(v->queue, n);

		if (queued_at(entry) > reached)
			break;
		show(v, json_array_get(entry, 1));
		n++;
	}
	while (n-- > 0)
		json_array_remove(v->queue, 0);
}

void logview_event(struct logview *v, const json_t *event)
{
	const json_t *offset = json_object_get(event, "log_offset");

	if (json_is_integer(offset) && json_integer_value(offset) > (json_int_t)v->event_at)
		v->event_at = (uint64_t)json_integer_value(offset);
	json_array_append_new(v->queue, json_pack("[I, O]", (json_int_t)v->event_at, event));
	drain(v, v->at);
}

void logview_log(struct logview *v, const char *data, size_t n)
{
	while (n > 0) {
		size_t piece = n;

		if (json_array_size(v->queue) > 0) {
			uint64_t next = queued_at(json_array_get(v->queue, 0));

			if (next - v->at < piece)
				piece = (size_t)(next - v->at);
		}
		put_log(v, data, piece);
		data += piece;
		n -= piece;
		drain(v, v->at);
	}
}

void logview_end(struct logview *v)
{
	drain(v, UINT64_MAX);
	if (v->json)
		flush_json_line(v);
}
