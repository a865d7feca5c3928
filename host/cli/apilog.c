/* SPDX-License-Identifier: Apache-2.0 */
/*
 * apilog.c - makes events out of the steps that GET /build/:id lists. When following, the steps are
 * asked for whenever a piece of log came: a heading must stand above what its step says.
 */
#include "apilog.h"

#include <stdio.h>
#include <string.h>

struct apilog {
	struct api *api;
	struct logview *view;
	char path[128];
	size_t begun, ended; /* steps whose event was made */
};

static void feed(struct apilog *l, const json_t *step, const char *type, const char *offset,
		 const char *at)
{
	json_t *event = json_copy((json_t *)step);

	json_object_set_new(event, "type", json_string(type));
	json_object_set(event, "log_offset", json_object_get(step, offset));
	json_object_set(event, "at_ms", json_object_get(step, at));
	logview_event(l->view, event);
	json_decref(event);
}

static void feed_steps(struct apilog *l, const json_t *build)
{
	const json_t *steps = json_object_get(build, "steps"), *step;

	while ((step = json_array_get(steps, l->ended))) {
		if (l->begun == l->ended) {
			feed(l, step, "step_begin", "log_offset", "started_at_ms");
			l->begun++;
		}
		if (!json_is_integer(json_object_get(step, "log_end_offset")))
			return;
		feed(l, step, "step_end", "log_end_offset", "started_at_ms");
		l->ended++;
	}
}

static int refresh(struct apilog *l, json_t **build, struct err *e)
{
	if (api_call(l->api, "GET", l->path, NULL, build, e) < 0)
		return -1;
	feed_steps(l, *build);
	return 0;
}

static int on_live(void *arg, const char *data, size_t n)
{
	struct apilog *l = arg;
	json_t *build = NULL;

	if (refresh(l, &build, NULL) == 0)
		json_decref(build);
	logview_log(l->view, data, n);
	return l->view->term->out_gone;
}

static int on_stored(void *arg, const char *data, size_t n)
{
	struct apilog *l = arg;

	logview_log(l->view, data, n);
	return l->view->term->out_gone;
}

int apilog_show(struct api *a, const char *id, int follow, struct logview *view, json_t **build,
		struct err *e)
{
	struct apilog l = { .api = a, .view = view };
	json_t *end = NULL;
	char path[160];
	int rc;

	snprintf(l.path, sizeof(l.path), "/build/%s", id);
	snprintf(path, sizeof(path), "/build/%s/log", id);
	if (follow) {
		rc = api_follow(a, id, on_live, &l, &end, e);
		json_decref(end);
		if (rc < 0 || refresh(&l, build, e) < 0)
			return -1;
	} else {
		if (refresh(&l, build, e) < 0)
			return -1;
		if (api_stream(a, path, on_stored, &l, e) < 0) {
			json_decref(*build);
			return -1;
		}
	}
	logview_end(view);
	return 0;
}
