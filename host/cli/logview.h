/* SPDX-License-Identifier: Apache-2.0 */
/*
 * logview.h - a build's log and events, shown in one order: headings stand where their step's
 * output begins and ends. Fed from a build directory or from the REST API.
 */
#ifndef KILN_LOGVIEW_H
#define KILN_LOGVIEW_H

#include <jansson.h>
#include <stdint.h>

#include "term.h"

struct logview {
	struct term *term;
	int json;          /* one JSON object a line on stdout instead of text */
	int timestamps;    /* the time in front of each line */
	int live;          /* lines are stamped with now, not with the last event's time */
	int quiet;         /* no progress lines, only headings */
	long only_step;    /* 1, 2, …: only this step; 0: everything */

	uint64_t at;       /* bytes of log shown */
	uint64_t event_at; /* log offset of the last event that had one */
	uint64_t time_ms;  /* of the last event shown */
	long step;         /* the one that runs: 1, 2, …; 0: none */
	int line_open;     /* a timestamp was written for the line at hand */
	json_t *queue;     /* events whose offset lies ahead */
	char step_name[160];
	char *line;        /* JSON: a line that is not whole yet */
	size_t line_len, line_room;
	uint64_t line_at;
};

/* Set the choices afterwards. */
void logview_init(struct logview *v, struct term *term);
void logview_fini(struct logview *v);

/* One event, in the order of events.jsonl. */
void logview_event(struct logview *v, const json_t *event);

/* The next n bytes of the log. */
void logview_log(struct logview *v, const char *data, size_t n);

/* Nothing comes any more: what still waits is shown. */
void logview_end(struct logview *v);

#endif
