/* SPDX-License-Identifier: Apache-2.0 */
/* run_private.h - what run.c and run_start.c share about a living supervisor. */
#ifndef KILN_RUN_PRIVATE_H
#define KILN_RUN_PRIVATE_H

#include "child.h"
#include "events.h"
#include "run.h"

struct talk;

struct run {
	struct runs *rs;
	char id[JOB_ID_BYTES];
	int dirfd;                 /* the build directory */
	int events_fd;             /* events.jsonl, -1 until it is there */
	struct events events;
	int dir_watch, events_watch;
	struct child *child;       /* the supervisor's process; NULL: ended or not yet known */
	struct talk *start;        /* document sent, answer to come */
	struct talk *ctl;          /* cancel sent, answer to come */
	int cancel_told;           /* it said ok to the cancel */
	int ended;                 /* its process has ended */
	int adopting;              /* it holds the lock but run.json is not there yet */
	struct run *next;
};

struct runs {
	struct kilnd *k;
	struct run *head;
};

/* A run on an existing directory: opened, watched, the events so far read. */
int run_new(struct runs *rs, const char *id, struct run **out, struct err *e);
void run_free(struct run *r);
struct run *run_find(struct runs *rs, const char *id);
void run_read_events(struct run *r);
int run_read_run_json(struct run *r, json_t **out, struct err *e);
/* 0 when result.json is there (the build has its verdict now), -1 when not. */
int run_take_result(struct run *r);
/* The supervisor is gone: its result, or `host`. */
void run_lost(struct run *r, const char *how);
/* child_fn */
void run_on_end(void *arg, const char *how);
void run_send_cancel(struct run *r);
/* run_start.c: run.json or the end of the lock came while adopting. May free r. */
void run_adopt_again(struct run *r);

#endif
